package admission

import (
	"math"
	"time"
)

const (
	// epochLeast is the shortest time over which anything is measured, epochMost the longest when calls are few.
	epochLeast = 100 * time.Millisecond
	epochMost  = 2 * time.Second
	// epochSamples is how many calls make a rate that is good to about a tenth.
	epochSamples = 100
	// slowSamples is that number when it takes longer than epochSlow and there is no limit: only large differences count
	// then.
	slowSamples = 40
	epochSlow   = 500 * time.Millisecond

	// headroom is how much more than needed the limit allows: latency at the limit is by so much above that below it. If
	// what is measured is a quarter too low, the limit is still no loss.
	headroom = 1.5
	// probeStep is the factor of a probe. With what headroom leaves, fewer are in progress in it than there is work for.
	probeStep = 0.5
	// checkStep is that of the first probe, when it is not known whether there is anything to be limited.
	checkStep = 0.4
	// hold is the time between two probes of a limit that has been found, or more if they take long: they cost a third of
	// the throughput while they last.
	hold = 10 * time.Second
	// lift is the time between two probes above it while calls are turned away. They cost no throughput.
	lift     = time.Second
	liftStep = 1.6
	liftGain = 1.4 // what has to come of it
	// settling is that time when it has turned out to be far from right.
	settling = 300 * time.Millisecond
	// again is the time after a first check in vain. Each further one doubles it, up to 32 times.
	again = 300 * time.Millisecond
	// waitless is the ratio of latencies, with fewer calls in progress to with more, from which on they do not
	// wait for each other. 1 is exact; what is measured is good to a tenth.
	waitless = 0.92
	// slower is how much longer than before calls have to take, as they become more, to be taken for overload. A server
	// that is nearly busy has them take twice and three times as long now and then.
	slower = 4
	// tooLate is the share of calls given up that is taken for overload.
	tooLate = 0.3
	// surely is how long a check lasts at least, in seconds, before it is given up: for less than that, a process that did
	// not run for a moment looks like one that has nothing to do.
	surely = 0.15
	// muchTurned is the share of calls turned away above which a limit is in use although it is not reached at times.
	muchTurned = 0.3
	// suspect is the number of calls in progress below which nothing is taken for overload.
	suspect = 16
)

// phase says what the limiter is about.
type phase uint8

const (
	open   phase = iota // there is no limit: what came has been served
	probe               // measures at another limit, to compare
	steady              // the limit has been found
)

func (p phase) String() string { return [...]string{"open", "probe", "steady"}[p] }

// limiter finds how many calls in progress at once the server has a use for.
//
// It keeps no idea of how long calls should take: that would be out of date when it is needed. It acts, and looks what
// comes of it. Only observations that are close in time and at different numbers of calls in progress are compared:
// if calls take as long with fewer of them, they do not wait for each other, and the limit was too low; if they take
// less, in proportion, the others only waited inside. With the latency R(n) at n calls in progress, and m < n,
//
//	limit = 1.5 · n · R(m) / R(n)
//
// which by Little's law is 1.5 times the throughput at n times the latency at m.
type limiter struct {
	min, max float64

	phase phase
	limit float64
	home  float64 // the limit before a probe
	known float64 // the ratio there
	m     meter
	ref   epoch   // what the epoch of a probe is compared with
	ratio float64 // of the latencies below and at the limit, smoothed; 1: they do not wait for each other
	rest  int64   // when a found limit is probed next
	next  int64   // when it is probed above next
	lifts bool    // the probe is above it
	usual float64 // the latency at it when it was found, in seconds
	calm  float64 // the mean latency before the overload, in ns; 0: not known
	// sought: the limit is being looked for, by halves; otherwise a probe is to see whether it is still right.
	sought bool
	checks bool    // it is the first probe, which is to see whether there is overload at all
	guess  float64 // the limit, if there is
	grown  float64 // for how long calls have been becoming more, in ns
	vain   int     // times in a row that calls were given up, and fewer at once did not help
	blind  int64   // until then that is not tried again

	// Before an epoch at another limit the calls in progress have to become as many, and, if that is more, then
	// some have to end: those that came last have not had time to.
	begun    int64 // when the limit was set
	finished int   // calls that were since
	reached  bool
	since    int64 // when they were
	pending  int
	settle   int64 // when the epoch begins at the latest
	ready    bool  // it has

	hurts  bool          // of late, calls were turned away or given up; from outside
	turned float64       // the share of those; from outside
	slack  time.Duration // for how long it was not so
	past   [16]epoch     // of the open phase
	pasts  int
}

func newLimiter(now int64, lo, hi int) limiter {
	l := limiter{min: float64(lo), max: float64(hi)}
	l.open(now)
	return l
}

// typical is how long a call takes that need not wait inside, in ns, as far as that is known; 0: not at all.
func (l *limiter) typical() float64 {
	if l.calm > 0 {
		return min(l.calm, l.ref.mean)
	}
	return l.ref.mean
}

// configure changes the bounds.
func (l *limiter) configure(now int64, lo, hi int) {
	l.min, l.max = float64(lo), float64(hi)
	if l.phase == open {
		l.limit = l.max
		return
	}
	if limit := min(max(l.limit, l.min), l.max); limit != l.limit {
		l.step(now, limit, steady)
	}
}

// sure reports whether calls in progress are known to wait for each other at the limit, so that more of them would not
// be served any sooner.
func (l *limiter) sure() bool { return l.phase != open && l.ratio < waitless }

func (l *limiter) allows(inFlight int) bool { return float64(inFlight)+1 <= l.limit }

func (l *limiter) open(now int64) {
	l.phase = open
	l.limit = l.max
	l.pasts = 0
	l.ratio = 1
	l.slack = 0
	l.calm = 0
	l.begin(now)
}

// begin begins to measure.
func (l *limiter) begin(now int64) {
	l.reached, l.pending, l.ready = true, 0, true
	l.m.reset(now)
}

// arrive counts a call that came, whatever becomes of it.
func (l *limiter) arrive() { l.m.arrived++ }

// end counts a call that was in progress for d. One that failed without having been in progress for long has done
// no work: it must neither count as throughput nor make latency look good.
func (l *limiter) end(d time.Duration, o Outcome) {
	l.m.ended++
	if o == Late || o == TooLate {
		l.m.late++
		l.m.lateSum += float64(d)
	}
	if o == Late || o == Failed && float64(d) < l.ref.mean/2 {
		return
	}
	l.m.finished++
	l.finished++
	l.m.sum += float64(d)
	l.m.squares += float64(d) * float64(d)
	if l.reached && l.pending > 0 {
		l.pending--
	}
}

// advance accounts for the time up to now, in which inFlight calls were in progress, and decides when it is time to.
func (l *limiter) advance(now int64, inFlight int, waiting bool) {
	if l.phase == open && inFlight == 0 && l.m.ended == 0 {
		l.m.reset(now) // nothing to measure yet
		l.m.idle = true
	}
	l.m.advance(now, inFlight, waiting)
	if l.checks && l.judge(now, inFlight) {
		return
	}
	if !l.ready {
		if !l.reached {
			l.reached = float64(inFlight) <= l.limit && (!waiting || !l.allows(inFlight))
			l.since = now
		}
		if l.reached && l.pending == 0 && now >= l.since+int64(l.ref.turnover/2) || now >= l.settle {
			l.begin(now)
		}
		return
	}
	length := time.Duration(now - l.m.begin)
	samples := epochSamples
	if l.phase == open && length > epochSlow {
		samples = slowSamples
	}
	if length < epochLeast || length < epochMost && (l.m.finished < samples || float64(length) < l.m.turnover()) {
		return
	}
	e := l.m.epoch(now, inFlight, l.limit)
	l.m.reset(now)
	switch {
	case l.phase == open:
		l.watch(now, e)
	case !e.bound && (l.lifts || l.turned < muchTurned), l.phase == steady && !l.hurts && e.late < 0.01:
		l.relax(now, e)
	default:
		l.slack = 0
		l.decide(now, e)
	}
}

// judge ends a check as soon as it is clear how it will end: what only waits inside is done as fast while fewer come in,
// what does not is done more slowly.
func (l *limiter) judge(now int64, inFlight int) bool {
	t := float64(now-l.begun) / float64(time.Second)
	expected := l.ref.rate * t
	switch {
	case t > surely && float64(l.finished) < 0.6*expected-2*math.Sqrt(expected):
		l.checks = false
		l.giveUp(now)
	case l.guess > 0 && l.ready && l.m.finished >= epochSamples/2 && float64(l.m.finished) > 0.85*l.ref.rate*float64(now-l.m.begin)/float64(time.Second):
		l.checks = false
		l.ratio = l.limit / l.ref.inFlight
		l.foundGuess(now, float64(inFlight))
	default:
		return false
	}
	return true
}

// watch looks, while there is no limit, for calls that become more and slower and do not end as fast as they come, and
// for calls that are given up after a time that others only just stay below.
func (l *limiter) watch(now int64, e epoch) {
	defer func() {
		l.past[l.pasts%len(l.past)] = e
		l.pasts++
	}()
	if e.inFlight < max(suspect, 2*l.min) || now < l.blind {
		return
	}
	if !e.growing {
		l.grown = 0
	} else if l.grown += float64(e.length); l.grown >= e.turnover/2 {
		// Those epochs that were much faster say that there is overload, and those with all that were faster what is usual:
		// the fastest alone were so by chance.
		var before epoch
		much := false
		for _, p := range l.past[:min(l.pasts, len(l.past))] {
			if p.rate == 0 || e.latency() < slower/2*p.usual(e.rate) {
				continue
			}
			before = before.and(p)
			much = much || e.latency() >= slower*p.usual(e.rate) && (e.rate == 0 || e.mean >= slower/2*p.mean)
		}
		if much {
			l.calm = before.mean
			l.check(now, e, headroom*e.rate*before.usual(e.rate))
			return
		}
	}
	if e.late > tooLate && (e.rate == 0 || e.mean > 0.3*e.patience) {
		l.check(now, e, 0)
	}
}

// check sees with somewhat fewer calls in progress whether they get as much done. guess is what the limit should be then,
// if that is known.
func (l *limiter) check(now int64, e epoch, guess float64) {
	l.ref, l.sought, l.checks, l.guess = e, true, true, guess
	l.grown = 0
	l.step(now, e.inFlight*checkStep, probe)
}

// step sets the limit and begins to measure when the calls in progress are as many.
func (l *limiter) step(now int64, limit float64, p phase) {
	if l.phase == steady {
		l.home, l.known = l.limit, l.ratio
	} else if l.phase == open {
		l.home, l.known = l.ref.inFlight, 1
	}
	limit = min(max(limit, l.min), l.max)
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
	if l.slack += e.length; l.slack < time.Second {
		return
	}
	l.slack = 0
	l.limit *= 1.25
	if l.limit >= l.max || l.limit > 4*e.inFlight {
		l.open(now)
	}
}

func (l *limiter) decide(now int64, e epoch) {
	if l.phase != steady {
		l.compare(now, e)
		return
	}
	if l.usual == 0 {
		l.usual = e.latency()
		l.ref, l.calm = e, 0
	} else {
		l.ref = l.ref.and(e)
	}
	// At the same limit, calls take another time than when it was found: another limit may be right.
	changed := e.latency() > 1.5*l.usual || e.latency() < l.usual/1.5
	// Calls are given up inside: it may be far from right.
	vain := e.late > 0.02 && now >= l.rest-int64(hold)+int64(time.Second)
	switch {
	case now >= l.rest || changed || vain:
		if changed {
			l.ref = e
		}
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
		// More get more done.
		l.ratio = ratio
		l.found(now, high.inFlight)
		l.next = now + int64(settling)
	case lifts:
		rest := l.rest
		l.found(now, l.home)
		l.rest = rest
	case checks && ratio > (1+step)/2:
		l.giveUp(now)
	case checks && l.guess > 0:
		l.ratio = ratio
		l.foundGuess(now, e.inFlight)
	case down && low.inFlight > 1.1*l.min && (ratio < tolerance*step || ratio < waitless && low.late > tooLate):
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

func (l *limiter) found(now int64, limit float64) {
	l.vain, l.sought, l.usual = 0, false, 0
	l.rest = now + int64(hold)
	l.next = now + int64(lift)
	l.step(now, limit, steady)
}

func (l *limiter) foundGuess(now int64, inFlight float64) {
	l.found(now, min(max(l.guess, inFlight/4), inFlight))
	l.rest = now + int64(time.Second)
}

// giveUp drops the limit for a while: with fewer calls in progress they took as long, so what they wait for is something
// else.
func (l *limiter) giveUp(now int64) {
	l.blind = now + int64(again)<<min(l.vain, 5)
	l.vain++
	l.open(now)
}
