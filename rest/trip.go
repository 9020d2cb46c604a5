package rest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// trip is one call of RoundTrip: the attempts, and what is left to say when they failed.
type trip struct {
	target   *target
	req      *http.Request
	ctx      context.Context // of req
	body     *requestBody    // nil if there is none, or if getBody makes new ones
	getBody  func() (io.ReadCloser, error)
	deadline time.Time
	call     resilience.Call
	safe     bool
	also     *resilience.Latency // observed besides that of the call; nil if there is none

	tried  []*balance.Node
	room   [resilience.DefaultMaxAttempts]*balance.Node // for tried
	failed []resilience.Attempt
}

func newTrip(g *target, req *http.Request) *trip {
	t := &trip{target: g, req: req, ctx: req.Context(), safe: repeatable(req)}
	t.tried = t.room[:0]
	if req.GetBody != nil && req.Body != nil && req.Body != http.NoBody {
		t.getBody = req.GetBody
	} else {
		t.body = newRequestBody(req, g.cfg.MaxReplayBytes, t.safe)
	}
	now := time.Now()
	t.deadline = resilience.Deadline(t.ctx, now, &g.cfg.Policy)
	latency, coarse := g.latency.of(req.Method, req.URL.Path)
	if latency != coarse {
		t.also = coarse
		if latency == nil || coarse != nil && !latency.Summary(now).Known() {
			latency, t.also = coarse, latency
		}
	}
	t.call = resilience.Begin(resilience.Spec{
		Policy:   &g.cfg.Policy,
		Budget:   g.budget,
		Latency:  latency,
		Deadline: t.deadline,
		Safe:     t.safe,
		Single:   true,
	})
	return t
}

// repeatable reports whether the request says of itself that it may run twice.
func repeatable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return req.Header.Get(HeaderIdempotencyKey) != ""
}

func methodOf(req *http.Request) string {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	if req.URL == nil {
		return method
	}
	return method + " " + req.URL.Path
}

// run makes the attempts.
func (t *trip) run() (*http.Response, error) {
	for {
		now := time.Now()
		p, err := t.target.pick(t.ctx, now, t.patience(now), t.tried)
		if err != nil {
			return t.giveUp(resilience.StopDeadline, err)
		}
		body, err := t.nextBody()
		if err != nil {
			return t.giveUp(resilience.StopUnsafe, err)
		}
		start := time.Now()
		plan, stop := t.call.Next(start, rand.Uint64())
		if stop != resilience.StopDone {
			_ = body.Close()
			if len(t.failed) == 0 {
				return t.giveUp(stop, stop.Failure(t.target.service))
			}
			return t.giveUp(stop, nil)
		}
		a := newAttempt(t, p, plan, start)
		resp, err := a.do(body)
		decision := t.judge(a, resp, err)
		if resp != nil && !decision.Retry {
			t.body.end()
			return a.deliver(resp), nil
		}
		if resp != nil {
			_ = resp.Body.Close()
		}
		a.release()
		t.tried = append(t.tried, p.node)
		if !decision.Retry {
			return t.giveUp(decision.Stop, nil)
		}
		if err := t.wait(decision.Wait); err != nil {
			return t.giveUp(resilience.StopDeadline, err)
		}
	}
}

// patience is until when it is worth waiting for an instance that can be reached.
func (t *trip) patience(now time.Time) time.Time {
	if w := t.target.cfg.Wait; w > 0 && now.Add(w).Before(t.deadline) {
		return now.Add(w)
	}
	return t.deadline
}

// nextBody returns the body for another attempt.
func (t *trip) nextBody() (io.ReadCloser, error) {
	if t.getBody == nil {
		return t.body.next()
	}
	if len(t.tried) == 0 {
		return t.req.Body, nil
	}
	body, err := t.getBody()
	if err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "the body of the request cannot be had again")
	}
	return body, nil
}

// judge tells the call how the attempt ended, and records it if it failed.
func (t *trip) judge(a *attempt, resp *http.Response, err error) resilience.Decision {
	now := time.Now()
	a.took = now.Sub(a.start)
	var outcome resilience.Outcome
	var pushback time.Duration
	switch {
	case err != nil:
		sent := a.sent()
		err = a.explain(err, sent)
		outcome = resilience.Classify(failure.CodeOf(err), sent, a.plan.Bounded)
		t.failed = append(t.failed, resilience.Attempt{Instance: a.peer.id, Addr: a.peer.addr, Duration: a.took, Err: err, Sent: sent})
	default:
		var e *failure.Error
		outcome, e = judgeResponse(resp)
		if e != nil {
			pushback = e.RetryAfter
			t.failed = append(t.failed, resilience.Attempt{Instance: a.peer.id, Addr: a.peer.addr, Duration: a.took, Err: e})
		}
	}
	a.outcome = outcome
	if t.also != nil {
		t.also.Observe(now, a.took, outcome.Verdict().Sample)
	}
	d := t.call.Done(now, a.plan, outcome, pushback, rand.Uint64())
	if d.Retry && !t.body.repeatable() {
		// The verdict would allow it; the body is gone.
		d = resilience.Decision{Stop: resilience.StopUnsafe}
	}
	return d
}

func (t *trip) wait(d time.Duration) error {
	if d <= 0 {
		return t.ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

// giveUp is the end without a response. cause is what came after the last attempt, if anything did.
func (t *trip) giveUp(stop resilience.Stop, cause error) (*http.Response, error) {
	if t.getBody == nil {
		t.body.close()
	} else if len(t.tried) == 0 {
		_ = t.req.Body.Close()
	}
	if errors.Is(cause, context.Canceled) {
		stop = resilience.StopCanceled
	}
	if n := len(t.failed); n > 0 && (cause == nil || errors.Is(cause, context.DeadlineExceeded)) {
		cause = t.failed[n-1].Err // says more than that the time is over
	}
	if cause == nil {
		cause = failure.New(failure.DeadlineExceeded, "no time left for the call to %s", t.target.service)
	}
	return nil, &resilience.CallError{
		Service:   t.target.service,
		Method:    methodOf(t.req),
		Attempts:  t.failed,
		Stopped:   stop.String(),
		Remaining: time.Until(t.deadline),
		Err:       cause,
	}
}
