package main

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-go/holdfast/bench/internal/load"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

const (
	refusal = time.Millisecond      // how long the dependency takes to refuse
	service = 10 * time.Millisecond // how long it takes otherwise, in the mean
)

// simulation is a client and its dependency in virtual time: what happens next happens next.
type simulation struct {
	now    time.Time
	start  time.Time
	rng    *rand.Rand
	events events
	calls  load.Calls

	away    func(time.Duration) bool // by the time since the start
	hanging bool
	book    *book // instead of the guard

	policy  resilience.Policy
	budget  *resilience.Budget
	guard   *resilience.Guard
	latency resilience.Latency
}

// simulate makes calls until end; the dependency is away from begin to back.
func simulate(name string, seed uint64, begin, back, end time.Duration) load.Calls {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &simulation{
		now: start, start: start,
		rng:     rand.New(rand.NewPCG(seed, 0x74687274)), //nolint:gosec // the same each time
		away:    func(t time.Duration) bool { return t >= begin && t < back },
		hanging: name == "hanging",
	}
	if name == "published" {
		s.book = new(book)
		s.policy.Throttle.K = -1
	}
	s.budget, s.guard = resilience.NewBudget(s.policy.Budget), resilience.NewGuard(s.policy)
	for due := time.Duration(0); due < end; due += time.Duration(s.rng.ExpFloat64() / rate * float64(time.Second)) {
		s.calls = append(s.calls, load.Call{Due: due})
	}
	for i := range s.calls {
		c := &s.calls[i]
		s.at(start.Add(c.Due), func() { s.begin(c) })
	}
	for len(s.events) > 0 {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
	return s.calls
}

func (s *simulation) begin(c *load.Call) {
	call := resilience.Begin(resilience.Spec{
		Policy: &s.policy, Budget: s.budget, Guard: s.guard, Latency: &s.latency, Safe: true, Single: true,
		Deadline: s.now.Add(deadline),
	})
	s.attempt(c, &call)
}

// attempt makes the next attempt of a call.
func (s *simulation) attempt(c *load.Call, call *resilience.Call) {
	plan, stop := call.Next(s.now, s.rng.Uint64())
	if stop == resilience.StopDone && s.book != nil && !s.book.allow(s.now, s.rng.Float64()) {
		stop = resilience.StopThrottled
	}
	if stop != resilience.StopDone {
		c.Code = codes.ResourceExhausted
		s.end(c, call)
		return
	}
	c.Attempts++
	sent := s.now
	took, err := time.Duration(s.rng.ExpFloat64()*float64(service)), (*failure.Error)(nil)
	if s.away(sent.Sub(s.start)) {
		took, err = refusal, failure.New(failure.Unavailable, "away")
		if s.hanging {
			took = time.Hour
		}
	}
	if left := plan.Deadline.Sub(sent); took > left {
		took, err = left, failure.New(failure.DeadlineExceeded, "hanging")
	}
	s.at(sent.Add(took), func() { s.ended(c, call, plan, took, err) })
}

func (s *simulation) ended(c *load.Call, call *resilience.Call, plan resilience.Plan, took time.Duration, err *failure.Error) {
	o := resilience.OK
	if err != nil {
		o = plan.Classify(err, resilience.MaybeSent, took)
	}
	if s.book != nil {
		s.book.vote(s.now, err == nil)
	}
	d := call.Done(s.now, plan, o, 0, s.rng.Uint64())
	switch {
	case d.Retry:
		s.at(s.now.Add(d.Wait), func() { s.attempt(c, call) })
		return
	case err != nil:
		c.Code = codes.Code(err.Code)
	}
	s.end(c, call)
}

func (s *simulation) end(c *load.Call, call *resilience.Call) {
	c.Took = s.now.Sub(s.start) - c.Due
	call.End(s.now)
}

func (s *simulation) at(t time.Time, do func()) {
	heap.Push(&s.events, event{t, do})
}

type event struct {
	at time.Time
	do func()
}

// events is a heap of them, the next first.
type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// book is the throttle of the SRE book: K = 2 over 30 s, and at least one request in twenty gets through.
type book struct {
	seconds      [30]struct{ requests, accepts float64 }
	second       int64
	requests, ok float64
}

func (b *book) roll(now time.Time) {
	b.second = max(b.second, now.Unix()-int64(len(b.seconds)))
	for ; b.second < now.Unix(); b.second++ {
		oldest := &b.seconds[(b.second+1)%int64(len(b.seconds))]
		b.requests -= oldest.requests
		b.ok -= oldest.accepts
		oldest.requests, oldest.accepts = 0, 0
	}
}

func (b *book) allow(now time.Time, rnd float64) bool {
	b.roll(now)
	b.requests++
	b.seconds[b.second%int64(len(b.seconds))].requests++
	return rnd >= min((b.requests-2*b.ok)/(b.requests+1), 0.95)
}

func (b *book) vote(now time.Time, ok bool) {
	b.roll(now)
	if ok {
		b.ok++
		b.seconds[b.second%int64(len(b.seconds))].accepts++
	}
}
