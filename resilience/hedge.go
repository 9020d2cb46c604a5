package resilience

import (
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

// minHedge is the shortest wait for a hedge: what is faster has no tail worth it.
const minHedge = time.Millisecond

// hedgeDelay returns how long an attempt runs until it is hedged, 0 if it is not; limit is all the time it has.
func (c *Call) hedgeDelay(s Summary, limit time.Duration) time.Duration {
	p := c.spec.Policy.hedge()
	if !c.mayHedge() || p.Share <= 0 || !s.Known() {
		return 0
	}
	d := p.Delay
	if d <= 0 {
		d = min(max(s.P95, minHedge), limit/2)
	}
	if d >= limit-s.Median { // no time for another answer
		return 0
	}
	return d
}

// mayHedge reports whether the call is one that is hedged, and has not been.
func (c *Call) mayHedge() bool {
	return c.spec.Safe && !c.spec.Single && !c.alone && !c.hedged && c.spec.Budget != nil && c.spec.Criticality >= Critical &&
		!c.pushed && c.reached() < c.spec.Policy.attempts()
}

// Hedge plans another attempt beside the one under way, or does not: then that has none. It costs a token of the budget,
// within the hedges' share of it; one that is not made costs nothing.
func (c *Call) Hedge(now time.Time, rnd uint64) (Plan, bool) {
	n := 0
	for i := range c.flights {
		if c.flights[i].active {
			n++
		}
	}
	if n != 1 || !c.mayHedge() || !now.Before(c.spec.Deadline) {
		return Plan{}, false
	}
	g := c.spec.Guard
	if g != nil && !g.calm(c.spec.Criticality) {
		return Plan{}, false
	}
	share := c.spec.Policy.hedge().Share
	if share <= 0 || !c.spec.Budget.hedge(now, share) {
		return Plan{}, false
	}
	ps, stop := c.admit(now, rnd)
	if stop != StopDone {
		c.spec.Budget.unhedge(share)
		return Plan{}, false
	}
	c.hedged = true
	var s Summary
	if c.spec.Latency != nil {
		s = c.spec.Latency.Summary(now)
	}
	plan := c.plan(now, s, c.fly(now, c.planned, ps))
	plan.Hedged = true
	return plan, true
}

// Alone says that there is but one instance: what it is too busy for is not tried again, and nothing is hedged.
func (c *Call) Alone() { c.alone = true }

// Lost ends an attempt that was cancelled because another one was answered, and returns what that is worth for the latency
// of its instance, which is not to blame. That there was no answer yet says something only after the time that half of
// them take: before, a frozen instance would look like a fast one.
func (c *Call) Lost(now time.Time, p Plan) balance.Sample {
	f, ok := c.land(now, p.Number, Verdict{})
	if !ok {
		return balance.None
	}
	c.sent++
	l := c.spec.Latency
	if l == nil {
		return balance.None
	}
	s, took := l.Summary(now), now.Sub(f.started)
	if !s.Known() || took < s.Median {
		return balance.None
	}
	l.Observe(now, took, balance.LowerBound)
	return balance.LowerBound
}
