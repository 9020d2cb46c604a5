package queue

import (
	"container/heap"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// giveBackAfter is the pause from which on it is left to the engine, if it can.
	giveBackAfter = 2 * time.Second
)

// scheduler decides which message is handled when. It is pure: it has no clock, no goroutine, and its randomness comes from
// outside.
//
// Invariants: no lane has two tasks running; of an ordered lane none runs while one before it is not done; at most concurrency
// run; while an outage lasts at most one runs that was begun in it, and nothing is taken for a killer; a suspect runs alone, when
// everything before it is settled.
type scheduler struct {
	ordered     bool
	concurrency int
	attempts    int
	base, max   time.Duration
	counts      bool // Delivery.Count is right
	giveBack    bool // long pauses are left to the engine
	rnd         func(n int64) int64

	health   health
	tasks    map[*task]struct{}
	byID     map[messageID]*task
	lanes    map[string]*lane
	ready    ring
	suspects []*task
	killers  ring // suspects that are certain
	many     bool // there were many of those at a time
	survived bool // one that was certain has not ended this process
	paused   byDue
	running  int
	unacked  int   // tasks that are to be settled, and the engine does not know yet
	solo     *task // the suspect that runs
	stopping bool
	memories map[messageID]memory
	memorder []remembered // oldest first; some may be gone
	memcount uint64
}

// messageID names a message, of somebody who goes by CloudEvents.
type messageID struct{ source, id string }

// known reports whether it names one: what others have written may have no ID, or one that is not unique without a source.
func (m messageID) known() bool { return m.source != "" && m.id != "" }

func newScheduler(cfg SubscriptionConfig, caps driver.Capabilities, rnd func(int64) int64) *scheduler {
	return &scheduler{
		ordered: cfg.Ordered, concurrency: cfg.Concurrency, attempts: cfg.Retry.Attempts, base: cfg.Retry.Base, max: cfg.Retry.Max,
		counts: caps.Counts, giveBack: caps.Counts && caps.Delay && !cfg.Ordered, rnd: rnd,
		tasks: make(map[*task]struct{}), byID: make(map[messageID]*task), lanes: make(map[string]*lane),
		memories: make(map[messageID]memory),
	}
}

// add takes a delivery in hand. One of a message that is in hand joins it: its connection was lost, or it was published twice.
// All of them are settled with it, however many: an engine waits for each that it gave, and the window bounds them.
func (s *scheduler) add(d *driver.Delivery, now time.Time) {
	id := messageID{d.Message.Source, d.Message.ID}
	if t := s.byID[id]; t != nil && id.known() && s.joins(d, t) {
		t.same = append(t.same, t.d)
		t.d = d
		return
	}
	t := &task{m: d.Message, d: d, extended: now}
	if m, ok := s.memories[id]; ok {
		delete(s.memories, id)
		t.started, t.known, t.tries, t.counted, t.seen, t.first, t.last = m.started, m.known, m.tries, m.counted, m.seen, m.first, m.last
	}
	before := s.before(t)
	t.suspect = before >= s.attempts+suspectAfter
	t.certain = before >= s.attempts+killerAfter && !s.survived
	s.tasks[t] = struct{}{}
	s.byID[id] = t
	key := d.Message.Key
	if key == "" {
		s.makeReady(t)
		return
	}
	t.lane = s.lanes[key]
	if t.lane == nil {
		t.lane = &lane{}
		s.lanes[key] = t.lane
	}
	t.lane.queue = append(t.lane.queue, t)
	s.advance(t.lane, key)
}

// joins reports whether a delivery of a message that is in hand may join it. In an ordered lane it may not where another of its
// key, which is handled behind that one, has come before it from the same place since: the engine has gone back to a message that
// was handled, since it was not told so, and what came after that one has to come after it again.
func (s *scheduler) joins(d *driver.Delivery, t *task) bool {
	if !s.ordered || t.lane == nil {
		return true
	}
	for i := len(t.lane.queue) - 1; i >= 0 && t.lane.queue[i] != t; i-- {
		if x := t.lane.queue[i]; x != nil && !x.gone && x.d.Revoked == d.Revoked {
			return false
		}
	}
	return true
}

// advance makes the first of a lane ready, if nothing holds it up, and ends a lane that is empty.
func (s *scheduler) advance(l *lane, key string) {
	for l.active == nil && len(l.queue) > 0 {
		t := l.queue[0]
		l.queue[0] = nil
		if l.queue = l.queue[1:]; t.gone {
			continue
		}
		l.active = t
		s.makeReady(t)
	}
	if l.active == nil && len(l.queue) == 0 && l.paused == 0 {
		delete(s.lanes, key)
	}
}

func (s *scheduler) makeReady(t *task) {
	t.state = ready
	switch {
	case t.bury != "" || !t.suspect:
		s.ready.push(t)
	case t.certain:
		s.killers.push(t)
	default:
		s.suspects = append(s.suspects, t)
	}
}

// next begins a task, or returns nil and how long until there may be one: 0 if that depends on something that happens.
func (s *scheduler) next(now time.Time) (*task, time.Duration) {
	if s.stopping {
		return nil, 0
	}
	s.wake(now)
	if s.solo != nil || s.running >= s.concurrency {
		return nil, 0
	}
	if s.health.stalled {
		if s.running > 0 {
			return nil, 0
		}
		if wait := s.health.probeAt.Sub(now); wait > 0 {
			return nil, wait
		}
		if t := s.probe(); t != nil {
			return s.begin(t, now), 0
		}
		return nil, s.untilDue(now)
	}
	if len(s.suspects) > 0 {
		if s.running > 0 || s.unacked > 0 { // what is done must not be in hand any more should this be the end
			return nil, 0
		}
		if t := s.pickSuspect(); t != nil {
			return s.begin(t, now), 0
		}
	}
	// Where nothing has succeeded yet, it may be an outage that the processes before did not live through: first all others are
	// tried, which shows it.
	if t := s.killer(s.health.successes > 0); t != nil {
		return s.begin(t, now), 0
	}
	if t := s.ready.pop(); t != nil {
		return s.begin(t, now), 0
	}
	if t := s.killer(s.running == 0 && len(s.suspects) == 0); t != nil {
		return s.begin(t, now), 0
	}
	return nil, s.untilDue(now)
}

// untilDue is how long until somebody has paused for long enough, 0 if nobody pauses.
func (s *scheduler) untilDue(now time.Time) time.Duration {
	if len(s.paused) == 0 {
		return 0
	}
	return max(s.paused[0].due.Sub(now), 1)
}

// wake makes those ready that have paused for long enough.
func (s *scheduler) wake(now time.Time) {
	for len(s.paused) > 0 && !s.paused[0].due.After(now) {
		s.resume(heap.Pop(&s.paused).(*task))
	}
}

// resume makes a task ready that has paused.
func (s *scheduler) resume(t *task) {
	l := t.lane
	if l != nil && !s.ordered {
		l.paused--
	}
	switch {
	case l == nil || l.active == t:
		s.makeReady(t)
	case l.active == nil:
		l.active = t
		s.makeReady(t)
	default: // unordered: another of its key went first
		t.state = queued
		l.queue = append([]*task{t}, l.queue...)
	}
}

// probe returns what is tried during an outage: something else each time, due or not. What could not be set aside waits until
// it is due: it says nothing about the outage. What may be a killer is tried if there is nothing else.
func (s *scheduler) probe() *task {
	for {
		if t := s.ready.pop(); t != nil {
			return t
		}
		if t := s.pickSuspect(); t != nil {
			return t
		}
		var first *task
		for _, t := range s.paused {
			if t.bury == "" && (first == nil || t.due.Before(first.due)) {
				first = t
			}
		}
		if first == nil {
			s.doubt()
			return s.pickSuspect()
		}
		heap.Remove(&s.paused, first.index)
		s.resume(first)
	}
}

// pickSuspect takes one out of the list, whichever.
func (s *scheduler) pickSuspect() *task {
	for len(s.suspects) > 0 {
		i := int(s.rnd(int64(len(s.suspects))))
		t := s.suspects[i]
		last := len(s.suspects) - 1
		s.suspects[i] = s.suspects[last]
		s.suspects[last] = nil
		if s.suspects = s.suspects[:last]; !t.gone {
			return t
		}
	}
	return nil
}

func (s *scheduler) begin(t *task, now time.Time) *task {
	if t == nil {
		return nil
	}
	t.state = running
	t.begun, t.warned = now, false
	t.number = s.before(t) + t.tries + 1
	if t.suspect && t.bury == "" {
		s.solo = t
	}
	if !t.started {
		t.started, t.seen = true, s.health.successes
	}
	s.running++
	return t
}

// decision is what is to be done with a task whose attempt has ended.
type decision struct {
	do    action
	pause time.Duration // of retry and giveBack
	// began and ended say that an outage did.
	began, ended bool
}

type action int

const (
	settle   action = iota // ack it
	setAside               // it still runs: bury it, then call buried
	giveBack               // it still runs: return it to the engine, then call done
	retry                  // it will be ready again
)

// end is the end of an attempt. Of setAside and giveBack the task goes on running.
func (s *scheduler) end(t *task, v verdict, err error, now time.Time) decision {
	if t.certain && t.bury == "" {
		s.survived = true
		s.doubt()
	}
	if v.blame == nobody {
		ended := s.health.succeeded()
		if ended {
			s.doubt()
		}
		s.unacked++
		s.done(t)
		return decision{do: settle, ended: ended}
	}
	if v.blame == waiting {
		return s.comeBack(t, v, now)
	}
	if t.last = err; t.first == nil {
		t.first = err
	}
	if v.blame == ourselves {
		return decision{do: giveBack}
	}
	t.tries++
	if v.blame == theMessage {
		t.bury = v.reason
		return decision{do: setAside}
	}
	began := s.health.failed(nameOf(t.d), now, s.rnd)
	if s.charged(t, v) {
		t.counted++
	}
	t.seen = s.health.successes
	if s.exhausted(t) {
		t.bury = "failed too often"
		return decision{do: setAside, began: began}
	}
	if s.stopping || revoked(t.d) {
		s.remember(t)
		return decision{do: giveBack, began: began}
	}
	pause := s.pause(t, v)
	if s.giveBack && pause >= giveBackAfter && !s.health.stalled && s.before(t) < s.attempts {
		s.remember(t)
		return decision{do: giveBack, pause: pause, began: began}
	}
	s.rest(t, now.Add(pause))
	return decision{do: retry, pause: pause, began: began}
}

// charged reports whether a failed attempt counts against its message.
func (s *scheduler) charged(t *task, v verdict) bool {
	switch {
	case s.health.stalled:
		return false
	case v.blame == elsewhere:
		return s.health.successes > t.seen
	}
	return true
}

// before is how often the message was delivered before, as far as the engine counts, and not while it was in hand.
func (s *scheduler) before(t *task) int {
	if !s.counts {
		return 0
	}
	return max(t.d.Count-1-len(t.same)-t.known, 0)
}

// exhausted reports whether a task has had its attempts, those elsewhere included. A count that is higher comes from
// connections and processes that broke: then one attempt of its own does not decide.
func (s *scheduler) exhausted(t *task) bool {
	if s.before(t) >= s.attempts {
		return t.counted >= min(2, s.attempts)
	}
	return t.counted > 0 && s.before(t)+t.counted >= s.attempts
}

// pause is full jitter, or what the handler wants.
func (s *scheduler) pause(t *task, v verdict) time.Duration {
	if v.after > 0 {
		return v.after
	}
	step := s.max
	if n := s.before(t) + t.tries - 1; n < 20 {
		step = min(s.max, s.base<<n)
	}
	return time.Duration(s.rnd(int64(step) + 1))
}

// rest makes a task that ran pause.
func (s *scheduler) rest(t *task, due time.Time) {
	s.stopped(t)
	t.state, t.due = paused, due
	heap.Push(&s.paused, t)
	if l := t.lane; l != nil && !s.ordered {
		l.paused++
		l.active = nil
		s.advance(l, t.m.Key)
	}
}

func (s *scheduler) stopped(t *task) {
	s.running--
	if s.solo == t {
		s.solo = nil
	}
}

// buried is the end of a burial; when it failed, the task is buried again after pause.
func (s *scheduler) buried(t *task, ok bool, now time.Time, pause time.Duration) decision {
	switch {
	case ok:
		s.unacked++
		s.done(t)
		return decision{do: settle}
	case s.stopping || revoked(t.d):
		s.remember(t)
		return decision{do: giveBack}
	}
	s.rest(t, now.Add(pause))
	return decision{do: retry, pause: pause}
}

// done takes a task that runs out of hand.
func (s *scheduler) done(t *task) {
	s.stopped(t)
	s.remove(t)
}

// acked is told of tasks that were settled. It reports whether something may wait for that.
func (s *scheduler) acked(n int) bool {
	s.unacked -= n
	return s.unacked == 0 && len(s.suspects) > 0
}

func (s *scheduler) remove(t *task) {
	t.gone = true
	delete(s.tasks, t)
	s.part(t)
	if t.state == paused {
		heap.Remove(&s.paused, t.index)
		if t.lane != nil && !s.ordered {
			t.lane.paused--
		}
	}
	if l := t.lane; l != nil {
		if l.active == t {
			l.active = nil
		}
		s.advance(l, t.m.Key)
	}
}

// part lets no further delivery join a task.
func (s *scheduler) part(t *task) {
	if id := (messageID{t.m.Source, t.m.ID}); s.byID[id] == t {
		delete(s.byID, id)
	}
}

// revoke drops what was not begun, or pauses, of the deliveries that end with that channel, and returns it. What is known of it is
// remembered.
func (s *scheduler) revoke(channel <-chan struct{}) []*task {
	var out []*task
	for t := range s.tasks {
		if t.d.Revoked == channel && t.state != running {
			out = append(out, t)
		}
	}
	for _, t := range out { // first all, so that none becomes ready
		t.gone = true
	}
	for _, t := range out {
		s.remember(t) // that it comes again does not say that a process ended
		s.remove(t)
	}
	return out
}

// stop begins no more, and returns what is not begun. Of an ordered lane those that follow one that still runs are kept
// until it is done: others must not have them before.
func (s *scheduler) stop() []*task {
	s.stopping = true
	var out []*task
	for t := range s.tasks {
		if t.state != running && (!s.ordered || t.lane == nil || t.lane.active == nil || t.lane.active.state != running) {
			out = append(out, t)
		}
	}
	for _, t := range out {
		t.gone = true
	}
	for _, t := range out {
		s.remove(t)
	}
	return out
}

// unbegun reports whether something could begin now, if only there was room.
func (s *scheduler) unbegun() bool { return s.ready.len() > 0 || len(s.suspects) > 0 }
