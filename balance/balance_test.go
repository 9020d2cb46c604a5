package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func nodes(n int) []*Node {
	out := make([]*Node, n)
	for i := range out {
		out[i] = NewNode(fmt.Sprint("n-", i))
	}
	return out
}

// answer is a whole call: n answers in d.
func answer(n *Node, now time.Time, d time.Duration) {
	n.Start()
	n.Done(now, now.Add(-d), Latency)
}

func pickers() map[string]Picker {
	return map[string]Picker{"p2c": NewP2C(), "round robin": NewRoundRobin()}
}

// Any picker, any state of the nodes: the index is one of nodes, and not of a node tried before while there is another.
func TestPickersAvoidTriedNodes(t *testing.T) {
	for name, picker := range pickers() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				all := nodes(rapid.IntRange(0, 8).Draw(t, "nodes"))
				for _, n := range all {
					if rapid.Bool().Draw(t, "known") {
						answer(n, epoch, time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "latency")))
					}
					for range rapid.IntRange(0, 3).Draw(t, "in flight") {
						n.Start()
					}
				}
				tried := slices.Clone(all[:rapid.IntRange(0, len(all)).Draw(t, "tried")])
				tried = append(tried, nodes(rapid.IntRange(0, 2).Draw(t, "gone"))...)
				c := Call{Now: epoch.Add(time.Second), Rand: rapid.Uint64().Draw(t, "rand"), Tried: tried}
				got := picker.Pick(all, c)
				switch {
				case len(all) == 0:
					if got != -1 {
						t.Fatalf("picked %d of no nodes", got)
					}
				case got < 0 || got >= len(all):
					t.Fatalf("picked %d of %d nodes", got, len(all))
				case c.tried(all[got]) && slices.ContainsFunc(all, func(n *Node) bool { return !c.tried(n) }):
					t.Fatalf("picked %d, which was tried, with others left", got)
				}
			})
		})
	}
}

// Alike nodes get alike shares, on the first attempt and among the untried.
func TestPickersSpreadOverAlikeNodes(t *testing.T) {
	for name, picker := range pickers() {
		for tried := range 3 {
			t.Run(fmt.Sprint(name, ", tried ", tried), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(1, 2))
				all := nodes(5)
				counts := make([]int, len(all))
				const calls = 30_000
				for range calls {
					counts[picker.Pick(all, Call{Now: epoch, Rand: rnd.Uint64(), Tried: all[:tried]})]++
				}
				share := calls / (len(all) - tried)
				for i, got := range counts {
					want := share
					if i < tried {
						want = 0
					}
					if math.Abs(float64(got-want)) > float64(share)/20 {
						t.Errorf("node %d was picked %d times, want about %d", i, got, want)
					}
				}
			})
		}
	}
}

func TestRoundRobinTakesTurnsFromARandomStart(t *testing.T) {
	all := nodes(7)
	firsts := map[int]bool{}
	for seed := range uint64(100) {
		p := NewRoundRobin()
		c := Call{Rand: rand.New(rand.NewPCG(seed, 0)).Uint64()}
		first := p.Pick(all, c)
		firsts[first] = true
		for i := 1; i < 20; i++ {
			if got := p.Pick(all, c); got != (first+i)%7 {
				t.Fatalf("pick %d after %d is %d", i, first, got)
			}
		}
	}
	if len(firsts) != 7 {
		t.Errorf("100 clients start at %d of 7 nodes", len(firsts))
	}
}

func TestP2CPrefers(t *testing.T) {
	now := epoch.Add(time.Second)
	for _, tt := range []struct {
		name          string
		better, worse func(*Node)
	}{
		{"the faster", func(n *Node) { answer(n, epoch, time.Millisecond) }, func(n *Node) { answer(n, epoch, 2*time.Millisecond) }},
		{
			"the less busy",
			func(n *Node) { answer(n, epoch, time.Millisecond) },
			func(n *Node) { answer(n, epoch, time.Millisecond); n.Start() },
		},
		{
			"the fast and busy, up to a point",
			func(n *Node) { answer(n, epoch, time.Millisecond); n.Start() },
			func(n *Node) { answer(n, epoch, 3*time.Millisecond) },
		},
		{"the idle and new", func(*Node) {}, func(n *Node) { answer(n, epoch, time.Microsecond); n.Start() }},
		{"the idle and new, before the idle and known", func(*Node) {}, func(n *Node) { answer(n, epoch, time.Microsecond) }},
		{
			"the known and busy, before the new and busy",
			func(n *Node) { answer(n, epoch, time.Second); n.Start(); n.Start() },
			func(n *Node) { n.Start() },
		},
		{
			"the new and busy, before the known and very busy",
			func(n *Node) { n.Start() },
			func(n *Node) {
				answer(n, epoch, time.Microsecond)
				for range 9 {
					n.Start()
				}
			},
		},
		{"the less busy of the new", func(n *Node) { n.Start() }, func(n *Node) { n.Start(); n.Start() }},
		{
			"the one that answers, before the one that was not waited for",
			func(n *Node) { answer(n, epoch, 10*time.Millisecond); n.Start(); n.Start() },
			func(n *Node) { n.Start(); n.Done(epoch, epoch.Add(-time.Second), LowerBound) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(3, 4))
			all := nodes(2)
			tt.better(all[1])
			tt.worse(all[0])
			for range 20 {
				if NewP2C().Pick(all, Call{Now: now, Rand: rnd.Uint64()}) != 1 {
					t.Fatal("the other one was picked")
				}
			}
		})
	}
}

func TestTableKeepsNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table Table
		known := map[string]*Node{}
		for range rapid.IntRange(1, 20).Draw(t, "updates") {
			ids := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 0, 8).Draw(t, "ids")
			got := table.Update(ids)
			if len(got) != len(ids) {
				t.Fatalf("%d nodes for %d ids", len(got), len(ids))
			}
			next := map[string]*Node{}
			for i, id := range ids {
				n := got[i]
				if n == nil || n.ID() != id {
					t.Fatalf("node %d of %v is %v", i, ids, n)
				}
				if was := known[id]; was != nil && was != n {
					t.Fatalf("the state of %s was lost", id)
				}
				if was := next[id]; was != nil && was != n {
					t.Fatalf("%s has two nodes", id)
				}
				next[id] = n
			}
			if table.Len() != len(next) {
				t.Fatalf("%d nodes are kept for %v", table.Len(), ids)
			}
			known = next
		}
	})
}

// Concurrent calls leave nothing in flight, and an average within what was seen.
func TestNodeIsSafeForConcurrentUse(t *testing.T) {
	n := NewNode("a")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				now := epoch.Add(time.Duration(i) * time.Millisecond)
				n.Start()
				n.Cost(now)
				n.Done(now, now.Add(-time.Duration(g+1)*time.Millisecond), Latency)
			}
		})
	}
	wg.Wait()
	if n.InFlight() != 0 {
		t.Errorf("%d in flight", n.InFlight())
	}
	if d, ok := n.Latency(epoch.Add(2 * time.Second)); !ok || d < time.Millisecond || d > 8*time.Millisecond {
		t.Errorf("latency %v, %v", d, ok)
	}
}

func BenchmarkP2C(b *testing.B) {
	for _, size := range []int{2, 10, 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			all := nodes(size)
			for _, n := range all {
				answer(n, epoch, time.Millisecond)
			}
			p := NewP2C()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c := Call{Now: epoch, Rand: 1}
				for pb.Next() {
					c.Rand = c.Rand*6364136223846793005 + 1442695040888963407
					c.Now = c.Now.Add(10 * time.Microsecond)
					n := all[p.Pick(all, c)]
					n.Start()
					n.Done(c.Now.Add(time.Millisecond), c.Now, Latency)
				}
			})
		})
	}
}

func BenchmarkRoundRobin(b *testing.B) {
	all, p := nodes(10), NewRoundRobin()
	b.ReportAllocs()
	for range b.N {
		p.Pick(all, Call{Now: epoch, Rand: 1})
	}
}
