package resilience

import (
	"sync"
	"time"
)

// Breaker is a classic circuit breaker: it opens when many attempts of one target fail, lets nothing through for a
// while, then a few probes, and closes when these succeed in a row.
//
// There is none by default. It knows a service only as a whole, so it opens for all instances when some are sick, and
// then refuses what the others could do; ejection (package balance) takes the sick ones out instead. And it is all or
// nothing, where a [Throttle] lets through what the service can take. It is for what is behind a single address that
// must be left in peace while it fails: a partner's gateway, an appliance.
//
// Safe for concurrent use; nothing allocates.
//
// Invariants: at most Probes attempts are under way while it is half open. A probe that ends without a vote, because
// its caller gave up, gives its place back; one that never ends does so when Open has passed again. What began before
// the breaker changed its state has no say in the new one.
//
// Source: M. Nygard, "Release It!" (2007).
type Breaker struct {
	mu     sync.Mutex
	policy BreakerPolicy // with its defaults

	state      breakerState
	generation uint64    // of state; 0 is never one
	changed    time.Time // when state began, or when the places of a half-open one were counted anew
	calls      tally     // while closed
	probes     int       // while half open: under way
	succeeded  int       // while half open: in a row
}

type breakerState uint8

const (
	breakerClosed breakerState = iota
	breakerOpen
	breakerHalfOpen
)

var breakerStates = [...]string{breakerClosed: "closed", breakerOpen: "open", breakerHalfOpen: "half open"}

// NewBreaker returns a closed breaker. Zero fields of p are the defaults.
func NewBreaker(p BreakerPolicy) *Breaker {
	b := &Breaker{policy: p.defaults(), generation: 1}
	b.calls = newTally(b.policy.Window)
	return b
}

func (p BreakerPolicy) defaults() BreakerPolicy {
	if p.Failures <= 0 {
		p.Failures = 0.5
	}
	if p.Calls <= 0 {
		p.Calls = 20
	}
	if p.Window <= 0 {
		p.Window = 10 * time.Second
	}
	if p.Open <= 0 {
		p.Open = 5 * time.Second
	}
	if p.Probes <= 0 {
		p.Probes = 3
	}
	return p
}

// Allow reports whether an attempt may be made. If so it is followed by one Done with the ticket.
func (b *Breaker) Allow(now time.Time) (ticket uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state {
	case breakerOpen:
		if now.Sub(b.changed) < b.policy.Open {
			return 0, false
		}
		b.enter(now, breakerHalfOpen)
	case breakerHalfOpen:
		if b.probes >= b.policy.Probes && now.Sub(b.changed) >= b.policy.Open {
			b.enter(now, breakerHalfOpen) // none of the probes has come back
		}
	case breakerClosed:
	}
	if b.state == breakerHalfOpen {
		if b.probes >= b.policy.Probes {
			return 0, false
		}
		b.probes++
	}
	return b.generation, true
}

// Done ends the attempt with that ticket. Neutral counts as if there had been none.
func (b *Breaker) Done(now time.Time, ticket uint64, v Vote) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ticket != b.generation {
		return
	}
	switch b.state {
	case breakerClosed:
		if v == Neutral {
			return
		}
		b.calls.add(now, v == Accept)
		all, good := b.calls.counts(now)
		if v == Reject && all >= b.policy.Calls && float64(all-good) >= b.policy.Failures*float64(all) {
			b.enter(now, breakerOpen)
		}
	case breakerHalfOpen:
		b.probes--
		switch v {
		case Reject:
			b.enter(now, breakerOpen)
		case Accept:
			b.changed = now // it is being answered
			if b.succeeded++; b.succeeded >= b.policy.Probes {
				b.enter(now, breakerClosed)
			}
		case Neutral:
		}
	case breakerOpen:
	}
}

// State is "closed", "open" or "half open".
func (b *Breaker) State() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return breakerStates[b.state]
}

func (b *Breaker) enter(now time.Time, s breakerState) {
	b.state, b.changed = s, now
	b.generation++
	b.probes, b.succeeded = 0, 0
	b.calls.clear()
}
