package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// call is what is remembered of one call until its end, or until that of the request that it is made for. Calls are used
// again and again; nobody outside of this package holds one beyond its End.
//
// The trace is decided first: it is that of the current span, or a new one. Ids are drawn at once, for they are sent along;
// everything else is written only if the call is kept.
type call struct {
	observer *observer
	family   *family // of the request that it is made for; nil if it is not made for one
	method   *method
	info     resilience.CallInfo

	trace   trace.TraceID
	id      trace.SpanID
	parent  trace.SpanContext
	state   trace.TraceState
	sampled bool
	baggage string

	mu       sync.Mutex
	attempts []attempt
	room     [1]attempt // for attempts: few calls have another
	first    time.Time  // when the last attempt ended
	keep     reason     // what an instance has said

	end resilience.CallEnd
	why reason // its own reason to be kept
}

// attempt is one of a call.
type attempt struct {
	id    trace.SpanID
	info  resilience.AttemptInfo
	wait  time.Duration // since the end of the one before
	end   resilience.AttemptEnd
	ended bool
	// What there was when it ended, if it did not end well; else it is asked for when it is wanted, which is a moment later.
	tokens, passing float64
	measured        bool
	pick            *balance.Explanation // nil: not asked for; what was picked from changes
}

var calls = sync.Pool{New: func() any { return new(call) }}

// BeginCall implements resilience.Observer.
func (o *observer) BeginCall(ctx context.Context, info resilience.CallInfo) resilience.CallObserver {
	c := calls.Get().(*call)
	c.observer, c.info = o, info
	c.method = o.stats.called(info)
	c.attempts = c.room[:0]
	c.id = newSpanID()
	local, current := localOf(ctx)
	parent := current.SpanContext()
	switch {
	case parent.IsValid():
		c.trace, c.parent, c.state, c.sampled = parent.TraceID(), parent, parent.TraceState(), parent.IsSampled()
		switch {
		case c.sampled || o.spans == nil:
		case local != nil && local.observer == o:
			c.family = &local.family
		default:
			c.family = o.roots.of(parent.SpanID())
		}
	default:
		c.trace = newTraceID()
		c.sampled = o.sampler.begin(info.Begun, c.trace)
	}
	if o.env.baggage {
		c.baggage = baggageOf(ctx)
	}
	return c
}

// BeginAttempt implements resilience.CallObserver.
func (c *call) BeginAttempt(info resilience.AttemptInfo) resilience.Along {
	id := newSpanID()
	c.mu.Lock()
	c.attempts = append(c.attempts, attempt{id: id, info: info})
	if !c.first.IsZero() && !info.Hedge {
		c.attempts[len(c.attempts)-1].wait = since(c.first, info.Begun)
	}
	c.mu.Unlock()
	var along resilience.Along
	if c.observer.env.trace {
		along.Traceparent = traceparent(c.trace, id, c.sampled)
		along.Tracestate = c.state.String()
	}
	along.Baggage = c.baggage
	return along
}

// EndAttempt implements resilience.CallObserver.
func (c *call) EndAttempt(end resilience.AttemptEnd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.attempts {
		a := &c.attempts[i]
		if a.info.Number != end.Number || a.ended {
			continue
		}
		a.end, a.ended = end, true
		c.method.service.count(end.Outcome, end.Lost, a.info.Hedge, c.info.Stream)
		if word := keepWord(end.Keep); word != keepNot && c.keep == keepNot {
			c.keep = word
		}
		if !end.Lost {
			c.first = end.Ended
		}
		if c.observer.spans == nil || end.Outcome == resilience.OK {
			return
		}
		c.measure(a)
		if end.View != nil {
			why := end.View.Explain(end.Ended, end.Node, maxEjected)
			a.pick = &why
		}
		return
	}
}

// measure notes what there was of the budget, and what got through, when a ended.
func (c *call) measure(a *attempt) {
	a.measured, a.passing = true, 1
	if c.info.Budget != nil {
		a.tokens = c.info.Budget.Tokens(a.end.Ended)
	}
	if c.info.Guard != nil {
		a.passing = c.info.Guard.Throttle().Pass(c.info.Criticality)
	}
}

// End implements resilience.CallObserver.
func (c *call) End(end resilience.CallEnd) {
	c.end = end
	o := c.observer
	c.record()
	if o.spans == nil {
		c.drop()
		return
	}
	c.why = c.reason()
	switch {
	case c.sampled:
		c.write(keepSampled)
	case c.family != nil:
		c.family.add(o, end.Ended, c, c.why)
	case c.why != keepNot && o.sampler.end(end.Ended, c.why):
		c.write(c.why)
	default:
		c.drop()
	}
}

// record counts the call.
func (c *call) record() {
	if !c.info.Stream { // which lasts as long as both sides like
		c.method.record(since(c.info.Begun, c.end.Ended), c.code(), c.end.Status)
	}
	if e, ok := c.end.Err.(*resilience.CallError); ok && e.RefusedBy != "" { //nolint:errorlint // as it is made
		c.method.service.refuse(e.RefusedBy)
	}
}

func (c *call) code() failure.Code {
	if c.end.Err == nil {
		return failure.OK
	}
	return failure.CodeOf(c.end.Err)
}

// reason returns why the call is kept by itself, or keepNot.
func (c *call) reason() reason {
	refused, retries, hedges := keepNot, 0, 0
	if c.end.Err != nil {
		var f *failure.Error
		if e, ok := c.end.Err.(*resilience.CallError); ok && e.RefusedBy != "" { //nolint:errorlint // as it is made
			refused = keepRefused
		} else if errors.As(c.end.Err, &f) && f.Shed() {
			refused = keepShed
		}
	}
	for i := range c.attempts {
		switch a := &c.attempts[i]; {
		case a.info.Hedge:
			hedges++
		case a.end.Outcome != resilience.NoInstance: // that one had to be waited for is seen if it took long
			retries++
		}
	}
	switch {
	case refused != keepNot:
		return refused
	case c.end.Err != nil, c.end.Status >= 400:
		return blame(c.code(), c.end.Status)
	case retries > 1:
		return keepRetried
	case hedges > 0:
		return keepHedged
	case c.keep != keepNot:
		return c.keep
	case !c.info.Stream && slow(c.info.Latency, c.end.Ended, since(c.info.Begun, c.end.Ended)):
		return keepSlow
	}
	return keepNot
}

const (
	// slowFloor is what nothing is slow below.
	slowFloor = 50 * time.Millisecond
	// slowTimes is how many times as long as 95 in 100 of its kind a call takes that is slow.
	slowTimes = 2
	// slowAlways is what is slow where nothing is known of others.
	slowAlways = time.Second
)

// slow reports whether a call took much longer than its kind does.
func slow(usual *resilience.Latency, now time.Time, took time.Duration) bool {
	if took < slowFloor {
		return false
	}
	if usual != nil {
		if s := usual.Summary(now); s.Known() {
			return took > slowTimes*s.P95
		}
	}
	return took >= slowAlways
}

// drop implements pending.
func (c *call) drop() {
	clear(c.room[:]) // also where there were more than it has room for
	c.attempts = nil
	c.observer, c.family, c.method, c.info = nil, nil, nil, resilience.CallInfo{}
	c.parent, c.state, c.baggage = trace.SpanContext{}, trace.TraceState{}, ""
	c.first, c.keep, c.end, c.why, c.sampled = time.Time{}, keepNot, resilience.CallEnd{}, keepNot, false
	calls.Put(c)
}

// spanContext returns that of one of its spans, as it is sent.
func (c *call) spanContext(id trace.SpanID) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: c.trace, SpanID: id, TraceFlags: trace.FlagsSampled, TraceState: c.state,
	})
}

// write implements pending.
func (c *call) write(why reason) {
	if c.why != keepNot {
		why = c.why
	}
	whole := c.spanContext(c.id)
	for i := range c.attempts {
		c.observer.spans.add(c.snapshotOf(&c.attempts[i], whole))
	}
	c.observer.spans.add(c.snapshot(why))
	c.drop()
}
