package resilience

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/holdfast-go/holdfast/balance"
)

// Guard is what stands between a client and one target, for all its calls: a bulkhead (MaxInFlight), a [Throttle], a
// rate limit and, if there is one, a [Breaker]. What it refuses fails at once and was not sent; nothing ever waits in
// it, because a queue on this side only makes the answers late that the service could have given in time.
//
// Safe for concurrent use; nothing allocates except Configure.
type Guard struct {
	throttle Throttle
	inFlight atomic.Int64
	rules    atomic.Pointer[rules]
}

// rules are the parts of a Guard that may be absent. They are replaced, not changed.
type rules struct {
	policy   Policy
	throttle bool
	limiter  *rate.Limiter
	breaker  *Breaker
}

// NewGuard returns the guard of a target that is called with that policy.
func NewGuard(p Policy) *Guard {
	g := &Guard{}
	g.Configure(p)
	return g
}

// Configure makes p the policy from now on. What is known of the target stays, as far as what counts it has not changed.
func (g *Guard) Configure(p Policy) {
	old := g.rules.Load()
	g.throttle.Configure(p.Throttle)
	next := &rules{policy: p, throttle: p.Throttle.K >= 0}
	if p.Rate > 0 {
		burst := p.Burst
		if burst <= 0 {
			burst = max(int(p.Rate/10), 1)
		}
		if old != nil && old.limiter != nil {
			next.limiter = old.limiter
			next.limiter.SetLimit(rate.Limit(p.Rate))
			next.limiter.SetBurst(burst)
		} else {
			next.limiter = rate.NewLimiter(rate.Limit(p.Rate), burst)
		}
	}
	if p.Breaker != nil {
		if old != nil && old.breaker != nil && *old.policy.Breaker == *p.Breaker {
			next.breaker = old.breaker
		} else {
			next.breaker = NewBreaker(*p.Breaker)
		}
		b := *p.Breaker // nobody else's
		next.policy.Breaker = &b
	}
	g.rules.Store(next)
}

// InFlight returns how many calls are under way, of those that were counted; only with MaxInFlight they are.
func (g *Guard) InFlight() int { return int(g.inFlight.Load()) }

// Throttle returns the throttle, for those who want to look at it.
func (g *Guard) Throttle() *Throttle { return &g.throttle }

// enter begins a call: entered says that it is to be ended by leave.
func (g *Guard) enter() (entered bool, stop Stop) {
	most := int64(g.rules.Load().policy.MaxInFlight)
	if most <= 0 {
		return false, StopDone
	}
	if g.inFlight.Add(1) > most {
		g.inFlight.Add(-1)
		return false, StopBulkhead
	}
	return true, StopDone
}

func (g *Guard) leave() { g.inFlight.Add(-1) }

// pass is a place that an attempt has in a breaker.
type pass struct {
	breaker *Breaker
	ticket  uint64
}

// allow lets an attempt through, or says why not. One that got through is followed by one done.
func (g *Guard) allow(now time.Time, c Criticality, rnd uint64) (pass, Stop) {
	r := g.rules.Load()
	if r.throttle && !g.throttle.Allow(now, c, rnd) {
		return pass{}, StopThrottled
	}
	if r.limiter != nil && !r.limiter.AllowN(now, 1) {
		return pass{}, StopRateLimited
	}
	if r.breaker != nil { // the last, since it gives places away
		ticket, ok := r.breaker.Allow(now)
		if !ok {
			return pass{}, StopBreaker
		}
		return pass{r.breaker, ticket}, StopDone
	}
	return pass{}, StopDone
}

// done ends an attempt. To a breaker, whatever speaks against an instance is a failure.
func (g *Guard) done(now time.Time, c Criticality, p pass, v Verdict) {
	g.throttle.Vote(now, c, v.Throttle)
	if p.breaker == nil {
		return
	}
	vote := v.Throttle
	if v.Health == balance.Bad {
		vote = Reject
	}
	p.breaker.Done(now, p.ticket, vote)
}

// calm reports whether nothing is being held back.
func (g *Guard) calm(c Criticality) bool {
	r := g.rules.Load()
	return !r.throttle || !g.throttle.On(c)
}
