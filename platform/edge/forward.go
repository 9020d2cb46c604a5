package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
)

const retryAfter = time.Second

// Headers between services, which say nothing to users and nothing about them.
const (
	headerLoad      = "X-Load"
	headerLoadProbe = "X-Load-Probe"
)

// headersOfTraces are what a request says of the trace that it belongs to.
var headersOfTraces = []string{"Traceparent", "Tracestate", "Baggage"}

// outside has requests begin traces of their own: one that a stranger says was chosen would be kept by every service behind,
// and so would be all of the stranger's.
type outside struct{ resilience.Observer }

// BeginServe implements resilience.Observer.
func (o outside) BeginServe(ctx context.Context, info resilience.ServeInfo) (context.Context, resilience.ServeObserver) {
	info.Along = resilience.Along{}
	ctx, s := o.Observer.BeginServe(ctx, info)
	if s == nil {
		return ctx, nil
	}
	return ctx, untold{s}
}

// untold keeps from the user why a request is kept.
type untold struct{ resilience.ServeObserver }

// Keep implements resilience.ServeObserver.
func (untold) Keep(resilience.ServeEnd) string { return "" }

// forward sends one request to an instance.
func (e *Edge) forward(w http.ResponseWriter, r *http.Request) {
	ctx, end := newLease(w, r)
	defer end()
	if e.gate.crowded() && r.Header.Get("Upgrade") == "" {
		w.Header().Set("Connection", "close")
	}
	e.proxy.ServeHTTP(w, r.WithContext(resilience.WithRequest(ctx, e.claims(r.Header))))
}

// claims is what is believed of what a request says of itself. The Transport takes it from the context, and puts it where
// the header had it.
func (e *Edge) claims(h http.Header) resilience.Request {
	tenant := ""
	if e.cfg.TrustTenant {
		tenant = one(h, resilience.HeaderTenant)
	}
	r := resilience.ParseRequest(one(h, resilience.HeaderCriticality), tenant, "")
	r.Criticality = min(r.Criticality, e.cfg.MaxCriticality)
	return r
}

// one returns the value of a header that is there once.
func one(h http.Header, name string) string {
	if v := h.Values(name); len(v) == 1 {
		return v[0]
	}
	return ""
}

// rewrite makes the request for the instance. ReverseProxy has removed the hop-by-hop headers and the client's
// X-Forwarded-* by then.
func (e *Edge) rewrite(p *httputil.ProxyRequest) {
	p.Out.URL.Scheme = "http"
	p.Out.URL.Host = e.service
	p.Out.URL.RawQuery = p.In.URL.RawQuery // ReverseProxy leaves out what it cannot parse; the service is to say so
	p.Out.Host = p.In.Host                 // links that the service makes have to lead here
	for _, h := range []string{resilience.HeaderAttempt, resilience.HeaderCriticality, resilience.HeaderTenant, headerLoadProbe} {
		p.Out.Header.Del(h)
	}
	if !e.cfg.TrustTrace {
		for _, h := range headersOfTraces {
			p.Out.Header.Del(h)
		}
	}
	if !e.cfg.TrustForwarded {
		p.Out.Header.Del("X-Real-Ip")
		for h := range p.Out.Header { // ReverseProxy removes three of them
			if strings.HasPrefix(h, "X-Forwarded-") {
				delete(p.Out.Header, h)
			}
		}
		p.SetXForwarded()
		return
	}
	p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	p.SetXForwarded()
	for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := p.In.Header[h]; len(v) > 0 {
			p.Out.Header[h] = v
		}
	}
	if v := p.In.Header["Forwarded"]; len(v) > 0 {
		p.Out.Header["Forwarded"] = v
	}
}

// failed answers for a request that no instance answered.
func (e *Edge) failed(w http.ResponseWriter, r *http.Request, err error) {
	code := failure.CodeOf(err)
	if code == failure.Canceled {
		return // the user is gone, or seems so; what is around us says it to whoever is left
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		rest.Error(w, r, err)
		return
	}
	e.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "request not forwarded",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	var own *failure.Error
	switch {
	case errors.As(err, &own) && (own.Local() || own.Shed()):
		// Refused for the service's sake. 429 would blame the user.
		rest.ErrorStatus(w, r, http.StatusServiceUnavailable,
			failure.Wrap(err, failure.Unavailable, "%s is busy", e.service).WithRetryAfter(max(retryAfter, own.RetryAfter)))
	case code == failure.DeadlineExceeded:
		rest.Error(w, r, failure.Wrap(err, failure.DeadlineExceeded, "%s did not answer in time", e.service))
	case code != failure.Unavailable:
		rest.Error(w, r, failure.Wrap(err, code, "the request could not be forwarded"))
	case mayHaveRun(err):
		// Not 503: that would say that nothing happened.
		rest.ErrorStatus(w, r, http.StatusBadGateway,
			failure.Wrap(err, failure.Unknown, "the answer of %s was lost; the request may have been carried out", e.service))
	default:
		rest.Error(w, r, failure.Wrap(err, failure.Unavailable, "%s cannot be reached at the moment", e.service).WithRetryAfter(retryAfter))
	}
}

// mayHaveRun reports whether any attempt may have reached an instance.
func mayHaveRun(err error) bool {
	var call *resilience.CallError
	if !errors.As(err, &call) {
		return true
	}
	for _, a := range call.Attempts {
		if a.Sent != resilience.NotSent {
			return true
		}
	}
	return false
}

// lease is the context of a forwarded request. It ends with the deadline of the request until that is lifted, because it
// turns out only with the answer whether it is one that goes on.
type lease struct {
	context.Context
	deadline time.Time
	lift     func()
}

// Deadline is that of the request, for the header that carries it on.
func (l *lease) Deadline() (time.Time, bool) { return l.deadline, !l.deadline.IsZero() }

type leaseKey struct{}

// Value finds the lease from a context below it.
func (l *lease) Value(key any) any {
	if key == (leaseKey{}) {
		return l
	}
	return l.Context.Value(key)
}

func newLease(w http.ResponseWriter, r *http.Request) (_ *lease, end func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	stop := context.AfterFunc(r.Context(), func() { cancel(cause(r.Context())) })
	l := &lease{Context: ctx}
	l.deadline, _ = r.Context().Deadline()
	l.lift = func() {
		stream := rest.Stream(w, r).Context()
		context.AfterFunc(stream, func() { cancel(context.Cause(stream)) }) // which ends with the request
		stop()
	}
	return l, func() {
		stop()
		cancel(context.Canceled)
	}
}

// cause keeps apart the end of the time and the end of the client, which the lease itself cannot.
func cause(ctx context.Context) error {
	// The server stops to read at the deadline, and takes that for the end of the client where it comes first.
	if d, ok := ctx.Deadline(); errors.Is(ctx.Err(), context.DeadlineExceeded) || ok && !time.Now().Before(d) {
		return context.DeadlineExceeded
	}
	return context.Cause(ctx)
}

// Err is the cause: a lease that is canceled because its time is over has to say so.
func (l *lease) Err() error {
	if l.Context.Err() == nil {
		return nil
	}
	if errors.Is(context.Cause(l.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// answered makes the answer of an instance that of the edge.
func answered(resp *http.Response) error {
	resp.Header.Del(headerLoad)
	resp.Header.Del(resilience.HeaderKeep) // the edge has its own to say, to whom it trusts
	return liftForStreams(resp)
}

// liftForStreams lets upgraded connections and server-sent events outlive the deadline, as rest.Transport does.
func liftForStreams(resp *http.Response) error {
	if !rest.IsStream(resp) {
		return nil
	}
	if l, ok := resp.Request.Context().Value(leaseKey{}).(*lease); ok {
		l.lift()
	}
	return nil
}
