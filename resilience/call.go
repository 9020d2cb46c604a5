package resilience

import (
	"fmt"
	"time"
)

const (
	// firstFloor is the shortest timeout of a method without history. First calls are slow.
	firstFloor = 100 * time.Millisecond
	// firstFloors and fewFloors are how many attempt floors a method without any history gets, and at least gets with
	// little: long enough for a cold start, short enough that a user who meets a frozen instance does not leave.
	firstFloors, fewFloors = 4, 2
	// fewTimes is how much slower than the slowest of few an answer may be.
	fewTimes = 10
	// maxUnsent bounds the attempts that reached no instance. They load no one, so they do not count as attempts
	// otherwise; ten of them, backed off, are about a second.
	maxUnsent = 10
	// reserve is what a bounded attempt holds of the budget: the cost of the attempt that follows if it is cut off.
	reserve = 2
)

// Spec is what a call starts from.
type Spec struct {
	// Policy of the method; nil for the defaults. It is not changed and has to stay until the call is over.
	Policy *Policy
	// Budget of the target, shared by all its calls. nil: nothing that may have run is tried again.
	Budget *Budget
	// Latency of the method, shared by all its calls. nil: never any history.
	Latency *Latency
	// Deadline is when the call has to be over in total; see the function of that name.
	Deadline time.Time
	// Safe: running the call twice does no harm. Declared by the method, or by an idempotency key that the server
	// de-duplicates.
	Safe bool
}

// Call decides the attempts of one call: a state machine that whoever makes the attempts asks before and tells after
// each one.
//
//	call := resilience.Begin(spec)
//	for plan, ok := call.Next(now); ok; plan, ok = call.Next(now) {
//		… attempt until plan.Deadline …
//		d := call.Done(now, outcome, pushback, rnd)
//		if !d.Retry {
//			break
//		}
//		… wait d.Wait, or until the caller gives up …
//	}
//
// Every Next that returned true is followed by exactly one Done, since a plan may hold tokens of the budget. A Call is
// not safe for concurrent use.
//
// Invariants: no attempt is planned at or beyond the total deadline, nor a wait up to it. At most MaxAttempts attempts
// may have reached an instance. An attempt is cut off before the total deadline only if another one is allowed to
// follow it, and the budget had the tokens for all attempts that may be cut off at that time: cutting off the last one,
// or one that must not be repeated, gains nothing.
type Call struct {
	spec    Spec
	started time.Time // the attempt under way
	sent    int       // attempts that may have reached an instance, the one under way not counted
	unsent  int       // attempts that provably did not
	holding bool      // the attempt under way holds tokens
}

// Plan is one attempt.
type Plan struct {
	// Number counts attempts from 0.
	Number int
	// Deadline is when the attempt has to be over. Never later than the call's.
	Deadline time.Time
	// Bounded: Deadline is earlier than the call's, and another attempt is allowed to follow.
	Bounded bool
}

// Decision is what to do after an attempt.
type Decision struct {
	// Retry: wait for Wait, then ask Next. Otherwise return the error of the last attempt; Stop says why.
	Retry bool
	Wait  time.Duration
	Stop  Stop
}

// Stop is why there is no further attempt.
type Stop uint8

// The reasons.
const (
	StopDone     Stop = iota // the attempt succeeded
	StopFinal                // another attempt would fail alike
	StopUnsafe               // it may have run, and must not run twice
	StopAttempts             // all attempts are used up
	StopDeadline             // too little time is left
	StopBudget               // the retry budget is empty
	StopPushback             // the instance asks to come back later than a retry can wait
	StopCanceled             // the caller gave up
)

var stops = [...]string{
	StopDone:     "done",
	StopFinal:    "another attempt would fail alike",
	StopUnsafe:   "not declared safe to repeat",
	StopAttempts: "attempts used up",
	StopDeadline: "too little time left",
	StopBudget:   "retry budget empty",
	StopPushback: "asked to come back later",
	StopCanceled: "canceled",
}

// String returns the reason in words, as it stands in errors.
func (s Stop) String() string {
	if int(s) < len(stops) {
		return stops[s]
	}
	return fmt.Sprintf("stop %d", s)
}

// Begin starts a call.
func Begin(s Spec) Call { return Call{spec: s} }

// Next plans the next attempt. It is false if the deadline has passed: before the first attempt the call failed with
// DEADLINE_EXCEEDED, later with the previous error. The first attempt counts as a call in the budget.
func (c *Call) Next(now time.Time) (Plan, bool) {
	if !now.Before(c.spec.Deadline) {
		return Plan{}, false
	}
	p := Plan{Number: c.sent + c.unsent, Deadline: c.spec.Deadline}
	c.started = now
	t := c.bound(now)
	hold := 0
	if t > 0 {
		hold = reserve
	}
	switch b := c.spec.Budget; {
	case b == nil:
	case p.Number == 0:
		c.holding = b.begin(now, hold)
	case hold > 0:
		c.holding = b.Hold(now, hold)
	}
	if c.holding {
		p.Deadline, p.Bounded = now.Add(t), true
	}
	return p, true
}

// bound returns the timeout for an attempt, 0 if it gets all the time that is left.
func (c *Call) bound(now time.Time) time.Duration {
	fixed := c.spec.Policy.attemptTimeout()
	if !c.spec.Safe || c.spec.Budget == nil || fixed < 0 || c.sent+1 >= c.spec.Policy.attempts() {
		return 0
	}
	left := c.spec.Deadline.Sub(now)
	if fixed > 0 {
		if fixed >= left {
			return 0
		}
		return fixed
	}
	// Half of what is left, so that the attempt after it has as much. Inherited deadlines make it less and less further
	// in, so of nested calls the innermost, the one next to the instance that does not answer, is the first to move on.
	half := left / 2
	var s Summary
	if c.spec.Latency != nil {
		s = c.spec.Latency.Summary(now)
	}
	if !s.Known() {
		return c.guess(s, half)
	}
	if half < 2*s.Median { // two attempts are not likely to fit
		return 0
	}
	return min(max(s.P999+s.P999/2, c.spec.Policy.attemptFloor()), half)
}

// guess is bound for a method of which little is known. What was cut off is a sample, so a method that is just slow is
// given half of what is left the next time.
func (c *Call) guess(s Summary, half time.Duration) time.Duration {
	floor := c.spec.Policy.attemptFloor()
	switch {
	case half < firstFloor:
		return 0
	case s.Samples == 0:
		return min(firstFloors*floor, half)
	default:
		return min(max(fewTimes*s.P999, fewFloors*floor), half)
	}
}

// Done ends the attempt that was planned last. pushback is how long the instance asked to wait, 0 if it did not; rnd a
// fresh uniform random number.
func (c *Call) Done(now time.Time, o Outcome, pushback time.Duration, rnd uint64) Decision {
	v := o.Verdict()
	if l := c.spec.Latency; l != nil {
		l.Observe(now, now.Sub(c.started), v.Sample)
	}
	if o == Unsent {
		c.unsent++
	} else {
		c.sent++
	}
	if c.holding {
		c.holding = false
		c.spec.Budget.Release(reserve)
	}
	d := c.decide(now, o, v, pushback, rnd)
	if d.Retry && v.Cost > 0 && (c.spec.Budget == nil || !c.spec.Budget.Take(now, v.Cost)) {
		return Decision{Stop: StopBudget}
	}
	return d
}

// decide is Done without the budget.
func (c *Call) decide(now time.Time, o Outcome, v Verdict, pushback time.Duration, rnd uint64) Decision {
	switch {
	case o == OK:
		return Decision{Stop: StopDone}
	case o == Canceled:
		return Decision{Stop: StopCanceled}
	case o == DeadlineExceeded:
		return Decision{Stop: StopDeadline}
	case !v.RetrySafe:
		return Decision{Stop: StopFinal}
	case !v.RetryUnsafe && !c.spec.Safe:
		return Decision{Stop: StopUnsafe}
	case c.sent >= c.spec.Policy.attempts(), c.unsent >= maxUnsent:
		return Decision{Stop: StopAttempts}
	}
	backoff := c.spec.Policy.backoff()
	if pushback > backoff.Max {
		return Decision{Stop: StopPushback}
	}
	var wait time.Duration
	if n := c.sent + c.unsent - 1; o != Unsent || n > 0 { // the first unsent attempt moves on at once
		wait = max(backoff.Wait(n, rnd), pushback)
	}
	// Where the drawn wait would leave too little time for an attempt, a shorter one is better than none.
	spare := c.spec.Deadline.Sub(now) - c.need(now)
	if spare <= 0 || pushback >= spare {
		return Decision{Stop: StopDeadline}
	}
	return Decision{Retry: true, Wait: min(wait, spare-1)}
}

// need is the least time that an attempt is worth starting with: what half of them take, or a millisecond.
func (c *Call) need(now time.Time) time.Duration {
	need := time.Millisecond
	if l := c.spec.Latency; l != nil {
		if s := l.Summary(now); s.Known() {
			need = max(need, s.Median)
		}
	}
	return need
}
