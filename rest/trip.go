package rest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// trip is one call of RoundTrip: the attempts, and what is left to say when they failed. The goroutine of RoundTrip makes
// the attempts one after the other; a hedge runs beside one of them, in a goroutine of its own that RoundTrip waits for.
type trip struct {
	target   *target
	req      *http.Request
	ctx      context.Context // of req
	body     *requestBody    // nil if there is none, or if getBody makes new ones
	getBody  func() (io.ReadCloser, error)
	deadline time.Time
	request  resilience.Request // what the call takes along
	safe     bool
	keep     bool                    // an attempt is not cut off where there is nobody else to ask
	latency  *resilience.Latency     // of the call; nil if there is none
	also     *resilience.Latency     // observed besides that of the call; nil if there is none
	watch    resilience.CallObserver // nil: nobody

	mu     sync.Mutex // guards what follows, for there may be a hedge
	call   resilience.Call
	past   int  // attempts that may have reached an instance, those under way included
	used   bool // the body of req
	tried  []*balance.Node
	room   [resilience.DefaultMaxAttempts]*balance.Node // for tried
	failed []resilience.Attempt
	last   *failure.Error // of the last attempt that was waited for
	one    attempt        // spares an allocation where one attempt is enough
	first  *attempt       // the one under way that may be hedged
	hedge  *attempt       // beside it
	done   chan struct{}
	end    ending
	kept   ending // the answer to the attempt before, which is the caller's if there is no other

	delivered bool // there is an answer, and whoever releases its attempt ends the call
}

// ending is what the call comes to.
type ending struct {
	is      bool
	attempt *attempt // whose answer is the caller's; nil if there is none
	resp    *http.Response
	stop    resilience.Stop
}

func newTrip(g *target, req *http.Request) *trip {
	rules := g.terms.rules().of(req.Method, req.URL.Path)
	t := &trip{target: g, req: req, ctx: req.Context(), safe: rules.repeatable(req)}
	t.tried = t.room[:0]
	t.request, _ = resilience.Outgoing(t.ctx, rules.criticality)
	if req.GetBody != nil && req.Body != nil && req.Body != http.NoBody {
		t.getBody = req.GetBody
	} else {
		t.body = newRequestBody(req, g.cfg.MaxReplayBytes, t.safe)
	}
	now := time.Now()
	t.deadline = resilience.Deadline(t.ctx, now, &rules.policy)
	t.keep = rules.policy.AttemptTimeout == 0
	latency, coarse := g.terms.latency.of(req.Method, req.URL.Path)
	if latency != coarse {
		t.also = coarse
		if latency == nil || coarse != nil && !latency.Summary(now).Known() {
			latency, t.also = coarse, latency
		}
	}
	t.latency = latency
	spec := resilience.Spec{
		Policy:      &rules.policy,
		Budget:      g.terms.budget,
		Guard:       g.terms.guard,
		Latency:     latency,
		Deadline:    t.deadline,
		Safe:        t.safe,
		Single:      !rules.hedges(req.Method) || isOpenEnded(req),
		Criticality: t.request.Criticality,
	}
	t.call = resilience.Begin(spec)
	t.observe(now, &spec)
	return t
}

// isOpenEnded reports whether the request asks for an answer without an end, of which one is enough.
func isOpenEnded(req *http.Request) bool {
	if len(req.Header["Upgrade"]) > 0 {
		return true
	}
	accept := req.Header["Accept"]
	return len(accept) > 0 && strings.Contains(accept[0], "text/event-stream")
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
	resp, err := t.tries()
	if t.watch != nil && !t.delivered {
		status := 0
		if resp != nil {
			status = resp.StatusCode
		}
		t.observed(time.Now(), status, err)
	}
	return resp, err
}

func (t *trip) tries() (*http.Response, error) {
	defer t.leave()
	var p *peer
	for {
		now := time.Now()
		plan, stop := t.call.Next(now, rand.Uint64())
		if stop != resilience.StopDone {
			return t.giveUp(stop, nil)
		}
		if p == nil {
			var none error
			if p, none = t.pick(now, now); none != nil {
				d := t.call.Done(time.Now(), plan, resilience.NoInstance, 0, rand.Uint64())
				t.unmade(plan, now, none)
				if !d.Retry {
					return t.giveUp(d.Stop, none)
				}
				if p, none = t.pick(now, t.patience(now)); none != nil {
					return t.giveUp(resilience.StopDeadline, none)
				}
				continue
			}
		}
		d, err := t.attempt(p, plan, now)
		switch {
		case err != nil:
			return t.giveUp(resilience.StopUnsafe, err)
		case t.end.attempt != nil:
			t.body.end()
			return t.end.attempt.deliver(t.end.resp), nil
		case t.end.is:
			return t.giveUp(t.end.stop, nil)
		}
		if err := t.wait(d.Wait); err != nil {
			return t.giveUp(resilience.StopDeadline, err)
		}
		p = nil
	}
}

// leave ends the call unless its answer is still to be read.
func (t *trip) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.delivered {
		t.call.End(time.Now())
	}
}

// pick chooses an instance, and waits for one until at.
func (t *trip) pick(now, at time.Time) (*peer, error) {
	return t.target.pick(t.ctx, now, at, t.tried, t.safe)
}

// patience is until when it is worth waiting for an instance that can be reached.
func (t *trip) patience(now time.Time) time.Time {
	if w := t.target.cfg.Wait; w > 0 && now.Add(w).Before(t.deadline) {
		return now.Add(w)
	}
	return t.deadline
}

// attempt makes one attempt, and waits for its hedge if it gets one. The error says that there is no body for it.
func (t *trip) attempt(p *peer, plan resilience.Plan, now time.Time) (resilience.Decision, error) {
	body, err := t.nextBody()
	if err != nil {
		return resilience.Decision{}, err
	}
	t.drop()
	t.mu.Lock()
	a := newAttempt(t, p, plan, now)
	t.first = a
	t.mu.Unlock()
	returned := false
	defer func() {
		if !returned {
			t.abandon(a)
		}
	}()
	resp, err := a.do(body)
	returned = true
	d := t.settle(a, resp, err)
	t.mu.Lock()
	hedge, done := t.hedge, t.done // there will be no other: a is not the first any more
	t.hedge, t.done = nil, nil
	t.mu.Unlock()
	if hedge == nil {
		return d, nil
	}
	<-done // soon if the call has come to its end: the hedge is cancelled then
	if d.Pending {
		d = hedge.decision
	}
	return d, nil
}

// abandon ends an attempt in which something panicked that is the caller's, such as a hook of httptrace; what the caller
// contains is not to leave anything behind.
func (t *trip) abandon(a *attempt) {
	t.mu.Lock()
	won, hedge := t.end, t.hedge
	t.first, t.end = nil, ending{is: true, stop: resilience.StopFinal}
	a.lost, a.early = true, true
	t.mu.Unlock()
	switch {
	case won.attempt != nil:
		_ = won.resp.Body.Close()
		won.attempt.release()
	case hedge != nil:
		hedge.cancel(errBeaten)
	}
	a.release()
}

// settle ends an attempt: it tells the call, records what failed, and if that is the end of the call, cancels the other
// attempt.
func (t *trip) settle(a *attempt, resp *http.Response, err error) resilience.Decision {
	now := time.Now()
	a.took = now.Sub(a.start)
	t.mu.Lock()
	if t.first == a {
		t.first = nil
	}
	var d resilience.Decision
	if t.end.is {
		t.call.Lost(now, a.plan)
		a.lost, a.early = true, t.latency != nil && a.took < t.latency.Summary(now).Median
		a.observed(now, resilience.Canceled, resilience.MaybeSent, resp, nil)
		if t.end.attempt == nil { // of a call that failed, all is told
			t.failed = append(t.failed, a.record(failure.New(failure.Canceled, "still under way when the call ended"), resilience.MaybeSent))
		}
	} else {
		d = t.judge(a, now, resp, err)
		if !d.Retry && !d.Pending {
			t.end = ending{is: true, stop: d.Stop}
			if resp != nil {
				t.end.attempt, t.end.resp = a, resp
			}
			for _, other := range [...]*attempt{t.first, t.hedge} {
				if other != nil && other != a {
					other.cancel(errBeaten)
				}
			}
		}
	}
	holds := t.end.attempt == a
	if d.Retry && resp != nil {
		t.kept = ending{attempt: a, resp: resp}
		holds = true
	}
	if t.end.attempt != a && !a.lost {
		t.tried = append(t.tried, a.peer.node)
	}
	t.mu.Unlock()
	if !holds {
		if resp != nil {
			_ = resp.Body.Close()
		}
		a.release()
	}
	return d
}

// judge tells the call how the attempt ended, and records it if it failed. t.mu is held.
func (t *trip) judge(a *attempt, now time.Time, resp *http.Response, err error) resilience.Decision {
	var outcome resilience.Outcome
	var pushback time.Duration
	var failed *failure.Error
	sent := resilience.MaybeSent
	switch {
	case err != nil:
		sent = a.sent()
		e := a.explain(err, sent)
		if sent == resilience.MaybeSent && e.Code == failure.Unavailable { // and not by an answer
			sent = resilience.SentAndLost
		}
		outcome = a.plan.Classify(e, sent, a.took)
		if e.Code == failure.InvalidArgument || e.Code == failure.Internal || t.body.late() { // ours; it says nothing about the instance
			outcome = resilience.Local
		}
		t.last, failed = e, e
		t.failed = append(t.failed, a.record(e, sent))
	default:
		var e *failure.Error
		outcome, e = judgeResponse(resp, a.plan, a.took)
		if e != nil {
			pushback = e.RetryAfter
			t.last, failed = e, e
			t.failed = append(t.failed, a.record(e, resilience.MaybeSent))
		}
	}
	a.outcome = outcome
	a.observed(now, outcome, sent, resp, failed)
	if outcome == resilience.Unsent {
		t.past--
	}
	if t.also != nil {
		t.also.Observe(now, a.took, outcome.Verdict().Sample)
	}
	d := t.call.Done(now, a.plan, outcome, pushback, rand.Uint64())
	switch {
	case d.Retry && outcome == resilience.Shed && !t.elsewhere(a, now):
		d = resilience.Decision{Stop: resilience.StopShed}
	case d.Retry && !t.reclaim():
		// The verdict would allow it; the body is gone.
		d = resilience.Decision{Stop: resilience.StopUnsafe}
	}
	return d
}

// elsewhere reports whether an instance may be picked that this call has not been to; a has just ended.
func (t *trip) elsewhere(a *attempt, now time.Time) bool {
	return t.target.now.Load().view.Untried(now, append(t.tried, a.peer.node)...)
}

// nextBody returns the body for the next attempt that is not a hedge.
func (t *trip) nextBody() (io.ReadCloser, error) {
	switch {
	case t.getBody == nil:
		return t.body.next()
	case !t.used:
		t.used = true
		return t.req.Body, nil
	}
	body, err := t.getBody()
	if err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "the body of the request cannot be had again")
	}
	return body, nil
}

// anotherBody returns a body for an attempt beside another one. It is false if there is none.
func (t *trip) anotherBody() (io.ReadCloser, bool) {
	if t.getBody == nil {
		return t.body.share()
	}
	body, err := t.getBody()
	return body, err == nil
}

// reclaim takes the body away from the last attempt, if it can be sent again.
func (t *trip) reclaim() bool { return t.getBody != nil || t.body.reclaim() }

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

// drop gives up the answer that was kept.
func (t *trip) drop() {
	if k := t.kept; k.attempt != nil {
		t.kept = ending{}
		_ = k.resp.Body.Close()
		k.attempt.release()
	}
}

// giveUp is the end without an answer to the last attempt. cause is what came after it, if anything did.
func (t *trip) giveUp(stop resilience.Stop, cause error) (*http.Response, error) {
	if k := t.kept; k.attempt != nil && t.ctx.Err() == nil {
		t.body.end()
		return k.attempt.deliver(k.resp), nil
	}
	t.drop()
	switch {
	case t.getBody == nil:
		t.body.close()
	case !t.used:
		_ = t.req.Body.Close()
	}
	if errors.Is(cause, context.Canceled) {
		stop = resilience.StopCanceled
	}
	if t.last != nil && (cause == nil || errors.Is(cause, context.DeadlineExceeded)) {
		cause = t.last // says more than that the time is over
	}
	if cause == nil {
		cause = stop.Failure(t.target.service)
	}
	refusedBy, _ := stop.Refused()
	return nil, &resilience.CallError{
		Service:   t.target.service,
		Method:    methodOf(t.req),
		Attempts:  t.failed,
		Stopped:   stop.String(),
		RefusedBy: refusedBy,
		Remaining: time.Until(t.deadline),
		Err:       cause,
	}
}
