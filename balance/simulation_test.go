package balance

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simulation is a client that calls instances in virtual time: calls arrive at random times at a steady rate, whatever
// has become of earlier ones. A call that takes longer than the timeout is given up, as an attempt is.
type simulation struct {
	picker  Picker
	nodes   []*Node
	rate    float64                                  // calls a second
	latency func(node int, at time.Duration) float64 // mean, in seconds; instances are never too busy
	timeout time.Duration
	rnd     *rand.Rand

	ends  ends
	calls []simulated
}

type simulated struct {
	node int
	at   time.Duration
	took time.Duration // the timeout, if it was given up
}

type end struct {
	at, start time.Duration
	node      *Node
	sample    Sample
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

// run makes the calls of the next d.
func (s *simulation) run(from, d time.Duration) {
	for at := from; ; {
		at += time.Duration(s.rnd.ExpFloat64() / s.rate * 1e9)
		for len(s.ends) > 0 && s.ends[0].at <= at {
			e := heap.Pop(&s.ends).(end)
			e.node.Done(epoch.Add(e.at), epoch.Add(e.start), e.sample)
		}
		if at > from+d {
			return
		}
		i := s.picker.Pick(s.nodes, Call{Now: epoch.Add(at), Rand: s.rnd.Uint64()})
		took, sample := time.Duration(s.latency(i, at)*s.rnd.ExpFloat64()*1e9), Latency
		if took > s.timeout {
			took, sample = s.timeout, LowerBound
		}
		s.nodes[i].Start()
		heap.Push(&s.ends, end{at + took, at, s.nodes[i], sample})
		s.calls = append(s.calls, simulated{i, at, took})
	}
}

// to counts the calls to a node in [from, until).
func (s *simulation) to(node int, from, until time.Duration) int {
	n := 0
	for _, c := range s.calls {
		if c.node == node && c.at >= from && c.at < until {
			n++
		}
	}
	return n
}

func (s *simulation) p99() time.Duration {
	took := make([]time.Duration, len(s.calls))
	for i, c := range s.calls {
		took[i] = c.took
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func simulate(seed uint64, p Picker, n int, latency func(int, time.Duration) float64) *simulation {
	return &simulation{
		picker: p, nodes: nodes(n), rate: 200, latency: latency, timeout: 250 * time.Millisecond,
		rnd: rand.New(rand.NewPCG(seed, 1)),
	}
}

// One of ten instances takes ten times as long as the others.
func TestP2CLeavesASlowInstance(t *testing.T) {
	slow := func(node int, _ time.Duration) float64 {
		if node == 0 {
			return 0.05
		}
		return 0.005
	}
	for seed := range uint64(3) {
		rr, p2c := simulate(seed, NewRoundRobin(), 10, slow), simulate(seed, NewP2C(), 10, slow)
		rr.run(0, time.Minute)
		p2c.run(0, time.Minute)
		if got := p2c.p99(); got > rr.p99()/3 {
			t.Errorf("seed %d: 99%% within %v, with round robin %v", seed, got, rr.p99())
		}
		if got, fair := p2c.to(0, 0, time.Minute), len(p2c.calls)/10; got > fair/4 {
			t.Errorf("seed %d: %d calls to the slow one, a fair share is %d", seed, got, fair)
		}
	}
}

// One of two instances is frozen from the 10th to the 20th second.
func TestP2CLeavesAFrozenInstanceAndReturns(t *testing.T) {
	frozen := func(node int, at time.Duration) float64 {
		if node == 0 && at > 10*time.Second && at < 20*time.Second {
			return 1e6
		}
		return 0.005
	}
	for seed := range uint64(3) {
		s := simulate(seed, NewP2C(), 2, frozen)
		s.run(0, 2*time.Minute)
		// Before the first timeout nothing but the calls in flight tells. Of the 50 in that time, most go elsewhere.
		if got := s.to(0, 10*time.Second, 20*time.Second); got > 15 {
			t.Errorf("seed %d: %d of 2000 calls went to the frozen instance", seed, got)
		}
		if got := s.to(0, 80*time.Second, 90*time.Second); got < 2000/4 {
			t.Errorf("seed %d: a minute after it came back, %d of 2000 calls go there", seed, got)
		}
	}
}

// An instance comes, and is slow to answer its first calls.
func TestP2CDoesNotFloodANewInstance(t *testing.T) {
	for seed := range uint64(3) {
		s := simulate(seed, NewP2C(), 4, func(node int, at time.Duration) float64 {
			if node == 4 && at < 11*time.Second {
				return 0.2
			}
			return 0.02
		})
		s.run(0, 10*time.Second)
		s.nodes = append(slices.Clone(s.nodes), NewNode("new"))
		s.run(10*time.Second, 50*time.Second)
		if got := s.to(4, 10*time.Second, 10*time.Second+200*time.Millisecond); got < 1 || got > 5 {
			t.Errorf("seed %d: %d calls before its first answers", seed, got)
		}
		if got, fair := s.to(4, 50*time.Second, time.Minute), 400; got < fair/2 || got > fair*3/2 {
			t.Errorf("seed %d: %d calls in the end, a fair share is %d", seed, got, fair)
		}
	}
}
