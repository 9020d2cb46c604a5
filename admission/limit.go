package admission

import "time"

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
	// spare is how much more than what was in progress on average while all went well the limit is at least, and sparing
	// for how long.
	spare   = 1.25
	sparing = 10 * time.Second
	// stalled is the share of what got done before below which less gets done, and not by chance.
	stalled = 0.85
	// tooLate is the share of calls given up that is taken for overload.
	tooLate = 0.3
	// lost is that share above which nothing is served to speak of.
	lost = 0.9
	// wellServed is that share below which all is well.
	wellServed = 0.02
	// surely is how long a check lasts at least, in seconds, before it is given up: for less than that, a process that did
	// not run for a moment looks like one that has nothing to do.
	surely = 0.15
	// muchTurned is the share of calls turned away above which a limit is in use although it is not reached at times.
	muchTurned = 0.3
	// drained is the share of the limit below which a check has shown that it is none.
	drained = 0.5
	// doneSmooth is over how many calls what a call takes that is done is smoothed.
	doneSmooth = 64
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
//
// A moment in which nothing gets done looks like overload, and like a server that can do less: there is much to do, it
// takes long, and little has been done. What was measured before it says more. So less done than before has to last, a
// backlog that goes away while the first probe lasts was none, and for some seconds the limit stays above what was in
// progress when all went well.
type limiter struct {
	min, max float64

	phase phase
	limit float64
	home  float64 // the limit before a probe
	// last is the limit that was found last, 0 while there is none. Neither a probe nor that it is raised because it turns nobody away
	// changes what was found.
	last  float64
	known float64 // the ratio there
	m     meter
	ref   epoch   // what the epoch of a probe is compared with
	ratio float64 // of the latencies below and at the limit, smoothed; 1: they do not wait for each other
	rest  int64   // when a found limit is probed next
	next  int64   // when it is probed above next
	lifts bool    // the probe is above it
	usual float64 // the latency at it when it was found, in seconds
	calm  float64 // the mean latency before the overload, in ns; 0: not known
	done  float64 // how long calls take that are done, in ns, smoothed; 0: none was
	// sought: the limit is being looked for, by halves; otherwise a probe is to see whether it is still right.
	sought bool
	checks bool    // it is the first probe, which is to see whether there is overload at all
	guess  float64 // the limit, if there is
	floor  float64 // what was needed when all went well
	floors int64   // until when the limit is not below it
	doubt  bool    // the last epoch looked like overload, or as if all had stood still for a moment
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
	if l.last > 0 {
		l.last = min(max(l.last, l.min), l.max)
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
	l.limit, l.last = l.max, 0
	l.pasts = 0
	l.doubt = false
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
	switch {
	case o == Late:
		return
	case o == Failed && float64(d) < max(l.ref.mean, l.done)/2:
		l.m.quick++
		return
	case o == Done && l.done == 0:
		l.done = float64(d)
	case o == Done:
		l.done += (float64(d) - l.done) / doneSmooth
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
	if l.checks && l.judged(now, inFlight, waiting) {
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
	enough := l.m.finished >= samples && float64(length) >= l.m.turnover() || l.doubt && l.m.arrived >= slowSamples
	if length < epochLeast || length < epochMost && !enough {
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
