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
	// atLeast is how often a request gets through however bad it looks.
	atLeast = time.Second
)

// Throttle holds requests back on this side when a service refuses most of them: refusing costs the service something
// too, and it needs all it has. Of the requests of one level of criticality over the last 30 s it lets through K for
// each that was accepted, and at the worst a twentieth. Those that get through meanwhile are judged by themselves over
// 2 s: once nine in ten of them are accepted, the share that gets through doubles every second until it is all of
// them, so that what the service refused before it recovered is not held against it for the rest of the 30 s.
//
// The levels know nothing of each other: a service that sheds what is sheddable takes what is critical.
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
	probes   tally     // those that got through while the throttle is on
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
	if l.update(now); !l.on.Load() {
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
	on := l.on.Load()
	if on {
		l.probes.add(now, v == Accept)
	}
	if v == Reject && l.policy.K > 0 && !on {
		l.update(now)
	}
}

// On reports whether requests of this level are being held back.
func (t *Throttle) On(c Criticality) bool {
	return t.level(c).on.Load()
}

// Pass returns the share of requests of a level that gets through at now.
func (t *Throttle) Pass(now time.Time, c Criticality) float64 {
	l := t.level(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on.Load() {
		l.update(now)
	}
	return l.pass
}

// update computes what gets through from now on.
func (l *level) update(now time.Time) {
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
		l.probe(now, share)
	}
}

// probe is update while the throttle is on; share is what gets through without a sign of recovery.
func (l *level) probe(now time.Time, share float64) {
	elapsed := now.Sub(l.updated)
	l.updated = now
	all, good := l.probes.counts(now)
	long := now.Sub(l.since) >= probing
	switch {
	case all > 0 && float64(good) < recovered*float64(all):
		l.pass = share
	case all < enough && !(long && all >= few):
		l.pass = max(l.pass, share)
	default:
		l.pass = max(share, l.pass*math.Exp2(min(max(elapsed, 0), time.Second).Seconds()))
		if l.pass >= 1 {
			l.window.clear() // else what was refused before would turn it on again
			l.release()
		}
	}
}

func (l *level) release() {
	l.pass = 1
	l.on.Store(false)
}
