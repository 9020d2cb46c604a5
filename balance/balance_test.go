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

var allPolicies = []string{P2C, HCL, RoundRobin, LeastRequest, RingHash}

// in returns a balancer that has n members, all of which can be reached.
func in(cfg Config, n int) (*Balancer, *View) {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{ID: fmt.Sprint("i-", i)}
	}
	b := New(cfg)
	return b, b.View(epoch, b.Update(epoch, members))
}

// Whatever has become of the nodes: a pick is one of those that can be reached, -1 only if there are none, not one that was
// tried or ejected while there is another, and picks allocate nothing. Where all that are not ejected were tried, it may be one
// that is ejected and was not.
func TestPicks(t *testing.T) {
	for _, name := range allPolicies {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkPicks(t, name) })
		})
	}
}

func checkPicks(t *rapid.T, policy string) {
	draw := func(label string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, label) }
	zones := []string{"", "a", "b"}
	b := New(Config{Policy: policy, Zone: zones[draw("zone", 0, 2)], Subset: draw("subset", 0, 4), Seed: 1})
	now := epoch
	for range draw("updates", 1, 3) {
		members := make([]Member, draw("members", 0, 8))
		for i := range members {
			members[i] = Member{ID: fmt.Sprint("i-", draw("id", 0, 12)), Zone: zones[draw("z", 0, 2)], Weight: draw("weight", 0, 3)}
		}
		nodes := b.Update(now, members)
		reach := slices.DeleteFunc(slices.Clone(nodes), func(*Node) bool { return draw("down", 0, 3) == 0 })
		v := b.View(now, reach)
		for range draw("calls", 0, 40) {
			now = now.Add(time.Duration(draw("pause", 0, 2000)) * time.Millisecond)
			c := Call{Now: now, Rand: rapid.Uint64().Draw(t, "rand"), Safe: draw("safe", 0, 1) == 1, Key: uint64(draw("key", 0, 3))}
			for range draw("tried", 0, 2) {
				if len(nodes) > 0 {
					c.Tried = append(c.Tried, nodes[draw("which", 0, len(nodes)-1)])
				}
			}
			i := v.Pick(c)
			checkPick(t, v, c, i)
			if i < 0 {
				continue
			}
			var probes [MaxProbes]int
			for _, j := range probes[:v.Probes(c, &probes)] {
				b.Probed(reach[j], now, Report{draw("rif", 0, 9), time.Duration(draw("µs", 0, 9)) * time.Microsecond})
			}
			reach[i].Start()
			if draw("ends", 0, 3) > 0 {
				start := now
				now = now.Add(time.Duration(draw("took", 0, 100)) * time.Millisecond)
				b.Done(reach[i], now, start, Sample(draw("sample", 0, 2)), Health(draw("health", 0, 3)))
			}
		}
	}
}

func checkPick(t *rapid.T, v *View, c Call, got int) {
	nodes := v.Nodes()
	if len(nodes) == 0 {
		if got != -1 {
			t.Fatalf("picked %d of no nodes", got)
		}
		return
	}
	if got < 0 || got >= len(nodes) {
		t.Fatalf("picked %d of %d nodes", got, len(nodes))
	}
	out, usable, better := 0, 0, false
	for _, n := range nodes {
		if n.spare {
			continue
		}
		usable++
		if n.ejected.Load() {
			out++
		} else if !c.tried(n) {
			better = true
		}
	}
	n := nodes[got]
	switch {
	case usable > 0 && n.spare:
		t.Fatalf("%s is not in the subset", n.id)
	case better && c.tried(n):
		t.Fatalf("%s was tried, and others are left", n.id)
	case n.ejected.Load() && (better || c.tried(n)) && len(c.Tried) > 0 && float64(usable-out) >= DefaultPanic*float64(usable) && usable > out:
		t.Fatalf("a second attempt went to %s, which is ejected", n.id)
	}
}

// Nobody is ejected where there is only one, nor more than a third, or one of two.
func TestEjectionIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "nodes")
		b, v := in(Config{}, n)
		now := epoch
		for range rapid.IntRange(1, 300).Draw(t, "calls") {
			node := v.nodes[rapid.IntRange(0, n-1).Draw(t, "node")]
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond)
			node.Start()
			b.Done(node, now, now, None, Health(rapid.IntRange(1, 3).Draw(t, "health")))
			out := 0
			for _, m := range v.nodes {
				if m.ejected.Load() {
					out++
				}
			}
			if most := max(n/3, 1); n == 1 && out > 0 || out > most {
				t.Fatalf("%d of %d are ejected", out, n)
			}
		}
	})
}

// Alike nodes get alike shares, on the first attempt and among the untried; others get what their weight says.
func TestShares(t *testing.T) {
	for _, name := range allPolicies {
		for _, weights := range [][]int{{1, 1, 1, 1, 1}, {1, 2, 3, 4}, {1, 10}} {
			for tried := range 2 {
				t.Run(fmt.Sprintf("%s, weights %v, %d tried", name, weights, tried), func(t *testing.T) {
					b := New(Config{Policy: name})
					members := make([]Member, len(weights))
					sum := 0
					for i, w := range weights {
						members[i] = Member{ID: fmt.Sprint("i-", i), Weight: w}
						if i >= tried {
							sum += w
						}
					}
					v := b.View(epoch, b.Update(epoch, members))
					for _, n := range v.nodes {
						give(n, epoch, time.Millisecond)
					}
					rnd := rand.New(rand.NewPCG(1, 2))
					const calls = 30_000
					counts := make([]int, len(weights))
					for range calls {
						counts[v.Pick(Call{Now: epoch, Rand: rnd.Uint64(), Tried: v.nodes[:tried], Key: rnd.Uint64()})]++
					}
					tolerance := 0.05
					if name == RingHash { // a ring of so many points is as even as that
						tolerance = 0.25
					}
					for i, got := range counts {
						want := 0.0
						if i >= tried {
							want = calls * float64(weights[i]) / float64(sum)
						}
						if math.Abs(float64(got)-want) > tolerance*want {
							t.Errorf("node %d was picked %d times, want about %.0f", i, got, want)
						}
					}
				})
			}
		}
	}
}

func TestRoundRobinTakesTurnsFromARandomStart(t *testing.T) {
	firsts := map[int]bool{}
	for seed := range uint64(100) {
		_, v := in(Config{Policy: RoundRobin}, 7)
		c := Call{Now: epoch, Rand: mix(seed)}
		first := v.Pick(c)
		firsts[first] = true
		for i := 1; i < 20; i++ {
			if got := v.Pick(c); got != (first+i)%7 {
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
		{"the faster", func(n *Node) { give(n, epoch, time.Millisecond) }, func(n *Node) { give(n, epoch, 2*time.Millisecond) }},
		{
			"the less busy",
			func(n *Node) { give(n, epoch, time.Millisecond) },
			func(n *Node) { give(n, epoch, time.Millisecond); n.Start() },
		},
		{
			"the less busy, though it is a little slower",
			func(n *Node) { give(n, epoch, 1400*time.Microsecond); n.Start() },
			func(n *Node) { give(n, epoch, time.Millisecond); n.Start(); n.Start() },
		},
		{
			"the fast and busy, up to a point",
			func(n *Node) { give(n, epoch, time.Millisecond); n.Start() },
			func(n *Node) { give(n, epoch, 3*time.Millisecond) },
		},
		{"the idle and new", func(*Node) {}, func(n *Node) { give(n, epoch, time.Microsecond); n.Start() }},
		{"the idle and new, before the idle and known", func(*Node) {}, func(n *Node) { give(n, epoch, time.Microsecond) }},
		{
			"the known and busy, before the new and busy",
			func(n *Node) { give(n, epoch, time.Second); n.Start(); n.Start() },
			func(n *Node) { n.Start() },
		},
		{
			"the new and busy, before the known and very busy",
			func(n *Node) { n.Start() },
			func(n *Node) {
				give(n, epoch, time.Microsecond)
				for range 9 {
					n.Start()
				}
			},
		},
		{"the less busy of the new", func(n *Node) { n.Start() }, func(n *Node) { n.Start(); n.Start() }},
		{
			"the one that answers, before the one that was not waited for",
			func(n *Node) { give(n, epoch, 10*time.Millisecond); n.Start(); n.Start() },
			func(n *Node) { n.Start(); n.Done(epoch, epoch.Add(-time.Second), LowerBound) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(3, 4))
			_, v := in(Config{}, 2)
			tt.better(v.nodes[1])
			tt.worse(v.nodes[0])
			for range 20 {
				if v.Pick(Call{Now: now, Rand: rnd.Uint64()}) != 1 {
					t.Fatal("the other one was picked")
				}
			}
		})
	}
}

// An update keeps what is known about those that stay, and of those that are back within a minute, and no more than that.
func TestUpdateKeepsNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(Config{})
		now := epoch
		known := map[string]*Node{}
		left := map[string]time.Time{}
		for range rapid.IntRange(1, 20).Draw(t, "updates") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "s")) * time.Second)
			ids := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 0, 8).Draw(t, "ids")
			members := make([]Member, len(ids))
			for i, id := range ids {
				members[i] = Member{ID: id}
			}
			got := b.Update(now, members)
			if len(got) != len(ids) {
				t.Fatalf("%d nodes for %d members", len(got), len(ids))
			}
			next := map[string]*Node{}
			for i, id := range ids {
				n := got[i]
				if n == nil || n.ID() != id {
					t.Fatalf("node %d of %v is %v", i, ids, n)
				}
				since, away := left[id]
				if was := known[id]; was != nil && was != n && (!away || now.Sub(since) < retain) {
					t.Fatalf("the state of %s was lost", id)
				}
				if was := next[id]; was != nil && was != n {
					t.Fatalf("%s has two nodes", id)
				}
				next[id], known[id] = n, n
				delete(left, id)
			}
			for id := range known {
				if _, away := left[id]; next[id] == nil && !away {
					left[id] = now
				}
			}
			if len(b.nodes) > 2*len(next)+retained+1 {
				t.Fatalf("%d nodes are kept for %v", len(b.nodes), ids)
			}
		}
	})
}

func TestNodesThatLeftAreBounded(t *testing.T) {
	b := New(Config{})
	for i := range 1000 {
		b.Update(epoch, []Member{{ID: fmt.Sprint(i)}, {ID: "stays"}})
	}
	if len(b.nodes) > 2+2+retained {
		t.Errorf("%d nodes are kept", len(b.nodes))
	}
}

func TestBalancerIsSafeForConcurrentUse(t *testing.T) {
	for _, name := range allPolicies {
		b, first := in(Config{Policy: name}, 4)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				v := first
				rnd := rand.New(rand.NewPCG(uint64(g), 1))
				for i := range 500 {
					now := epoch.Add(time.Duration(i) * time.Millisecond)
					if i%100 == g {
						v = b.View(now, b.Update(now, []Member{{ID: "i-0"}, {ID: "i-1"}, {ID: "i-2"}, {ID: fmt.Sprint("i-", 3+i/100)}}))
					}
					c := Call{Now: now, Rand: rnd.Uint64(), Safe: true}
					n := v.nodes[v.Pick(c)]
					n.Start()
					var probes [MaxProbes]int
					for _, j := range probes[:v.Probes(c, &probes)] {
						b.Probed(v.nodes[j], now, Report{g, time.Millisecond})
					}
					start := now.Add(-time.Duration(g+1) * time.Millisecond)
					b.Alive(n, now, start)
					if i%2 == 0 {
						b.Done(n, now, start, Latency, Health(rnd.IntN(4)))
						continue
					}
					b.Done(n, now, start, None, Neutral)
					b.Learn(n, now, start, Latency, Health(rnd.IntN(4)))
				}
			})
		}
		wg.Wait()
		for _, n := range b.nodes {
			if n.InFlight() != 0 {
				t.Errorf("%s: %d in flight", n.id, n.InFlight())
			}
		}
	}
}

func TestValidateReportsAllAtOnce(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	err := Config{
		Policy: "fastest", Subset: -1, Panic: 2, ProbeRate: math.NaN(),
		Ejection: Ejection{SuccessRate: 1.5, MinSamples: -1, MaxShare: 1, Probe: time.Minute, MaxProbe: time.Second},
	}.Validate()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	if got := len(err.(interface{ Unwrap() []error }).Unwrap()); got != 8 {
		t.Errorf("%d problems: %v", got, err)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range allPolicies {
		for _, size := range []int{2, 10, 100} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				bal, v := in(Config{Policy: name}, size)
				for _, n := range v.nodes {
					give(n, epoch, time.Millisecond)
				}
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					c := Call{Now: epoch, Rand: 1, Safe: true}
					var probes [MaxProbes]int
					for pb.Next() {
						c.Rand = mix(c.Rand)
						c.Key = c.Rand | 1
						c.Now = c.Now.Add(10 * time.Microsecond)
						n := v.nodes[v.Pick(c)]
						n.Start()
						for _, j := range probes[:v.Probes(c, &probes)] {
							bal.Probed(v.nodes[j], c.Now, Report{1, time.Millisecond})
						}
						bal.Done(n, c.Now.Add(time.Millisecond), c.Now, Latency, Good)
					}
				})
			})
		}
	}
}
