package resilience

import (
	"math"
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
	// overdueFloor is the least time after which an instance that has not answered is blamed for it.
	overdueFloor = 50 * time.Millisecond
	// maxFlights is how many attempts of a call are under way at most: one, and its hedge.
	maxFlights = 2
)

// What an instance can ask for besides a time to wait.
const (
	// AtOnce is a pushback of nothing: another instance may be tried now.
	AtOnce = time.Nanosecond
	// Never is a pushback that no call waits for.
	Never = time.Duration(math.MaxInt64)
)

// Spec is what a call starts from.
type Spec struct {
	// Policy of the method; nil for the defaults. It is not changed and has to stay until the call is over.
	Policy *Policy
	// Budget of the target, shared by all its calls. nil: nothing that may have run is tried again, and nothing hedged.
	Budget *Budget
	// Guard of the target, shared by all its calls. nil: nothing is refused here.
	Guard *Guard
	// Latency of the method, shared by all its calls. nil: never any history.
	Latency *Latency
	// Deadline is when the call has to be over in total; see the function of that name.
	Deadline time.Time
	// Safe: running the call twice does no harm. Declared by the method, or by an idempotency key that the server
	// de-duplicates.
	Safe bool
	// Single: whoever makes the attempts makes one at a time, so nothing is hedged.
	Single bool
	// Criticality of the call. What is below Critical is not hedged.
	Criticality Criticality
}

// Call decides the attempts of one call, retries and hedges alike: a state machine that whoever makes the attempts
// asks before and tells after each one.
//
//	call := resilience.Begin(spec)
//	defer call.End(…)
//	plan, stop := call.Next(now, rnd)
//	for stop == resilience.StopDone {
//		… attempt until plan.Deadline …
//		d := call.Done(now, plan, outcome, pushback, rnd)
//		if !d.Retry {
//			break
//		}
//		… wait d.Wait, or until the caller gives up …
//		plan, stop = call.Next(now, rnd)
//	}
//
// Who can make two attempts at a time asks Hedge at plan.Hedge, if that is set and the attempt is still under way then.
// With two of them under way, an end that is no answer is Pending: the other one decides. An end that is one makes the
// other one a loser, which is cancelled and reported with Lost.
//
// Every Next, and every Hedge, that was granted is followed by exactly one Done or Lost, and the call by End, since they
// hold places and tokens; End gives back whatever is still held. A Call is not safe for concurrent use.
//
// Invariants: no attempt is planned at or beyond the total deadline, nor a wait up to it. At most MaxAttempts attempts
// may have reached an instance, and at most one of them is a hedge. An attempt is cut off before the total deadline only
// if another one is allowed to follow it, and the budget had the tokens for all attempts that may be cut off at that
// time: cutting off the last one, or one that must not be repeated, gains nothing.
type Call struct {
	spec     Spec
	flights  [maxFlights]flight
	planned  int           // attempts
	sent     int           // attempts that have ended and may have reached an instance
	unsent   int           // attempts that provably did not
	sheds    int           // attempts that met an instance which was too busy
	pushback time.Duration // the longest that an instance has asked for since the last wait
	pushed   bool          // an instance has asked for a wait
	hedged   bool          // the one hedge has been made
	entered  bool          // the guard counts the call as under way
	begun    bool          // the budget counts it
	alone    bool          // see Alone
}

// flight is an attempt under way.
type flight struct {
	active  bool
	holding bool // tokens of the budget
	number  int
	started time.Time
	pass    pass
}

// Plan is one attempt.
type Plan struct {
	// Number counts attempts from 0, hedges included.
	Number int
	// Deadline is when the attempt has to be over. Never later than the call's.
	Deadline time.Time
	// Bounded: Deadline is earlier than the call's, and another attempt is allowed to follow.
	Bounded bool
	// Hedge is when to ask Call.Hedge, if this attempt is still under way. Zero: it is not to be hedged.
	Hedge time.Time
	// Hedged: this attempt is a hedge.
	Hedged bool

	// usual is how long such calls take at the most; see Classify.
	usual time.Duration
}

// Decision is what to do after an attempt.
type Decision struct {
	// Retry: wait for Wait, then ask Next. Otherwise return the error of the last attempt; Stop says why.
	Retry bool
	// Pending: another attempt is under way. Wait for its end, which decides.
	Pending bool
	Wait    time.Duration
	Stop    Stop
}

// Begin starts a call.
func Begin(s Spec) Call { return Call{spec: s} }

// Next plans the next attempt; rnd is a fresh uniform random number. With any stop but StopDone there is none: before the
// first attempt the call failed with the stop's Failure, later with the previous attempt's error. The first attempt
// counts as a call in the budget.
func (c *Call) Next(now time.Time, rnd uint64) (Plan, Stop) {
	if !now.Before(c.spec.Deadline) {
		return Plan{}, StopDeadline
	}
	p, stop := c.admit(now, rnd)
	if stop != StopDone {
		return Plan{}, stop
	}
	f := c.fly(now, c.planned, p)
	var s Summary
	if c.spec.Latency != nil {
		s = c.spec.Latency.Summary(now)
	}
	plan := c.plan(now, s, f)
	if d := c.hedgeDelay(s, plan.Deadline.Sub(now)); d > 0 {
		plan.Hedge = now.Add(d)
	}
	return plan, StopDone
}

// admit asks the guard.
func (c *Call) admit(now time.Time, rnd uint64) (pass, Stop) {
	g := c.spec.Guard
	if g == nil {
		return pass{}, StopDone
	}
	if c.planned == 0 && !c.entered {
		var stop Stop
		if c.entered, stop = g.enter(); stop != StopDone {
			return pass{}, stop
		}
	}
	return g.allow(now, c.spec.Criticality, rnd)
}

// fly begins an attempt.
func (c *Call) fly(now time.Time, number int, p pass) *flight {
	c.planned++
	for i := range c.flights {
		if f := &c.flights[i]; !f.active {
			*f = flight{active: true, number: number, started: now, pass: p}
			return f
		}
	}
	panic("resilience: more attempts under way than were planned")
}

// plan bounds an attempt that has begun.
func (c *Call) plan(now time.Time, s Summary, f *flight) Plan {
	p := Plan{Number: f.number, Deadline: c.spec.Deadline, usual: c.usual(s)}
	t := c.bound(now, s)
	hold := 0
	if t > 0 {
		hold = reserve
	}
	switch b := c.spec.Budget; {
	case b == nil:
	case p.Number == 0:
		c.begun = true
		f.holding = b.begin(now, hold)
	default:
		f.holding = b.again(now, hold)
	}
	if f.holding {
		p.Deadline, p.Bounded = now.Add(t), true
	}
	return p
}

// usual returns how long calls of the method take at the most, as far as one can tell.
func (c *Call) usual(s Summary) time.Duration {
	if !s.Known() {
		return firstFloors * c.spec.Policy.attemptFloor()
	}
	return max(s.P999+s.P999/2, overdueFloor)
}

// reached counts the attempts that may have reached an instance, those under way included.
func (c *Call) reached() int {
	n := c.sent
	for i := range c.flights {
		if c.flights[i].active {
			n++
		}
	}
	return n
}

// bound returns the timeout for the attempt that has just begun, 0 if it gets all the time that is left.
func (c *Call) bound(now time.Time, s Summary) time.Duration {
	fixed := c.spec.Policy.attemptTimeout()
	if !c.spec.Safe || c.spec.Budget == nil || fixed < 0 || c.reached() >= c.spec.Policy.attempts() {
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

// land ends an attempt and reports whether it was under way.
func (c *Call) land(now time.Time, number int, v Verdict) (*flight, bool) {
	for i := range c.flights {
		f := &c.flights[i]
		if !f.active || f.number != number {
			continue
		}
		f.active = false
		if f.holding {
			f.holding = false
			c.spec.Budget.Release(reserve)
		}
		if c.spec.Guard != nil {
			c.spec.Guard.done(now, c.spec.Criticality, f.pass, v)
		}
		return f, true
	}
	return nil, false
}

// Done ends an attempt. pushback is how long the instance asked to wait: 0 if it did not, AtOnce or Never; rnd a fresh
// uniform random number. An attempt that has ended already is not ended again.
func (c *Call) Done(now time.Time, p Plan, o Outcome, pushback time.Duration, rnd uint64) Decision {
	v := o.Verdict()
	f, ok := c.land(now, p.Number, v)
	if !ok {
		return Decision{Stop: StopFinal}
	}
	if l := c.spec.Latency; l != nil {
		l.Observe(now, now.Sub(f.started), v.Sample)
	}
	switch o {
	case Unsent, NoInstance, Local:
		c.unsent++
	case Shed:
		c.sheds++
		c.sent++
	default:
		c.sent++
	}
	if o == UnderWay {
		// An attempt that was given all the time there was has waited for as long as it may. What the instance asks for is
		// meant for those who come back with another call, and for those who were not let wait: this one waits there.
		if v.RetrySafe = p.Bounded; 2*p.Deadline.Sub(now) < p.Deadline.Sub(f.started) {
			pushback = 0
		}
	}
	c.pushback = max(c.pushback, pushback)
	c.pushed = c.pushed || pushback > 0
	if !v.Answer && c.flying() {
		return Decision{Pending: true}
	}
	d := c.decide(now, o, v, rnd)
	if d.Retry && v.Cost > 0 && !c.afford(now, o, v.Cost) {
		return Decision{Stop: StopBudget}
	}
	if d.Retry {
		c.pushback = 0 // it is being waited for
	}
	return d
}

// afford takes what another attempt after o costs.
func (c *Call) afford(now time.Time, o Outcome, cost int) bool {
	switch b := c.spec.Budget; {
	case b == nil:
		return false
	case o == Broken:
		return b.Replace(now)
	default:
		return b.Take(now, cost)
	}
}

func (c *Call) flying() bool {
	for i := range c.flights {
		if c.flights[i].active {
			return true
		}
	}
	return false
}

// End ends the call. What is still under way ends with it, and counts for nothing. A second End does nothing.
func (c *Call) End(now time.Time) {
	for i := range c.flights {
		if c.flights[i].active {
			c.land(now, c.flights[i].number, Verdict{})
		}
	}
	if c.entered {
		c.entered = false
		c.spec.Guard.leave()
	}
	if c.begun {
		c.begun = false
		c.spec.Budget.end()
	}
}

// decide is Done without the budget.
func (c *Call) decide(now time.Time, o Outcome, v Verdict, rnd uint64) Decision {
	switch {
	case o == OK:
		return Decision{Stop: StopDone}
	case o == Canceled:
		return Decision{Stop: StopCanceled}
	case o == DeadlineExceeded, o == Overdue:
		return Decision{Stop: StopDeadline}
	case !v.RetrySafe:
		return Decision{Stop: StopFinal}
	case !v.RetryUnsafe && !c.spec.Safe && !bugRetry:
		return Decision{Stop: StopUnsafe}
	case c.sheds > 1, c.alone && o == Shed:
		return Decision{Stop: StopShed}
	case c.sent >= c.spec.Policy.attempts(), c.unsent >= maxUnsent:
		return Decision{Stop: StopAttempts}
	}
	backoff := c.spec.Policy.backoff()
	if c.pushback > backoff.Max {
		return Decision{Stop: StopPushback}
	}
	wait := c.wait(o, backoff, rnd)
	// Where the drawn wait would leave too little time for an attempt, a shorter one is better than none.
	spare := c.spec.Deadline.Sub(now) - c.need(now)
	if spare <= 0 || c.pushback >= spare {
		return Decision{Stop: StopDeadline}
	}
	return Decision{Retry: true, Wait: min(wait, spare-1)}
}

// wait returns how long to wait after o.
func (c *Call) wait(o Outcome, backoff Backoff, rnd uint64) time.Duration {
	asked := c.pushback
	if asked == AtOnce {
		asked = 0
	}
	n := c.sent + c.unsent - 1
	switch {
	case o == Shed, c.pushback == AtOnce: // what is wrong there is not wrong elsewhere
		return asked
	case n == 0 && (o == Unsent || o == NoInstance): // the first one that was not sent moves on at once
		return asked
	}
	return max(backoff.Wait(n, rnd), asked)
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
