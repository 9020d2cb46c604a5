package balance

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// fleet is a client that calls instances in virtual time: calls arrive at random times at a steady rate, whatever has
// become of earlier ones. An attempt that takes longer than the timeout is given up, and one that failed is followed by
// another elsewhere, up to three.
type fleet struct {
	b       *Balancer
	nodes   []*Node
	view    *View
	rate    float64 // calls a second
	timeout time.Duration
	answer  func(node int, at time.Duration) answer
	rnd     *rand.Rand
	events  []Event

	now   time.Duration
	ends  ends
	calls []*simulated
}

// answer is what becomes of an attempt.
type answer struct {
	took   time.Duration
	health Health
	sample Sample
}

// simulated is a call.
type simulated struct {
	at, took time.Duration
	tried    []*Node
	went     []int
	begun    []time.Duration // of each attempt
	failed   bool
}

type end struct {
	at, start time.Duration
	call      *simulated
	node      int
	answer    answer
}

type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newFleet(seed uint64, cfg Config, n int) *fleet {
	f := &fleet{rate: 600, timeout: 60 * time.Millisecond, rnd: rand.New(rand.NewPCG(seed, 1))}
	cfg.OnEject = func(e Event) { f.events = append(f.events, e) }
	f.b = New(cfg)
	f.join(n)
	f.answer = func(int, time.Duration) answer { return f.good(5 * time.Millisecond) }
	return f
}

// join makes the fleet one of n instances.
func (f *fleet) join(n int) {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{ID: fmt.Sprint("i-", i)}
	}
	now := epoch.Add(f.now)
	f.nodes = f.b.Update(now, members)
	f.view = f.b.View(now, f.nodes)
}

// good is an answer after an exponential time, or none in time.
func (f *fleet) good(mean time.Duration) answer {
	took := time.Duration(f.rnd.ExpFloat64() * float64(mean))
	if took > f.timeout {
		return answer{f.timeout, Bad, LowerBound}
	}
	return answer{took, Good, Latency}
}

// refused is UNAVAILABLE at once.
func refused() answer { return answer{100 * time.Microsecond, Bad, None} }

// run makes the calls of the next d.
func (f *fleet) run(d time.Duration) {
	until := f.now + d
	for at := f.now; ; {
		at += time.Duration(f.rnd.ExpFloat64() / f.rate * 1e9)
		for len(f.ends) > 0 && f.ends[0].at <= min(at, until) {
			f.end(heap.Pop(&f.ends).(end))
		}
		if at > until {
			f.now = until
			return
		}
		c := &simulated{at: at}
		f.calls = append(f.calls, c)
		f.attempt(c, at)
	}
}

func (f *fleet) attempt(c *simulated, at time.Duration) {
	i := f.view.Pick(Call{Now: epoch.Add(at), Rand: f.rnd.Uint64(), Tried: c.tried, Safe: true})
	a := f.answer(i, at)
	f.nodes[i].Start()
	c.went, c.begun = append(c.went, i), append(c.begun, at)
	heap.Push(&f.ends, end{at + a.took, at, c, i, a})
}

func (f *fleet) end(e end) {
	n := f.nodes[e.node]
	f.b.Done(n, epoch.Add(e.at), epoch.Add(e.start), e.answer.sample, e.answer.health)
	c := e.call
	c.took = e.at - c.at
	if e.answer.health != Bad {
		return
	}
	c.tried = append(c.tried, n)
	if len(c.went) == 3 {
		c.failed = true
		return
	}
	f.attempt(c, e.at)
}

// told is what calls that began in a time became.
type told struct {
	calls, attempts, failed int
	to                      []int // attempts at each node
	p99                     time.Duration
}

func (f *fleet) tell(from, until time.Duration) told {
	t := told{to: make([]int, len(f.nodes))}
	var took []time.Duration
	for _, c := range f.calls {
		for k, i := range c.went {
			if c.begun[k] >= from && c.begun[k] < until {
				t.to[i]++
			}
		}
		if c.at < from || c.at >= until {
			continue
		}
		t.calls++
		t.attempts += len(c.went)
		if c.failed {
			t.failed++
		}
		took = append(took, c.took)
	}
	slices.Sort(took)
	t.p99 = took[len(took)*99/100]
	return t
}

// share is the part of a node in the attempts.
func (t told) share(i int) float64 {
	sum := 0
	for _, n := range t.to {
		sum += n
	}
	return float64(t.to[i]) / float64(sum)
}

func (t told) String() string {
	return fmt.Sprintf("%d calls, %.3f attempts each, %d failed, p99 %v, to %v", t.calls, float64(t.attempts)/float64(t.calls), t.failed, t.p99.Round(100*time.Microsecond), t.to)
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
