package rest

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/resilience"
)

// beside makes a hedge for an attempt, in the goroutine of its timer. What panics there, such as the request's GetBody, a
// hook of httptrace or a Picker, is the end of the call: in RoundTrip its caller could contain it, here nobody else does.
func (t *trip) beside(first *attempt) {
	err := lifecycle.Recover(func() error {
		if p, body := t.another(first); p != nil {
			t.overtake(first, p, body)
		}
		return nil
	})
	if err != nil {
		t.crash(first, err)
	}
}

// another returns an instance and a body for a hedge, if there are both: what is not made is not to be paid for.
func (t *trip) another(first *attempt) (*peer, io.ReadCloser) {
	now := time.Now()
	t.mu.Lock()
	tried := append(slices.Clone(t.tried), first.peer.node)
	over := t.first != first
	t.mu.Unlock()
	if over || !t.target.now.Load().view.Untried(now, tried...) {
		return nil, nil
	}
	p, err := t.target.pick(t.ctx, now, now, tried, t.safe)
	if err != nil || slices.Contains(tried, p.node) {
		return nil, nil
	}
	body, ok := t.anotherBody()
	if !ok {
		return nil, nil
	}
	return p, body
}

// overtake makes the hedge, if the call allows it.
func (t *trip) overtake(first *attempt, p *peer, body io.ReadCloser) {
	now := time.Now()
	var plan resilience.Plan
	t.mu.Lock()
	ok := t.first == first
	if ok {
		plan, ok = t.call.Hedge(now, rand.Uint64())
	}
	if !ok {
		t.mu.Unlock()
		_ = body.Close()
		return
	}
	a := newAttempt(t, p, plan, now)
	done := make(chan struct{})
	defer close(done)
	t.hedge, t.done = a, done
	t.mu.Unlock()
	var resp *http.Response
	err := lifecycle.Recover(func() (err error) {
		resp, err = a.do(body) //nolint:bodyclose // settle closes it, or its reader does
		return err
	})
	a.decision = t.settle(a, resp, err)
}

// crash ends the call, since something panicked before there was a hedge; first is the attempt to which it was to be one.
func (t *trip) crash(first *attempt, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first != first || t.end.is { // there is nobody to return it to
		t.target.cfg.Logger.Error("the hedge of a call that has ended panicked", slog.String("service", t.target.service), slog.Any("error", err))
		return
	}
	t.last = panicked(err)
	t.end = ending{is: true, stop: resilience.StopFinal}
	first.cancel(errBeaten)
}

// panicked is what a call ends with of which a part panicked. err has the stack.
func panicked(err error) *failure.Error {
	return failure.Wrap(err, failure.Internal, "internal error")
}
