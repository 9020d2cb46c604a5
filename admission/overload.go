package admission

import (
	"math"
	"time"
)

// watch looks, while there is no limit, for calls that become more and slower and do not end as fast as they come, and
// for calls that are given up after a time that others only just stay below.
func (l *limiter) watch(now int64, e epoch) {
	doubted := l.doubt
	l.doubt = false
	defer func() {
		if !l.doubt {
			l.past[l.pasts%len(l.past)] = e
			l.pasts++
		}
	}()
	if e.inFlight < max(suspect, 2*l.min) || now < l.blind {
		return
	}
	if !e.growing {
		l.grown = 0
	} else if l.grown += float64(e.length); l.grown >= e.turnover/2 {
		if before, much := l.before(e); much {
			if l.doubt = e.rate < stalled*before.rate && !(doubted && e.piling); l.doubt {
				return
			}
			need := max(e.rate, before.rate) * before.usual(e.rate)
			if now >= l.floors {
				l.keep(now, need)
			}
			l.calm = before.mean
			l.check(now, e, headroom*need)
			return
		}
	}
	if e.late > tooLate && (e.rate == 0 || e.mean > 0.3*e.patience) {
		well := l.well()
		if l.doubt = e.rate < stalled*well.rate && !doubted; l.doubt {
			return
		}
		if now >= l.floors && well.rate > 0 {
			l.keep(now, well.rate*well.mean/float64(time.Second))
		}
		l.check(now, e, 0)
	}
}

// before returns what was measured when calls were much faster than in e, and whether they are so much slower that there
// is overload. Those epochs that were much faster say so, and those with all that were faster what is usual: the fastest
// alone were so by chance.
func (l *limiter) before(e epoch) (before epoch, much bool) {
	for _, p := range l.past[:min(l.pasts, len(l.past))] {
		if p.rate == 0 || e.latency() < slower/2*p.usual(e.rate) {
			continue
		}
		before = before.and(p)
		much = much || e.latency() >= slower*p.usual(e.rate) && (e.rate == 0 || e.mean >= slower/2*p.mean)
	}
	return before, much
}

// well returns what was measured while hardly a call was given up; its rate is 0 if that is nothing.
func (l *limiter) well() (well epoch) {
	for _, p := range l.past[:min(l.pasts, len(l.past))] {
		if p.rate > 0 && p.late < wellServed {
			well = well.and(p)
		}
	}
	return well
}

// keep keeps the limit above what is needed for that many calls in progress on average, for a while.
func (l *limiter) keep(now int64, need float64) {
	l.floor, l.floors = spare*need, now+int64(sparing)
}

// least is what the limit is at least.
func (l *limiter) least(now int64) float64 {
	if now >= l.floors {
		return l.min
	}
	return min(max(l.min, l.floor), l.max)
}

// check sees with somewhat fewer calls in progress whether they get as much done. guess is what the limit should be then,
// if that is known.
func (l *limiter) check(now int64, e epoch, guess float64) {
	l.ref, l.sought, l.checks, l.guess = e, true, true, guess
	l.grown = 0
	l.step(now, e.inFlight*checkStep, probe)
}

// judged ends a check as soon as it is clear how it will end: what only waits inside is done as fast while fewer come in,
// what does not is done more slowly. If all that had piled up is done meanwhile, there is nothing to limit.
func (l *limiter) judged(now int64, inFlight int, waiting bool) bool {
	t := float64(now-l.begun) / float64(time.Second)
	expected := l.ref.rate * t
	switch {
	case l.reached && !waiting && float64(inFlight) < drained*l.limit:
		l.checks = false
		pasts := l.pasts
		l.open(now)
		l.pasts = pasts // they are of a moment ago
	case t > surely && float64(l.finished) < 0.6*expected-2*math.Sqrt(expected):
		l.checks = false
		l.giveUp(now)
	case l.guess > 0 && l.ready && l.m.finished >= epochSamples/2 && float64(l.m.finished) > 0.85*l.ref.rate*float64(now-l.m.begin)/float64(time.Second):
		l.checks = false
		l.ratio = l.limit / l.ref.inFlight
		l.foundGuess(now, float64(inFlight), l.m.lateness())
	default:
		return false
	}
	return true
}

// giveUp drops the limit for a while: with fewer calls in progress they took as long, so what they wait for is something
// else.
func (l *limiter) giveUp(now int64) {
	if l.ref.late > lost {
		l.vain = 0 // nothing can be worse
	}
	l.blind = now + int64(again)<<min(l.vain, 5)
	l.vain++
	l.open(now)
}
