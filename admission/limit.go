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

	// headroom is how much more than needed the limit allows: latency at the limit is by so much above that below it. If
	// what is measured is a quarter too low, the limit is still no loss.
	headroom = 1.4
	// probeStep is the factor of a probe. With what headroom leaves, fewer are in progress in it than there is work for.
	probeStep = 0.5
	// hold is the time between two probes of a limit that has been found: they cost a third of the throughput while they
	// last, and that is 0.2 s.
	hold = 5 * time.Second
	// settling is that time when it has turned out to be far from right.
	settling = 300 * time.Millisecond
	// waitless is the ratio of latencies, with fewer calls in progress to with more, from which on they do not
	// wait for each other. 1 is exact; what is measured is good to a tenth.
	waitless = 0.92
	// slower is how much longer than before calls have to take, as they become more, to be taken for overload. A server
	// that is nearly busy has them take twice and three times as long now and then.
	slower = 4
	// tooLate is the share of calls given up that is taken for overload.
	tooLate = 0.3
	// suspect is the number of calls in progress below which nothing is taken for overload.
	suspect = 16
)

// epoch is what was measured over a while.
type epoch struct {
	inFlight float64       // calls in progress, on average
	rate     float64       // calls finished per second
	mean     float64       // how long those took, in ns; 0: none was
	bound    bool          // calls waited for most of the time
	growing  bool          // more came than ended
	late     float64       // share of the calls that ended by being given up
	length   time.Duration //
}

// latency is how long a call takes at this number of calls in progress, in seconds, by Little's law. Unlike the mean of
// those that have ended, which came when fewer or more were in progress, it is of now.
func (e epoch) latency() float64 { return e.inFlight / e.rate }

// meter measures an epoch.
type meter struct {
	begin, last int64
	area        float64 // calls in progress times ns
	waited      float64 // ns in which calls were waiting
	arrived     int
	ended       int
	late        int
	finished    int
	sum         float64 // of the latencies of those, in ns
}

// advance accounts for the time since the last event, in which inFlight calls were in progress.
func (m *meter) advance(now int64, inFlight int, waiting bool) {
	d := float64(now - m.last)
	if d <= 0 {
		return
	}
	m.last = now
	m.area += d * float64(inFlight)
	if waiting {
		m.waited += d
	}
}

func (m *meter) reset(now int64) { *m = meter{begin: now, last: now} }

func (m *meter) epoch(now int64, inFlight int, limit float64) epoch {
	length := float64(now - m.begin)
	e := epoch{length: time.Duration(now - m.begin)}
	if length <= 0 {
		return e
	}
	e.inFlight = m.area / length
	if m.finished > 0 {
		e.mean = m.sum / float64(m.finished)
	}
	e.rate = float64(m.finished) / length * float64(time.Second)
	if m.ended > 0 {
		e.late = float64(m.late) / float64(m.ended)
	}
	e.bound = m.waited > 0.7*length || e.inFlight >= 0.95*math.Floor(limit)
	e.growing = m.arrived > m.ended && float64(inFlight) >= e.inFlight
	return e
}

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
//	limit = 1.4 · n · R(m) / R(n)
//
// which by Little's law is 1.4 times the throughput at n times the latency at m.
type limiter struct {
	min, max float64

	phase phase
	limit float64
	m     meter
	ref   epoch   // what the epoch of a probe is compared with
	ratio float64 // of the latencies below and at the limit, smoothed; 1: they do not wait for each other
	rest  int64   // when a found limit is probed next
	// sought: the limit is being looked for, by halves; otherwise a probe is to see whether it is still right.
	sought bool
	vain   int   // times in a row that calls were given up, and fewer at once did not help
	blind  int64 // until then that is not tried again

	// Before an epoch at another limit the calls in progress have to become as many, and, if that is more, then
	// some have to end: those that came last have not had time to.
	reached bool
	pending int
	settle  int64 // when the epoch begins at the latest
	ready   bool  // it has

	slack time.Duration // for how long the limit has held nobody up
	past  [16]epoch     // of the open phase
	pasts int
}

func newLimiter(now int64, lo, hi int) limiter {
	l := limiter{min: float64(lo), max: float64(hi)}
	l.open(now)
	return l
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
	if o == Late {
		l.m.late++
	}
	if o == Late || o == Failed && float64(d) < l.ref.mean/2 {
		return
	}
	l.m.finished++
	l.m.sum += float64(d)
	if l.reached && l.pending > 0 {
		l.pending--
	}
}

// advance accounts for the time up to now, in which inFlight calls were in progress, and decides when it is time to.
func (l *limiter) advance(now int64, inFlight int, waiting bool) {
	l.m.advance(now, inFlight, waiting)
	if !l.ready {
		if !l.reached {
			l.reached = float64(inFlight) <= l.limit && (!waiting || !l.allows(inFlight))
		}
		if l.reached && l.pending == 0 || now >= l.settle {
			l.begin(now)
		}
		return
	}
	length := time.Duration(now - l.m.begin)
	samples := epochSamples
	if l.phase == probe && !l.sought {
		samples *= 2
	}
	if length < epochLeast || length < epochMost && (l.m.finished < samples || float64(length) < l.m.sum/float64(l.m.finished)) {
		return
	}
	e := l.m.epoch(now, inFlight, l.limit)
	l.m.reset(now)
	switch {
	case l.phase == open:
		l.watch(now, e)
	case !e.bound:
		l.relax(now, e)
	default:
		l.slack = 0
		l.decide(now, e)
	}
}

// watch looks, while there is no limit, for calls that become more and slower and do not end as fast as they come, and
// for calls that are given up.
func (l *limiter) watch(now int64, e epoch) {
	defer func() {
		l.past[l.pasts%len(l.past)] = e
		l.pasts++
	}()
	if e.inFlight < max(suspect, 2*l.min) {
		return
	}
	if e.growing {
		for _, p := range l.past[:min(l.pasts, len(l.past))] {
			if p.rate == 0 || e.latency() < slower*p.latency() || e.rate > 0 && e.mean < slower/2*p.mean {
				continue
			}
			l.ref, l.sought = e, false
			l.step(now, max(e.inFlight*probeStep/2, headroom*e.rate*p.latency()), probe)
			return
		}
	}
	if e.late > tooLate && now >= l.blind {
		l.ref, l.sought = e, true
		l.step(now, e.inFlight*probeStep, probe)
	}
}

// step sets the limit and begins to measure when the calls in progress are as many.
func (l *limiter) step(now int64, limit float64, p phase) {
	limit = min(max(limit, l.min), l.max)
	l.reached, l.ready, l.pending = false, false, 0
	l.settle = now + int64(epochMost)
	if limit > l.limit {
		l.pending = int(l.limit)
	}
	l.limit = limit
	l.phase = p
	l.m.reset(now)
}

// relax raises a limit that held nobody up for a second, and in the end drops it.
func (l *limiter) relax(now int64, e epoch) {
	if l.phase != steady {
		l.rest = now + int64(time.Second)
	}
	l.phase = steady
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
	l.ref = e
	if now >= l.rest {
		l.sought = false
		l.probe(now)
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
	down := low == e
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
	switch {
	case down && low.inFlight > 1.1*l.min && (ratio < 1.15*step || ratio < waitless && low.late > tooLate):
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
		if !l.sought {
			to = math.Sqrt(to * high.inFlight)
		}
		l.found(now, to)
		if to < 0.85*high.inFlight || to > 1.2*high.inFlight {
			l.rest = now + int64(settling)
		}
	}
}

func (l *limiter) found(now int64, limit float64) {
	l.vain, l.sought = 0, false
	l.rest = now + int64(hold)
	l.step(now, limit, steady)
}

// giveUp drops the limit for a while: calls are given up, but with fewer at once they are as well, so what they wait for
// is something else.
func (l *limiter) giveUp(now int64) {
	l.blind = now + int64(time.Second)<<min(l.vain, 6)
	l.vain++
	l.open(now)
}
