package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// observe tells the observer, if there is one, that a call begins.
func (c *call) observe(ctx context.Context, spec *resilience.Spec) {
	o := c.target.cfg.Observer
	if o == nil {
		return
	}
	c.watch = o.BeginCall(ctx, resilience.CallInfo{
		Protocol: resilience.GRPC, Service: c.target.service, Method: c.method, Stream: c.stream,
		Begun: c.begun, Deadline: c.deadline, Criticality: spec.Criticality,
		Budget: spec.Budget, Guard: spec.Guard, Latency: spec.Latency,
	})
}

// observed tells that the call has ended.
func (c *call) observed(now time.Time, err error) {
	if c.watch != nil {
		c.watch.End(resilience.CallEnd{Ended: now, Err: err})
	}
}

// observe tells that an attempt begins, and has it take along what is to be taken.
func (a *attempt) observe() {
	w := a.call.watch
	if w == nil {
		return
	}
	along := w.BeginAttempt(resilience.AttemptInfo{
		Number: a.plan.Number, Hedge: a.plan.Hedged, Begun: a.start, Deadline: a.plan.Deadline, Bounded: a.plan.Bounded,
	})
	if theirRaw != nil && along.Traceparent != "" && along.Tracestate == "" && along.Baggage == "" && a.Context.Value(outgoingKey) == nil {
		a.luggage.pack(theirRaw, resilience.HeaderTraceparent, along.Traceparent)
		return
	}
	for _, h := range [...]struct{ key, value string }{
		{resilience.HeaderTraceparent, along.Traceparent}, {resilience.HeaderTracestate, along.Tracestate}, {resilience.HeaderBaggage, along.Baggage},
	} {
		if h.value != "" {
			a.Context = send(a.Context, h.key, h.value)
		}
	}
}

// observed tells how an attempt ended. It is called with the call's mutex held.
func (a *attempt) observed(now time.Time, o resilience.Outcome, err *failure.Error) {
	w := a.call.watch
	if w == nil {
		return
	}
	end := resilience.AttemptEnd{
		Number: a.plan.Number, Ended: now, Outcome: o, Sent: a.sent, Lost: a.lost,
		Instance: a.inst.id, Addr: a.inst.addr, View: a.view, Node: a.node, Keep: a.keep,
	}
	if err != nil {
		end.Err = err
	}
	w.EndAttempt(end)
}

// keyProbe finds out by which key package metadata keeps what is in a context, so that it can be had without a copy.
type keyProbe struct {
	context.Context //nolint:containedctx // it is one
	key             any
}

// Value implements context.Context.
func (p *keyProbe) Value(key any) any {
	p.key = key
	return nil
}

func keyOf(ask func(context.Context) (metadata.MD, bool)) any {
	p := &keyProbe{Context: context.Background()}
	ask(p)
	return p.key
}

// The keys of package metadata; nil if it does not ask contexts any more.
var (
	outgoingKey = keyOf(metadata.FromOutgoingContext)
	incomingKey = keyOf(metadata.FromIncomingContext)
)

// along returns what a call that is served took along. What came twice counts as absent.
func along(ctx context.Context) resilience.Along {
	if md, ok := ctx.Value(incomingKey).(metadata.MD); ok {
		return resilience.Along{
			Traceparent: one(md[resilience.HeaderTraceparent]), Tracestate: one(md[resilience.HeaderTracestate]), Baggage: one(md[resilience.HeaderBaggage]),
		}
	}
	return resilience.Along{
		Traceparent: single(ctx, resilience.HeaderTraceparent), Tracestate: single(ctx, resilience.HeaderTracestate), Baggage: single(ctx, resilience.HeaderBaggage),
	}
}

func one(v []string) string {
	if len(v) == 1 {
		return v[0]
	}
	return ""
}

// observe tells the observer, if there is one, of a call that is served, and returns the context of its handler.
func (h *handling) observe(ctx context.Context, method string, stream bool, in *incoming) context.Context {
	o := h.gate.cfg.Observer
	if o == nil || in.exempt {
		return ctx
	}
	info := resilience.ServeInfo{
		Protocol: resilience.GRPC, Method: method, Stream: stream, Begun: time.Now(), Request: in.request, Along: along(ctx),
	}
	info.Deadline, _ = ctx.Deadline()
	ctx, in.watch = o.BeginServe(ctx, info)
	return ctx
}

// admitted tells what admission has said.
func (h *handling) admitted(in *incoming, err error) {
	if in.watch == nil {
		return
	}
	a := resilience.AdmitInfo{At: in.start, Err: failure.From(err), InFlight: in.before, Limit: h.gate.controller}
	if a.At.IsZero() {
		a.At = time.Now()
	}
	in.watch.Admit(a)
}

// observed tells how a call ended that was served, and tells its caller if it is kept.
func (h *handling) observed(ctx context.Context, in *incoming, err error) {
	if in.watch == nil {
		return
	}
	end := resilience.ServeEnd{Ended: time.Now(), Err: err}
	if err != nil {
		end.Code = failure.CodeOf(err)
	}
	if why := in.watch.Keep(end); why != "" {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(resilience.HeaderKeep, why)) // only fails outside of a server
	}
	in.watch.End(end)
}

// streamEnd is how a stream ended.
type streamEnd struct {
	now time.Time
	err error
}

// finish reports whether a stream that is the user's has ended, once, and tells the observer. The call's mutex is held.
func (a *attempt) finish() bool {
	if a.flowed == nil || !a.flowing {
		return false
	}
	a.flowing = false
	if a.call.watch == nil {
		return true
	}
	var e *failure.Error
	o := resilience.OK
	if err := a.flowed.err; err != nil {
		e = failure.From(err)
		o = a.plan.Classify(e, a.sent, a.flowed.now.Sub(a.start))
	}
	a.observed(a.flowed.now, o, e)
	var err error
	if e != nil {
		err = e
	}
	a.call.observed(a.flowed.now, err)
	a.call.watch = nil
	return true
}
