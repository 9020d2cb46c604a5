package admission

import (
	"maps"
	"math"
	"strings"
	"time"
)

const (
	// interval is how long calls have to have been waiting without a break, more coming than are let in, until it
	// counts as pressure.
	interval = 100 * time.Millisecond
	// calm is that time for the end of it.
	calm = 500 * time.Millisecond
	// target is how long a call waits under pressure at least before it is turned away. CoDel's.
	target = 5 * time.Millisecond
	// general is the share of calls turned away above which repeating them elsewhere would not help.
	general = 0.10
)

// verdict is what was decided on a call.
type verdict uint8

const (
	undecided verdict = iota
	admitted
	queued
	shed      // for load
	shedAll   // for load, and so are many
	overdue   // it cannot be finished before its deadline
	overQuota //
)

// core is all the decisions. It knows no clock, does not wait, and is not safe for concurrent use; times are in ns since
// some moment.
type core struct {
	cfg      Config
	limiter  limiter
	queue    queue
	inFlight int
	kinds    map[kindName]*kind
	forgot   int64 // when kinds were last forgotten

	// decided are the waiters that were taken from the queue since the shell looked, each with its verdict.
	decided []*waiter

	// Pressure is judged over intervals.
	pressed  bool
	judged   int64 // when the current interval began
	came     int
	went     int
	standing bool // there was always somebody waiting in it

	recent window
	wait   float64 // ns, smoothed
	stats  Stats
}

func newCore(cfg Config) *core {
	cfg = cfg.defaults()
	return &core{
		cfg:     cfg,
		limiter: newLimiter(0, cfg.MinLimit, cfg.MaxLimit),
		kinds:   make(map[kindName]*kind),
	}
}

// kind returns the estimates for calls of a kind, or nil.
func (c *core) kind(now int64, method, path string) *kind {
	if k, ok := c.kinds[kindName{method, path}]; ok {
		return k
	}
	if len(method)+len(path) > maxKindName {
		return nil
	}
	if len(c.kinds) >= maxKinds && now-c.forgot >= int64(kindFresh) {
		c.forget(now)
	}
	if len(c.kinds) >= maxKinds {
		return nil
	}
	k := &kind{at: now}
	c.kinds[kindName{strings.Clone(method), strings.Clone(path)}] = k // they may be part of something large
	return k
}

// forget drops the kinds that are worth nothing any more, which may be what somebody made up.
func (c *core) forget(now int64) {
	c.forgot = now
	maps.DeleteFunc(c.kinds, func(_ kindName, k *kind) bool { return now-k.at >= int64(kindFresh) })
}

// arrive decides on a call that comes at now: admitted, queued (w, which is filled in and has its place), or refused.
// deadline is 0 if it has none.
func (c *core) arrive(now, deadline int64, k *kind, r int) (verdict, *waiter) {
	c.advance(now)
	c.limiter.arrive()
	c.recent.arrive(now)
	c.came++
	if deadline != 0 && c.hopeless(now, deadline, k) {
		c.late(now)
		return overdue, nil
	}
	c.drain(now)
	if c.queue.n == 0 && c.limiter.allows(c.inFlight) {
		c.went++
		c.admit(0)
		return admitted, nil
	}
	if c.queue.n >= c.cfg.Queue {
		if c.cfg.Queue <= 0 {
			return c.refuse(now), nil
		}
		w := c.queue.displace(r)
		if w == nil {
			return c.refuse(now), nil
		}
		c.decide(w, c.refuse(now))
	}
	w := &waiter{rank: r, at: now, deadline: deadline, kind: k}
	c.queue.push(w)
	return queued, w
}

// hopeless reports whether a call that would begin now at the earliest is more likely than not to be given up. Unless
// others wait for the place that it would take, it is worth trying.
func (c *core) hopeless(now, deadline int64, k *kind) bool {
	left := deadline - now
	if left <= 0 {
		return true
	}
	return c.queue.n > 0 && k.known(now) && float64(left) < c.inside(k.median, 1)
}

// inside returns how long a call takes inside, given what was measured. That includes the wait inside which the limit is
// to end, so while it is being looked for, the calls of before the overload say more: mean times the given number.
func (c *core) inside(measured, times float64) float64 {
	if c.limiter.phase != steady && c.limiter.calm > 0 {
		return min(measured, times*c.limiter.calm)
	}
	return measured
}

// end counts the end of a call that began at start.
func (c *core) end(now, start int64, k *kind, o Outcome) {
	c.advance(now)
	c.inFlight--
	d := time.Duration(now - start)
	if o != Failed {
		k.observe(now, d, o == Late)
	}
	c.limiter.end(d, o)
	c.drain(now)
}

// cancel takes a waiter whose caller has gone, or whose deadline has come, out of the queue.
func (c *core) cancel(now int64, w *waiter) {
	c.advance(now)
	if w.list != nil {
		c.queue.remove(w)
		c.late(now)
	}
	c.drain(now)
}

// late counts a call that could not begin in time.
func (c *core) late(now int64) {
	c.stats.Late++
	c.recent.slot(now).late++
}

// advance accounts for the time up to now. It changes nothing but what is known.
func (c *core) advance(now int64) {
	c.limiter.advance(now, c.inFlight, c.queue.n > 0)
	c.standing = c.standing && c.queue.n > 0
	length := interval
	if c.pressed {
		length = calm
	}
	if now-c.judged < int64(length) {
		return
	}
	more := float64(c.came - c.went)
	switch {
	case !c.limiter.sure():
		c.pressed = false
	case c.pressed:
		c.pressed = more > 2*math.Sqrt(float64(c.came)) // not by chance
	default:
		// A probe lets fewer in than there is work for: what waits because of it is no sign, unless it takes long.
		least := 2 * c.patience(0)
		if c.limiter.phase != steady {
			least = max(least, int64(calm))
		}
		c.pressed = more > 0 && c.standing && c.queue.age(now) > least
	}
	turned := c.recent.turned(now)
	c.limiter.hurts = c.pressed || turned > 0
	c.limiter.turned = turned
	c.judge(now)
}

func (c *core) judge(now int64) {
	c.judged, c.came, c.went = now, 0, 0
	c.standing = c.queue.n > 0
}

// drain lets waiters in as long as the limit allows, and turns those away that have waited too long.
func (c *core) drain(now int64) {
	for c.queue.n > 0 && c.limiter.allows(c.inFlight) {
		// During a check those that waited for its beginning have too little time left to show how much gets done.
		w := c.queue.take(c.pressed || c.limiter.checks)
		if w.deadline != 0 {
			left := w.deadline - now
			if left <= 0 || w.kind.known(now) && float64(left) < c.inside(w.kind.p95, 3) {
				c.late(now)
				c.decide(w, overdue)
				continue
			}
		}
		c.went++
		w.begun = now
		c.admit(now - w.at)
		c.decide(w, admitted)
	}
	if !c.pressed {
		return
	}
	for r := range ranks {
		most := c.patience(r)
		for w := c.queue.oldest(r); w != nil && now-w.at > most; w = c.queue.oldest(r) {
			c.queue.remove(w)
			c.decide(w, c.refuse(now))
		}
	}
}

// patience is how long calls of rank r wait under pressure. Those of the highest criticality are few, and their turn comes
// first whenever there is one.
func (c *core) patience(r int) int64 {
	p := max(int64(target), int64(c.limiter.typical()))
	if r >= ranks-2 {
		p *= 4
	}
	return p
}

// next returns when drain should be called again although nothing has happened; 0: not before something does.
func (c *core) next() int64 {
	if c.queue.n == 0 {
		return 0
	}
	if !c.pressed {
		return c.judged + int64(interval)
	}
	at := c.judged + int64(calm)
	for r := range ranks {
		if w := c.queue.oldest(r); w != nil {
			at = min(at, w.at+c.patience(r)+1)
		}
	}
	return at
}

// tick does what is due at now.
func (c *core) tick(now int64) {
	c.advance(now)
	c.drain(now)
}

func (c *core) admit(waited int64) {
	c.inFlight++
	c.wait += (float64(waited) - c.wait) / 16
}

func (c *core) decide(w *waiter, v verdict) {
	w.verdict = v
	c.decided = append(c.decided, w)
}

// refuse counts a call that is turned away for load, and returns how.
func (c *core) refuse(now int64) verdict {
	c.stats.Shed++
	c.recent.refuse(now)
	if c.recent.share(now) > general {
		return shedAll
	}
	return shed
}

// configure changes the configuration.
func (c *core) configure(now int64, cfg Config) {
	c.advance(now)
	c.cfg = cfg.defaults()
	c.limiter.configure(now, c.cfg.MinLimit, c.cfg.MaxLimit)
	c.drain(now)
	for c.queue.n > max(c.cfg.Queue, 0) {
		w := c.queue.displace(ranks)
		c.decide(w, c.refuse(now))
	}
}

func (c *core) snapshot() Stats {
	s := c.stats
	s.Limit = int(c.limiter.limit)
	s.Found = int(c.limiter.last)
	s.InFlight = c.inFlight
	s.Waiting = c.queue.n
	s.Wait = time.Duration(c.wait)
	return s
}

// window counts calls over the last second.
type window struct {
	slots [10]slotCount
}

type slotCount struct{ at, came, refused, late int64 }

const slot = int64(100 * time.Millisecond)

func (w *window) slot(now int64) *slotCount {
	n := now / slot
	s := &w.slots[n%int64(len(w.slots))]
	if s.at != n {
		*s = slotCount{at: n}
	}
	return s
}

func (w *window) arrive(now int64) { w.slot(now).came++ }
func (w *window) refuse(now int64) { w.slot(now).refused++ }

// share is that of the calls turned away.
func (w *window) share(now int64) float64 {
	came, refused, _ := w.sum(now)
	return float64(refused) / float64(max(came, 1))
}

// turned is the share of the calls that could not begin.
func (w *window) turned(now int64) float64 {
	came, refused, late := w.sum(now)
	return float64(refused+late) / float64(max(came, 1))
}

func (w *window) sum(now int64) (came, refused, late int64) {
	for i := range w.slots {
		if s := &w.slots[i]; s.at > now/slot-int64(len(w.slots)) {
			came += s.came
			refused += s.refused
			late += s.late
		}
	}
	return came, refused, late
}
