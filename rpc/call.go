package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// call is one call of the user, with all its attempts.
type call struct {
	ctx      context.Context //nolint:containedctx // of the call, which it lives as long as
	target   *target
	method   string
	stream   bool
	safe     bool                    // may run twice
	keyed    bool                    // it has an idempotency key
	keep     bool                    // an attempt is not cut off where it is the only instance's
	repeats  int                     // attempts that were made before, further out
	begun    time.Time               // when
	deadline time.Time               // of all attempts together; of a stream, of its set-up
	first    attempt                 // spares an allocation where one attempt is enough
	over     time.Time               // when it ended
	watch    resilience.CallObserver // nil: nobody
	past     []resilience.Attempt

	// Of a unary call.
	cc      *grpc.ClientConn
	invoker grpc.UnaryInvoker
	req     any
	reply   any
	kind    protoreflect.MessageType // of reply, for that of a hedge; set where there may be one
	opts    []grpc.CallOption

	// mu guards what follows once there is a hedge, and of every attempt what is said there.
	mu      sync.Mutex
	loop    resilience.Call
	tried   []*balance.Node // that failed, and that a hedge runs beside: not to be picked again while there is another
	room    [3]*balance.Node
	primary *attempt // under way, and no hedge
	hedge   *hedge
	won     bool // the hedge has made an end of the primary
}

// unary makes a unary call, as an interceptor; invoker makes one attempt.
func (d *dialer) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if probeOf(ctx) != nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	now := time.Now()
	ctx, keyed, err := sendKey(ctx)
	c := &call{cc: cc, invoker: invoker, req: req, reply: reply}
	var finish []func(error)
	c.opts, finish = withoutOnFinish(opts)
	d.begin(c, ctx, now, method, cc, keyed)
	if err != nil {
		err = c.fail(now, failure.From(err), resilience.StopFinal)
	} else {
		err = c.run(now)
		now = c.over
	}
	c.observed(now, err)
	for _, f := range finish {
		f(err)
	}
	return err
}

// stream sets up a stream, as an interceptor; streamer makes one attempt. Its error means that nothing was sent.
func (d *dialer) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	now := time.Now()
	ctx, _, err := sendKey(ctx)
	s := &clientStream{}
	c := &call{stream: true, cc: cc}
	c.opts, s.finish = withoutOnFinish(opts)
	c.invoker = func(ctx context.Context, method string, _, _ any, cc *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
		a := attemptOf(ctx)
		s.attempt = a
		// The deadline is that of the set-up, and not to be sent: it ends the context only while there is no stream. A
		// connection that has as many streams as its server takes would have it wait for ever.
		ctx, cancel := context.WithCancel(ctx)
		late := time.AfterFunc(time.Until(c.deadline), cancel)
		s.ClientStream, err = streamer(ctx, desc, cc, method, append(slices.Clip(opts), grpc.OnFinish(func(err error) {
			cancel()
			s.ended(a, err)
		}))...)
		if !late.Stop() {
			err = failure.Wrap(context.DeadlineExceeded, failure.DeadlineExceeded, "the stream could not be set up in time")
		}
		if err != nil {
			cancel()
		}
		return err
	}
	d.begin(c, ctx, now, method, cc, false)
	if err != nil {
		err = c.fail(now, failure.From(err), resilience.StopFinal)
	} else {
		if err = c.run(now); err == nil {
			s.begun()
			return s, nil
		}
		now = c.over
	}
	c.observed(now, err)
	s.tell(err)
	return nil, err
}

// begin begins a call; keyed: it has an idempotency key.
func (d *dialer) begin(c *call, ctx context.Context, now time.Time, name string, cc *grpc.ClientConn, keyed bool) {
	t := d.of(cc)
	m, terms := t.method(name)
	c.target, c.method, c.begun = t, name, now
	c.deadline = resilience.Deadline(ctx, now, &terms.policy)
	r, _ := resilience.Outgoing(ctx, terms.criticality)
	c.ctx, c.repeats = sendRequest(ctx, r), r.Attempt
	c.tried = c.room[:0]
	spec := resilience.Spec{
		Policy: &terms.policy, Budget: t.budget, Guard: t.guard, Deadline: c.deadline, Criticality: r.Criticality, Single: true,
	}
	if !c.stream {
		_, message := c.reply.(proto.Message)
		c.safe, c.keyed = terms.safe || keyed && terms.keyed, keyed
		c.keep = terms.policy.AttemptTimeout == 0
		// Safe is what may be followed by another attempt. Of two at the same time one may be answered ABORTED or
		// ALREADY_EXISTS, because of the other, and that would be the call's answer.
		spec.Latency, spec.Safe, spec.Single = m.latency, c.safe, !message || !terms.hedged
	}
	c.loop = resilience.Begin(spec)
	c.observe(ctx, &spec)
}

// sendRequest returns ctx with what the call takes along where it is sent. What is the default is not.
func sendRequest(ctx context.Context, r resilience.Request) context.Context {
	level := ""
	if r.Criticality != resilience.Critical {
		level = r.Criticality.String()
	}
	ctx = send(ctx, resilience.HeaderCriticality, level)
	return send(ctx, resilience.HeaderTenant, r.Tenant)
}

// send returns ctx with the metadata to be sent; "" is none. It replaces what came with metadata that somebody passes on:
// what a call was lowered to must not be undone by what its request came with.
func send(ctx context.Context, key, value string) context.Context {
	if len(metadata.ValueFromOutgoingContext(ctx, key)) == 0 {
		if value == "" {
			return ctx
		}
		return metadata.AppendToOutgoingContext(ctx, key, value)
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	if md.Delete(key); value != "" {
		md.Set(key, value)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// run makes attempts until one succeeds or there are no more. The error is a *resilience.CallError.
func (c *call) run(now time.Time) error {
	var last *failure.Error
	defer func() {
		c.mu.Lock() // an interceptor that panics leaves a hedge behind
		c.loop.End(now)
		c.over = now
		c.mu.Unlock()
	}()
	for {
		plan, stop := c.loop.Next(now, rand.Uint64()) //nolint:gosec // not a secret
		if stop != resilience.StopDone {
			if last == nil {
				if last = stop.Failure(c.target.service); stop == resilience.StopDeadline {
					last = last.WithCause(context.DeadlineExceeded)
				}
			}
			return c.fail(now, last, stop)
		}
		r := c.try(plan, now)
		if now = r.now; r.err == nil {
			return nil
		}
		a := r.attempt
		last = r.err
		if !r.next.Retry {
			c.past = append(c.past, a.record(now, last))
			return c.fail(now, last, r.next.Stop)
		}
		if a.none != nil {
			none := a.none.await(c.ctx, c.deadline.Add(-lead(c.deadline.Sub(c.begun))))
			if now = time.Now(); none == nil {
				continue
			}
			last = none.failure(c.target.service)
		}
		c.past = append(c.past, a.record(now, last))
		if a.none == nil {
			pause(c.ctx, r.next.Wait)
			now = time.Now()
		}
		switch err := c.ctx.Err(); {
		case errors.Is(err, context.Canceled):
			return c.fail(now, failure.Wrap(err, failure.Canceled, "canceled by the caller"), resilience.StopCanceled)
		case err != nil, a.none != nil:
			return c.fail(now, last, resilience.StopDeadline)
		}
	}
}

// try makes an attempt, and its hedge if there comes to be one, and returns the one that counts.
func (c *call) try(plan resilience.Plan, now time.Time) result {
	a := &c.first
	if plan.Number > 0 {
		a = new(attempt)
	}
	c.begin(a, plan, now)
	if !plan.Hedge.IsZero() {
		// Now, since the attempt will write to the reply at any time.
		kind := c.reply.(proto.Message).ProtoReflect().Type()
		c.mu.Lock()
		c.primary, c.kind = a, kind
		c.mu.Unlock()
	}
	err := c.invoke(a, c.reply, c.opts)
	c.mu.Lock()
	h := c.hedge
	if h != nil && h.ended && !c.won { // it has failed before
		defer c.recordHedge(h, plan)
		h = nil
	}
	if c.won {
		a.observed(h.result.now, resilience.Canceled, nil)
		c.mu.Unlock()
		c.past = append(c.past, a.record(h.result.now, errLost))
		return h.await()
	}
	c.primary = nil
	r := c.end(a, err)
	lost := h != nil && !r.next.Pending
	if lost {
		h.lost, h.attempt.lost = true, true
		h.attempt.worth = c.loop.Lost(r.now, h.attempt.plan)
		h.attempt.observed(r.now, resilience.Canceled, nil)
	}
	c.mu.Unlock()
	switch {
	case lost:
		h.attempt.cancel(context.Canceled)
		<-h.done
		c.past = append(c.past, h.attempt.record(r.now, errLost))
	case h != nil:
		c.past = append(c.past, a.record(r.now, r.err))
		return h.await()
	}
	return r
}

// recordHedge records a hedge that has failed while its attempt, planned so, was still under way. It may be an earlier one.
func (c *call) recordHedge(h *hedge, plan resilience.Plan) {
	if h.attempt.plan.Number > plan.Number {
		c.past = append(c.past, h.attempt.record(h.result.now, h.result.err))
	}
}

// errLost is how the attempt ended of which nobody wanted the end any more.
var errLost = failure.New(failure.Canceled, "another attempt was answered")

// begin begins the attempt that was planned.
func (c *call) begin(a *attempt, plan resilience.Plan, now time.Time) {
	a.call, a.plan, a.start = c, plan, now
	a.Context = c.ctx
	if n := c.repeats + plan.Number; n > 0 {
		a.Context = send(c.ctx, resilience.HeaderAttempt, strconv.Itoa(min(n, resilience.MaxRepetitions)))
	}
	a.observe()
	if c.stream {
		return
	}
	if given, ok := c.ctx.Deadline(); !ok || plan.Deadline.Before(given) || !plan.Hedge.IsZero() || plan.Hedged {
		a.live(plan.Deadline)
	}
}

// invoke makes an attempt.
func (c *call) invoke(a *attempt, reply any, opts []grpc.CallOption) (err error) {
	if a.own {
		c.target.alarms.arm(a, a.start)
		defer func() {
			c.target.alarms.disarm(a)
			a.end()
		}()
	}
	if a.plan.Hedged { // in a goroutine of ours, where nobody else would contain it
		defer func() {
			if v := recover(); v != nil {
				err = contain(v)
			}
		}()
	}
	err = c.invoker(a, c.method, c.req, reply, c.cc, opts...)
	if !c.stream { // which has only begun
		a.settle(err)
	}
	return err
}

// end tells the loop how an attempt has ended.
func (c *call) end(a *attempt, err error) result {
	if err == nil {
		now := a.whenEnded()
		if !c.stream { // which has only begun
			a.observed(now, resilience.OK, nil)
		}
		return result{attempt: a, now: now, next: c.loop.Done(now, a.plan, resilience.OK, 0, 0)}
	}
	r := result{attempt: a, now: time.Now()}
	r.err = a.failure(c.ctx, r.now, err)
	o, pushback := a.outcome(r.now, r.err)
	a.observed(r.now, o, r.err)
	if a.alone {
		c.loop.Alone()
	}
	r.next = c.loop.Done(r.now, a.plan, o, pushback, rand.Uint64()) //nolint:gosec // not a secret
	return r
}

// lead is how long before its deadline a call stops to wait for an instance: somebody has to read why.
func lead(total time.Duration) time.Duration {
	return min(max(total/20, 2*time.Millisecond), 50*time.Millisecond)
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *call) fail(now time.Time, err *failure.Error, stop resilience.Stop) error {
	by, _ := stop.Refused()
	return &resilience.CallError{
		RefusedBy: by,
		Service:   c.target.service,
		Method:    c.method,
		Attempts:  c.past,
		Stopped:   stop.String(),
		Remaining: c.deadline.Sub(now),
		Err:       err,
	}
}
