package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// call is one call of the user, with all its attempts.
type call struct {
	target   *target
	method   string
	stream   bool
	safe     bool      // may run twice
	deadline time.Time // of all attempts together; of a stream, of its set-up
	loop     resilience.Call
	first    attempt // spares an allocation where one attempt is enough
	past     []resilience.Attempt

	mu    sync.Mutex
	tried []*balance.Node // that failed
}

// unary makes a unary call, as an interceptor; invoker makes one attempt.
func (d *dialer) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if probeOf(ctx) != nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	now := time.Now()
	ctx, keyed, err := sendKey(ctx)
	c := d.call(ctx, now, method, cc, keyed, false)
	if err != nil {
		return c.fail(now, failure.From(err), resilience.StopFinal)
	}
	return c.run(ctx, now, func(a *attempt) error {
		if given, ok := ctx.Deadline(); !ok || a.plan.Deadline.Before(given) {
			var cancel context.CancelFunc
			a.Context, cancel = context.WithDeadline(ctx, a.plan.Deadline)
			defer cancel()
		}
		return invoker(a, method, req, reply, cc, opts...)
	})
}

// stream sets up a stream, as an interceptor; streamer makes one attempt. Its error means that nothing was sent.
func (d *dialer) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	now := time.Now()
	ctx, _, err := sendKey(ctx)
	c := d.call(ctx, now, method, cc, false, true)
	if err != nil {
		return nil, c.fail(now, failure.From(err), resilience.StopFinal)
	}
	s := &clientStream{}
	err = c.run(ctx, now, func(a *attempt) (err error) {
		s.attempt = a
		s.ClientStream, err = streamer(a, desc, cc, method, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// call begins a call; keyed: it has an idempotency key.
func (d *dialer) call(ctx context.Context, now time.Time, name string, cc *grpc.ClientConn, keyed, stream bool) *call {
	t := d.of(cc)
	m := t.method(name)
	c := &call{target: t, method: name, stream: stream, deadline: resilience.Deadline(ctx, now, &m.policy)}
	spec := resilience.Spec{Policy: &m.policy, Budget: t.budget, Deadline: c.deadline, Single: true}
	if !stream {
		c.safe = m.safe || keyed
		spec.Latency, spec.Safe = m.latency, c.safe
	}
	c.loop = resilience.Begin(spec)
	return c
}

// run makes attempts until one succeeds or there are no more. The error is a *resilience.CallError.
func (c *call) run(ctx context.Context, now time.Time, try func(*attempt) error) error {
	var last *failure.Error
	begun := now
	for {
		plan, stop := c.loop.Next(now, rand.Uint64()) //nolint:gosec // not a secret
		if stop != resilience.StopDone {
			if last == nil && stop == resilience.StopDeadline {
				last = failure.Wrap(context.DeadlineExceeded, failure.DeadlineExceeded, "no time left")
			} else if last == nil {
				last = stop.Failure(c.target.service)
			}
			return c.fail(now, last, stop)
		}
		a := c.begin(ctx, plan, now)
		err := try(a)
		if err == nil {
			c.loop.Done(a.end(), plan, resilience.OK, 0, 0)
			return nil
		}
		now = time.Now()
		last = a.failure(ctx, now, err)
		o, pushback := a.outcome(last.Code)
		next := c.loop.Done(now, plan, o, pushback, rand.Uint64()) //nolint:gosec // not a secret
		if !next.Retry {
			c.past = append(c.past, a.record(now, last))
			return c.fail(now, last, next.Stop)
		}
		if a.none != nil {
			none := a.none.await(ctx, c.deadline.Add(-lead(c.deadline.Sub(begun))))
			if now = time.Now(); none == nil {
				continue
			}
			last = none.failure(c.target.service)
		}
		c.past = append(c.past, a.record(now, last))
		if a.none == nil {
			pause(ctx, next.Wait)
			now = time.Now()
		}
		switch err := ctx.Err(); {
		case errors.Is(err, context.Canceled):
			return c.fail(now, failure.Wrap(err, failure.Canceled, "canceled by the caller"), resilience.StopCanceled)
		case err != nil, a.none != nil:
			return c.fail(now, last, resilience.StopDeadline)
		}
	}
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
	return &resilience.CallError{
		Service:   c.target.service,
		Method:    c.method,
		Attempts:  c.past,
		Stopped:   stop.String(),
		Remaining: c.deadline.Sub(now),
		Err:       err,
	}
}
