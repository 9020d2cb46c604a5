package admission

import (
	"math"
	"time"
)

// decide is what an epoch says at which there was more to do than the limit let in.
func (l *limiter) decide(now int64, e epoch) {
	if l.phase != steady {
		l.compare(now, e)
		return
	}
	changed := false
	switch fell := e.rate < stalled*l.ref.rate; {
	case l.usual == 0:
		l.usual = e.latency()
		l.ref, l.calm = e, 0
	case !e.bound: // fewer were in progress: it says nothing of the limit
	case fell != l.doubt:
		// It may have stood still, and has much to do at once afterwards. Only what lasts says something.
		l.doubt = fell
		return
	default:
		// At the same limit, calls take another time than when it was found: another limit may be right.
		l.doubt = false
		l.ref = l.ref.and(e)
		if changed = e.latency() > 1.5*l.usual || e.latency() < l.usual/1.5; changed {
			l.ref = e
		}
	}
	// Calls are given up inside: it may be far from right.
	vain := e.late > wellServed && now >= l.rest-int64(hold)+int64(time.Second)
	switch {
	case now >= l.rest || changed || vain:
		l.sought = false
		l.probe(now)
	case now >= l.next && l.hurts:
		l.lifts = true
		l.step(now, l.limit*liftStep, probe)
	}
}

// probe goes on at another limit, lower if there is one.
func (l *limiter) probe(now int64) {
	to := max(l.limit*probeStep, l.min)
	if l.limit <= l.min {
		to = 2 * l.limit
	}
	l.step(now, to, probe)
}

// step sets the limit and begins to measure when the calls in progress are as many.
func (l *limiter) step(now int64, limit float64, p phase) {
	if l.phase == steady {
		l.home, l.known = l.limit, l.ratio
	} else if l.phase == open {
		l.home, l.known = l.ref.inFlight, 1
	}
	limit = min(max(limit, l.min), l.max)
	l.doubt = false
	l.begun, l.finished = now, 0
	l.reached, l.ready, l.pending = false, false, 0
	l.settle = now + int64(epochMost)
	if limit > l.limit {
		l.pending = int(l.limit)
	}
	l.limit = limit
	l.phase = p
	l.m.reset(now)
}

// compare draws the conclusion from e and the epoch before, which was at another limit.
func (l *limiter) compare(now int64, e epoch) {
	low, high := e, l.ref
	if low.inFlight > high.inFlight {
		low, high = high, low
	}
	down, checks, lifts := low == e, l.checks, l.lifts
	l.checks, l.lifts = false, false
	if low.rate == 0 {
		if down && high.rate == 0 && low.inFlight > l.min {
			l.ref = e
			l.probe(now)
			return
		}
		l.giveUp(now)
		return
	}
	high.rate = max(high.rate, low.rate) // more of them do not get less done, or that is what is to end
	ratio := min(1, low.latency()/high.latency())
	step := low.inFlight / high.inFlight
	tolerance := 1.05
	if l.sought {
		tolerance = 1.15
	}
	switch {
	case lifts && high.rate > liftGain*low.rate:
		// More get more done, or it looked so after a moment in which nothing got done: that is seen soon.
		l.ratio = ratio
		l.found(now, high.inFlight)
		l.next = now + int64(settling)
		l.rest = now + int64(time.Second)
	case lifts:
		rest := l.rest
		l.found(now, l.home)
		l.rest = rest
	case checks && ratio > (1+step)/2:
		l.giveUp(now)
	case checks && l.guess > 0:
		l.ratio = ratio
		l.foundGuess(now, e.inFlight, e.late)
	case down && low.inFlight > 1.1*l.least(now) && (ratio < tolerance*step || ratio < waitless && high.late > tooLate):
		// All that were more only waited. There may be more like them.
		l.ratio = ratio
		l.ref, l.sought = e, true
		l.probe(now)
	case ratio > waitless:
		// None of them waited.
		l.ratio = ratio
		l.ref = high
		if high.late > tooLate {
			l.giveUp(now)
			return
		}
		l.sought = true
		l.step(now, 2*high.inFlight, probe)
	default:
		l.ratio += 0.5 * (ratio - l.ratio)
		to := headroom * high.inFlight * ratio
		if !l.sought && to < high.inFlight {
			// Measured once, it may be by chance, and a limit that is too low is worse than one that is too high.
			to = math.Sqrt(to * high.inFlight)
		}
		to = max(to, l.least(now))
		sought := l.sought
		l.found(now, to)
		if !sought {
			l.rest = now + max(int64(hold), 15*int64(low.length))
		}
		if to < 0.85*high.inFlight || to > 1.15*high.inFlight {
			l.rest = now + int64(settling)
		}
	}
}

// found is that the limit is this until it is probed again.
func (l *limiter) found(now int64, limit float64) {
	l.vain, l.sought, l.usual = 0, false, 0
	l.rest = now + int64(hold)
	l.next = now + int64(lift)
	l.step(now, max(limit, l.least(now)), steady)
	l.last = l.limit
}

// foundGuess is that what was expected to be the limit is it, as far as the calls in progress allow for it: a guess may be
// wrong, but if a share of late of them is too late, so many are of no use to anybody.
func (l *limiter) foundGuess(now int64, inFlight, late float64) {
	least := inFlight / 4
	if late > tooLate {
		least = 0
	}
	l.found(now, min(max(l.guess, least), inFlight))
	l.rest = now + int64(time.Second)
}

// relax raises a limit that turned nobody away for a second, and in the end drops it. A probe would do more harm than a
// limit that is too high.
func (l *limiter) relax(now int64, e epoch) {
	if l.phase == probe {
		// So few have come that little can be learned.
		switch {
		case l.lifts && e.rate >= (1+liftGain)/2*l.ref.rate:
		case !e.growing && e.inFlight < 0.75*l.limit:
			// But this: there is room for all that come with a limit somewhat higher.
			l.limit, l.ratio = max(l.home, min(l.limit, 1.25*l.home)), min(l.ratio, l.known)
		default:
			l.limit, l.ratio = l.home, min(l.ratio, l.known)
		}
		l.phase, l.usual, l.lifts = steady, 0, false
		l.rest = now + int64(time.Second)
	}
	if !l.hurts {
		l.keep(now, e.inFlight)
	}
	if l.slack += e.length; l.slack < time.Second {
		return
	}
	l.slack = 0
	l.limit *= 1.25
	if l.limit >= l.max || l.limit > 4*e.inFlight {
		l.open(now)
	}
}
