package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// A subset is as large as it should be, stays as it is but for those that leave, and differs between clients.
func TestSubset(t *testing.T) {
	const all, size = 100, 20
	members := func(n int) []Member {
		out := make([]Member, n)
		for i := range out {
			out[i] = Member{ID: fmt.Sprint("i-", i)}
		}
		return out
	}
	used := make(map[string]int)
	for seed := range uint64(200) {
		b := New(Config{Subset: size, Seed: seed + 1})
		chosen := func(nodes []*Node) map[string]bool {
			out := map[string]bool{}
			for _, n := range nodes {
				if b.InSubset(n) {
					out[n.id] = true
				}
			}
			return out
		}
		before := chosen(b.Update(epoch, members(all)))
		after := chosen(b.Update(epoch, members(all-1)))
		changed := 0
		for id := range before {
			used[id]++
			if !after[id] {
				changed++
			}
		}
		if len(before) != size || len(after) != size || changed > 1 {
			t.Fatalf("%d, then %d nodes, %d of them others", len(before), len(after), changed)
		}
	}
	for i := range all {
		if got := used[fmt.Sprint("i-", i)]; got < 15 || got > 80 {
			t.Errorf("instance %d is used by %d of 200 clients, want about 40", i, got)
		}
	}
}

func TestZonesKeepTheirCallsWhileTheyCan(t *testing.T) {
	for _, tt := range []struct {
		name         string
		near, far    int // members
		nearUp       int // that can be reached
		want, within float64
	}{
		{"all is well", 4, 8, 4, 1, 0},
		{"three of four", 4, 8, 3, 1, 0},
		{"half of it", 4, 8, 2, 0.714, 0.02},
		{"one of four", 4, 8, 1, 0.357, 0.02},
		{"none", 4, 8, 0, 0, 0},
		{"a zone that is too small for its calls", 1, 9, 1, 0.429, 0.02},
		{"nobody else", 4, 0, 4, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := New(Config{Zone: "a"})
			var members []Member
			for i := range tt.near {
				members = append(members, Member{ID: fmt.Sprint("a-", i), Zone: "a"})
			}
			for i := range tt.far {
				members = append(members, Member{ID: fmt.Sprint("b-", i), Zone: []string{"b", "c"}[i%2]})
			}
			nodes := b.Update(epoch, members)
			v := b.View(epoch, nodes[tt.near-tt.nearUp:])
			rnd := rand.New(rand.NewPCG(1, 2))
			stayed := 0
			const calls = 20_000
			for range calls {
				if v.nodes[v.Pick(Call{Now: epoch, Rand: rnd.Uint64()})].zone == "a" {
					stayed++
				}
			}
			if got := float64(stayed) / calls; math.Abs(got-tt.want) > tt.within {
				t.Errorf("%.3f of the calls stay, want %.3f", got, tt.want)
			}
		})
	}
}

// A key keeps its node while that has room; what a node leaves behind is spread; nothing else moves.
func TestRingHash(t *testing.T) {
	b, v := in(Config{Policy: RingHash}, 10)
	of := func(v *View, key uint64) string {
		return v.nodes[v.Pick(Call{Now: epoch, Rand: mix(key), Key: key})].id
	}
	const keys = 2000
	before := make([]string, keys)
	for k := range before {
		before[k] = of(v, uint64(k+1))
	}
	less := b.View(epoch, v.nodes[1:])
	moved := map[string]int{}
	for k, was := range before {
		now := of(less, uint64(k+1))
		if was == "i-0" {
			moved[now]++
		} else if was != now {
			t.Fatalf("key %d moved from %s to %s", k, was, now)
		}
	}
	if len(moved) < 5 {
		t.Errorf("the keys of one node moved to %v", moved)
	}
	// All calls have the same key, and none ends.
	for range 100 {
		v.nodes[v.Pick(Call{Now: epoch, Key: 7})].Start()
	}
	for _, n := range v.nodes {
		if n.InFlight() > 14 {
			t.Errorf("%s has %d of 100 calls, and its part is 10", n.id, n.InFlight())
		}
	}
}

// Concurrent calls leave nothing in flight, and an average within what was seen.
