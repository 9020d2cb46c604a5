package resilience

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultK            = 2
	defaultThrottleTime = 30 * time.Second
	defaultPassFloor    = 0.05

	// slack is how many refusals are forgiven, so that the first failures of a client of few calls are not yet evidence.
	slack = 20
	// probing is over what time the requests that got through are judged, and enough how many there should be of them:
	// fewer only count if there were no more in all that time.
	probing = 2 * time.Second
	enough  = 20
	few     = 2
	// recovered is the share of them that must have been accepted.
	recovered = 0.9
	// lately is how many parts of probing are half a second: how long another level is looked at.
	lately = tallySlots / 4
	// steady is the share that must have been accepted of a level that is not held back, for others to follow quickly.
	steady = 0.98
	// growth and quickGrowth are how many times more gets through after a second.
	growth, quickGrowth = 2, 16
	// atLeast is how often a request gets through however bad it looks.
	atLeast = time.Second
)

// Throttle holds requests back on this side when a service refuses most of them: refusing costs the service something
// too, and it needs all it has. Of the requests of one level of criticality over the last 30 s it lets through K for
// each that was accepted, and at the worst a twentieth. Those that get through meanwhile are judged by themselves over
// 2 s: once nine in ten of them are accepted, the share that gets through doubles every second until it is all of
// them, so that what the service refused before it recovered is not held against it for the rest of the 30 s.
//
// The levels are held back one by one: a service that sheds what is sheddable takes what is critical. A level that comes
// back does so within 2 s if the service has just accepted all of another one that is not held back, since it is known
// then to be there, and to have room.
//
// Safe for concurrent use; nothing allocates.
//
// Invariants: a refusal here is a request that was not accepted. With fewer than 20 refusals in the window everything
// gets through. Whatever was refused, one request a second does.
//
// Source: SRE book, "Handling Overload", client-side throttling. The quick recovery is our own: without it a service
// that was down for two minutes takes another one until it gets its calls again.
type Throttle struct {
	levels [CriticalPlus - Sheddable + 1]level
}

// level is the throttle of one criticality.
type level struct {
	on atomic.Bool // pass is below 1; written with mu held

	mu     sync.Mutex
	policy ThrottlePolicy // with its defaults

	window   tally     // requests, and those that were accepted
	probes   tally     // those that got through, of the last 2 s; cleared when the throttle is turned on
	pass     float64   // the share that gets through
	since    time.Time // when it was turned on
	updated  time.Time // pass
	lastPass time.Time // when a request got through while it is on
}

// NewThrottle returns a throttle that lets everything through so far. Zero fields of p are the defaults.
func NewThrottle(p ThrottlePolicy) *Throttle {
	t := &Throttle{}
	t.Configure(p)
	return t
}

// Configure changes the numbers from now on.
func (t *Throttle) Configure(p ThrottlePolicy) {
	p = p.defaults()
	for i := range t.levels {
		l := &t.levels[i]
		l.mu.Lock()
		if l.policy != p {
			l.policy, l.window, l.probes = p, newTally(p.Window), newTally(probing)
			l.release()
		}
		l.mu.Unlock()
	}
}

func (p ThrottlePolicy) defaults() ThrottlePolicy {
	if p.K == 0 {
		p.K = defaultK
	}
	if p.Window <= 0 {
		p.Window = defaultThrottleTime
	}
	if p.Floor <= 0 {
		p.Floor = defaultPassFloor
	}
	return p
}

func (t *Throttle) level(c Criticality) *level {
	return &t.levels[min(max(c, Sheddable), CriticalPlus)-Sheddable]
}

// Allow reports whether a request may be sent; rnd is a fresh uniform random number. Every one that was allowed is
// followed by Vote, unless nothing is to be learnt from it.
func (t *Throttle) Allow(now time.Time, c Criticality, rnd uint64) bool {
	l := t.level(c)
	if !l.on.Load() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.update(l, now); !l.on.Load() {
		return true
	}
	if float64(rnd>>11)/(1<<53) < l.pass || now.Sub(l.lastPass) >= atLeast {
		l.lastPass = now
		return true
	}
	l.window.add(now, false)
	return false
}

// Vote says how a request that was sent has ended.
func (t *Throttle) Vote(now time.Time, c Criticality, v Vote) {
	if v == Neutral {
		return
	}
	l := t.level(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.add(now, v == Accept)
	l.probes.add(now, v == Accept)
	if v == Reject && l.policy.K > 0 && !l.on.Load() {
		t.update(l, now)
	}
}

// On reports whether requests of this level are being held back.
func (t *Throttle) On(c Criticality) bool {
	return t.level(c).on.Load()
}

// Pass returns the share of requests of a level that gets through, as it was for the last one. It changes nothing: how often
// somebody looks is no matter.
func (t *Throttle) Pass(c Criticality) float64 {
	l := t.level(c)
	if !l.on.Load() {
		return 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pass
}

// update computes what gets through from now on.
func (t *Throttle) update(l *level, now time.Time) {
	all, good := l.window.counts(now)
	share := 1 - (float64(all)-l.policy.K*float64(good)-slack)/float64(all+1)
	share = max(share, l.policy.Floor)
	if l.policy.K < 0 {
		share = 1
	}
	switch {
	case share >= 1:
		l.release()
	case !l.on.Load():
		l.since, l.updated, l.lastPass, l.pass = now, now, now, share
		l.on.Store(true)
		l.probes.clear()
	default:
		t.probe(l, now, share)
	}
}

// probe is update while the throttle is on; share is what gets through without a sign of recovery.
func (t *Throttle) probe(l *level, now time.Time, share float64) {
	elapsed := min(max(now.Sub(l.updated), 0), time.Second).Seconds()
	if now.After(l.updated) { // those who come late have counted already
		l.updated = now
	}
	all, good := l.probes.counts(now)
	latest, latestGood := l.probes.recent(now, lately)
	long := now.Sub(l.since) >= probing
	switch {
	case latestGood == latest && t.steady(l, now):
		if latest > 0 {
			l.pass *= math.Pow(quickGrowth, elapsed)
		}
	case all > 0 && float64(good) < recovered*float64(all):
		l.pass = share
	case all < enough && !(long && all >= few):
	default:
		l.pass *= math.Pow(growth, elapsed)
	}
	if l.pass = max(l.pass, share); l.pass >= 1 {
		l.window.clear() // else what was refused before would turn it on again
		l.release()
	}
}

// steady reports whether the service has just accepted another level that is not held back. l is locked.
func (t *Throttle) steady(l *level, now time.Time) bool {
	all, good := 0, 0
	for i := range t.levels {
		other := &t.levels[i]
		if other == l || other.on.Load() || !other.mu.TryLock() { // two levels never wait for each other
			continue
		}
		a, g := other.probes.recent(now, lately)
		other.mu.Unlock()
		all, good = all+a, good+g
	}
	return all >= enough && float64(good) >= steady*float64(all)
}

func (l *level) release() {
	l.pass = 1
	l.on.Store(false)
}
