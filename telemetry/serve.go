package telemetry

import (
	"context"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// served is a span as the server that it belongs to sees it.
type served span

// BeginServe implements resilience.Observer.
func (o *observer) BeginServe(ctx context.Context, info resilience.ServeInfo) (context.Context, resilience.ServeObserver) {
	if o.env.baggage {
		ctx = withBaggage(ctx, info.Along.Baggage)
	}
	s := o.begin(ctx, info)
	return s, (*served)(s)
}

// Admit implements resilience.ServeObserver.
func (s *served) Admit(a resilience.AdmitInfo) { s.admit = a }

// Keep implements resilience.ServeObserver. Of a trace that was chosen everybody knows.
func (s *served) Keep(e resilience.ServeEnd) string {
	if s.context.IsSampled() || s.observer.spans == nil {
		return ""
	}
	why := s.reason(e)
	f := &s.family
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why == keepNot && why != keepNot {
		f.keepLocked(s.observer, e.Ended, why)
	}
	return f.why.String()
}

// End implements resilience.ServeObserver.
func (s *served) End(e resilience.ServeEnd) {
	o := s.observer
	took := since(s.begun, e.Ended)
	m := o.stats.served(s.protocol, s.method, e)
	usual := &m.latency
	var why reason
	if o.spans != nil {
		why = s.reasonOf(e, usual)
	}
	sampled := s.context.IsSampled()
	if !s.endless(e) {
		m.observe(e.Ended, took)
		m.record(took, e.Code, e.Status)
	}
	extra := (*span)(s).take()
	if o.spans == nil {
		return
	}
	if sampled {
		if why == keepNot {
			why = keepSampled
		}
		o.spans.add(s.snapshot(e, extra, why))
		return
	}
	if kept := s.family.end(o, e.Ended, why); kept != keepNot {
		if why == keepNot {
			why = kept
		}
		o.spans.add(s.snapshot(e, extra, why))
	}
}

// endless reports whether the request was of a kind that lasts as long as both sides like.
func (s *served) endless(e resilience.ServeEnd) bool { return s.stream || e.Stream }

func (s *served) reason(e resilience.ServeEnd) reason {
	return s.reasonOf(e, &s.observer.stats.served(s.protocol, s.method, e).latency)
}

// reasonOf returns why the request is kept by itself, or keepNot.
func (s *served) reasonOf(e resilience.ServeEnd, usual *resilience.Latency) reason {
	switch {
	case s.admit.Err != nil:
		return keepRefused
	case e.Code != failure.OK, e.Err != nil, e.Status >= 400:
		return blame(e.Code, e.Status)
	}
	if why := (*span)(s).wish(); why != keepNot {
		return why
	}
	if !s.endless(e) && slow(usual, e.Ended, since(s.begun, e.Ended)) {
		return keepSlow
	}
	return keepNot
}

// snapshot is the span of the request.
func (s *served) snapshot(e resilience.ServeEnd, said extra, why reason) *snapshot {
	out := newSnapshot()
	out.context, out.parent, out.kind = s.context.WithTraceFlags(trace.FlagsSampled), s.parentContext(), trace.SpanKindServer
	out.begun, out.ended, out.resource = s.begun, e.Ended, s.observer.telemetry.resource
	out.events, out.links, out.dropped, out.status = said.events, said.links, said.dropped, said.status
	kv := out.room[:0]
	var fault bool
	kind := e.Code.String()
	if s.protocol == resilience.GRPC {
		name := valid(strings.TrimPrefix(s.method, "/"))
		out.name = name
		kv = append(kv, attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", name),
			attribute.String("rpc.response.status_code", e.Code.String()))
		fault = serverFault(e.Code)
	} else {
		method := knownMethod(s.method)
		out.name = method
		kv = append(kv, attribute.String("http.request.method", method), attribute.String("url.path", bounded(s.path)))
		if e.Route != "" {
			out.name = method + " " + valid(e.Route)
			kv = append(kv, attribute.String("http.route", valid(e.Route)))
		}
		if e.Status != 0 {
			kv = append(kv, attribute.Int("http.response.status_code", e.Status))
		}
		if fault = e.Status >= 500; e.Status >= 400 {
			kind = statusWord(e.Status)
		}
	}
	if said.name != "" {
		out.name = said.name
	}
	kv = append(kv, attribute.String("holdfast.keep", why.String()), attribute.String("holdfast.call.criticality", s.request.Criticality.String()))
	if !s.deadline.IsZero() {
		kv = append(kv, attribute.Float64("holdfast.deadline_left_ms", ms(s.deadline.Sub(e.Ended))))
	}
	if n := s.request.Attempt; n > 0 {
		kv = append(kv, attribute.Int("holdfast.attempt", n+1))
	}
	if !s.admit.At.IsZero() {
		kv = append(kv, attribute.String("holdfast.admission", verdict(s.admit.Err)),
			attribute.Float64("holdfast.waited_ms", ms(since(s.begun, s.admit.At))),
			attribute.Int("holdfast.in_flight", s.admit.InFlight))
		if s.admit.Limit != nil {
			kv = append(kv, attribute.Int("holdfast.limit", s.admit.Limit.Limit()))
		}
	}
	out.attributes = append(kv, said.attributes...)
	err := e.Err
	if err == nil && s.admit.Err != nil {
		err = s.admit.Err
	}
	switch {
	case err != nil:
		out.fail(kind, messageOf(err), fault)
	case e.Code != failure.OK, e.Status >= 400:
		out.fail(kind, "", fault)
	}
	return out
}

// verdict is what admission has said, in a word.
func verdict(e *failure.Error) string {
	switch {
	case e == nil:
		return "admitted"
	case e.Domain == failure.Domain && e.Reason == failure.ReasonQuota:
		return "quota"
	case e.Code == failure.DeadlineExceeded || e.Code == failure.Canceled:
		return "late"
	default:
		return "shed"
	}
}

// serverFault reports whether a code says that something is wrong with the server, by OpenTelemetry's conventions.
func serverFault(c failure.Code) bool {
	switch c {
	case failure.Unknown, failure.DeadlineExceeded, failure.Unimplemented, failure.Internal, failure.Unavailable, failure.DataLoss:
		return true
	case failure.OK, failure.Canceled, failure.InvalidArgument, failure.NotFound, failure.AlreadyExists, failure.PermissionDenied,
		failure.ResourceExhausted, failure.FailedPrecondition, failure.Aborted, failure.OutOfRange, failure.Unauthenticated:
	}
	return false
}

// other stands for what anybody can make up, where it would be a series of its own.
const other = "_OTHER"

// knownMethod returns an HTTP method, or _OTHER: there is no end of them.
func knownMethod(m string) string {
	switch m {
	case "":
		return "GET"
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY":
		return m
	}
	return other
}

func statusWord(status int) string { return strconv.Itoa(status) }
