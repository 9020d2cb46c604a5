package rest

import (
	"context"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/resilience"
)

// The headers of resilience.Along, as they stand in the map.
var (
	headerTraceparent = textproto.CanonicalMIMEHeaderKey(resilience.HeaderTraceparent)
	headerTracestate  = textproto.CanonicalMIMEHeaderKey(resilience.HeaderTracestate)
	headerBaggage     = textproto.CanonicalMIMEHeaderKey(resilience.HeaderBaggage)
	headerKeep        = textproto.CanonicalMIMEHeaderKey(resilience.HeaderKeep)
)

// observe tells the observer, if there is one, that a call begins.
func (t *trip) observe(now time.Time, spec *resilience.Spec) {
	o := t.target.cfg.Observer
	if o == nil {
		return
	}
	method := t.req.Method
	if method == "" {
		method = http.MethodGet
	}
	t.watch = o.BeginCall(t.ctx, resilience.CallInfo{
		Protocol: resilience.HTTP, Service: t.target.service, Method: method, Path: t.req.URL.Path,
		Begun: now, Deadline: t.deadline, Criticality: spec.Criticality,
		Budget: spec.Budget, Guard: spec.Guard, Latency: spec.Latency,
	})
}

// observed tells how the call ended.
func (t *trip) observed(now time.Time, status int, err error) {
	if t.watch != nil {
		t.watch.End(resilience.CallEnd{Ended: now, Status: status, Err: err})
	}
}

// observe tells that an attempt begins. t.mu is held.
func (a *attempt) observe() {
	if w := a.trip.watch; w != nil {
		a.along = w.BeginAttempt(resilience.AttemptInfo{
			Number: a.plan.Number, Hedge: a.plan.Hedged, Begun: a.start, Deadline: a.plan.Deadline, Bounded: a.plan.Bounded,
		})
	}
}

// unmade tells of an attempt that was not made, for want of an instance.
func (t *trip) unmade(plan resilience.Plan, begun time.Time, none error) {
	if t.watch == nil {
		return
	}
	t.watch.BeginAttempt(resilience.AttemptInfo{Number: plan.Number, Begun: begun, Deadline: plan.Deadline, Bounded: plan.Bounded})
	t.watch.EndAttempt(resilience.AttemptEnd{
		Number: plan.Number, Ended: time.Now(), Outcome: resilience.NoInstance, Sent: resilience.NotSent, Err: none,
		View: t.target.now.Load().view,
	})
}

// put has h carry what the attempt takes along, and nothing else of its kind: what a proxy has copied from the request that it
// serves is the word of whoever sent that one.
func (a *attempt) put(h http.Header) {
	if a.trip.watch == nil {
		return
	}
	for i, v := range [...]struct{ key, value string }{
		{headerTraceparent, a.along.Traceparent}, {headerTracestate, a.along.Tracestate}, {headerBaggage, a.along.Baggage},
	} {
		delete(h, v.key)
		if v.value != "" {
			a.carried[i] = v.value
			h[v.key] = a.carried[i : i+1 : i+1]
		}
	}
}

// observed tells how an attempt ended; o and err are nothing of one that was lost. t.mu is held.
func (a *attempt) observed(now time.Time, o resilience.Outcome, sent resilience.Sent, resp *http.Response, err *failure.Error) {
	w := a.trip.watch
	if w == nil {
		return
	}
	end := resilience.AttemptEnd{
		Number: a.plan.Number, Ended: now, Outcome: o, Sent: sent, Lost: a.lost,
		Instance: a.peer.id, Addr: a.peer.addr, View: a.view, Node: a.peer.node,
	}
	if err != nil {
		end.Err = err
	}
	if resp != nil {
		end.Status = resp.StatusCode
		end.Keep = only(resp.Header, headerKeep)
	}
	w.EndAttempt(end)
}

// observe tells the observer, if there is one, of a request, and returns the context of its handler. d is how long it may
// take; negative: for ever.
func (x *exchange) observe(ctx context.Context, r *http.Request, in resilience.Request, d time.Duration) context.Context {
	o := x.handler.cfg.Observer
	if o == nil {
		return ctx
	}
	info := resilience.ServeInfo{
		Protocol: resilience.HTTP, Method: r.Method, Path: r.URL.Path, Begun: time.Now(), Request: in,
		Along: resilience.Along{
			Traceparent: only(r.Header, headerTraceparent), Tracestate: only(r.Header, headerTracestate), Baggage: only(r.Header, headerBaggage),
		},
	}
	if d >= 0 {
		info.Deadline = info.Begun.Add(d)
	}
	ctx, x.watch = o.BeginServe(ctx, info)
	return ctx
}

// admitted tells what admission has said.
func (x *exchange) admitted(err *failure.Error) {
	if x.watch == nil {
		return
	}
	a := resilience.AdmitInfo{At: x.pass.start, Err: err, InFlight: x.pass.before, Limit: x.handler.gate.controller}
	if a.At.IsZero() {
		a.At = time.Now()
	}
	x.watch.Admit(a)
}

// ending is how the request ends, as things are; pattern is that of its http.Request.
func (x *exchange) ending(rw *responseWriter, pattern string) resilience.ServeEnd {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := resilience.ServeEnd{Ended: time.Now(), Status: rw.status, Route: x.route, Err: x.failure}
	if e.Status == 0 {
		e.Status = http.StatusOK
	}
	if e.Status >= http.StatusBadRequest {
		e.Code = failure.FromHTTPStatus(e.Status)
		if e.Err != nil {
			e.Code = failure.CodeOf(e.Err)
		}
	} else if _, panicked := e.Err.(*lifecycle.PanicError); panicked { //nolint:errorlint // as Panicked has it
		e.Code = failure.Internal
	} else {
		e.Err = nil
	}
	e.Stream = isStream(e.Status, rw.Header().Get("Content-Type"))
	if e.Route == "" {
		e.Route = routeOf(pattern)
	}
	return e
}

// routeOf returns the path of a pattern of http.ServeMux, "/orders/{id}" of "GET example.org/orders/{id}".
func routeOf(pattern string) string {
	if i := strings.IndexByte(pattern, '/'); i > 0 {
		return pattern[i:]
	}
	return pattern
}

// Route says which pattern the request being served with ctx has matched, such as "/orders/:id", for those who observe it
// (ServerConfig.Observer). Routers say so, where http.Request.Pattern does not. Outside of a Handler made by Wrap it does
// nothing.
func Route(ctx context.Context, pattern string) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok && x.watch != nil {
		x.mu.Lock()
		x.route = pattern
		x.mu.Unlock()
	}
}

// noteFailure keeps the error that a request is answered with, for its observer.
func noteFailure(ctx context.Context, err error) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok && x.watch != nil {
		x.mu.Lock()
		x.failure = err
		x.mu.Unlock()
	}
}
