package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
	"github.com/holdfast-go/holdfast/replica/internal/sim"
)

// A network may be broken in part, and one way only, for long. As long as some member and a majority hear each other,
// the group goes on: all ways in which links between three members can be cut, but for which member is which.
func TestAGroupGoesOnWhereSomeMemberReachesAMajority(t *testing.T) {
	t.Parallel()
	ways := [][2]int{{0, 1}, {1, 0}, {0, 2}, {2, 0}, {1, 2}, {2, 1}}
	for mask := range 1 << len(ways) {
		if renamed(mask, ways) < mask {
			continue
		}
		var cut [][2]int
		open := map[[2]int]bool{}
		for i, way := range ways {
			if mask&(1<<i) != 0 {
				cut = append(cut, way)
			} else {
				open[way] = true
			}
		}
		pair := func(a, b int) bool { return open[[2]int{a, b}] && open[[2]int{b, a}] }
		if !pair(0, 1) && !pair(0, 2) && !pair(1, 2) {
			continue
		}
		cfg := sim.Draw(uint64(mask) + 1)
		cfg.Members, cfg.Spares, cfg.Troubles, cfg.Cut = 3, 0, nil, cut
		cfg.Core.Voters, cfg.Core.MaxPending, cfg.Core.ElectionTimeout, cfg.Core.HeartbeatEvery = 3, 1000, 300*time.Millisecond, 30*time.Millisecond
		cfg.Loss, cfg.Late, cfg.Delay, cfg.Sync, cfg.Apply = 0, 0, 2*time.Millisecond, time.Millisecond, time.Millisecond
		cfg.Length, cfg.Think, cfg.Clients = 8*time.Second, 200*time.Millisecond, 15
		r := sim.Run(cfg)
		if !r.OK() {
			t.Errorf("cut %v: %v", cut, r)
		}
		late := 0
		for _, op := range r.History {
			if op.Kind != linear.Get && op.Outcome == linear.Done && op.Call > cfg.Length/2 && op.Return < cfg.Length {
				late++
			}
		}
		if late < 5 || r.Leaders > 4 {
			t.Errorf("cut %v: only %d writes in the last %v, %d leaders in all", cut, late, cfg.Length/2, r.Leaders)
		}
	}
}

// renamed returns the smallest of the masks that are the same but for which member is which.
func renamed(mask int, ways [][2]int) int {
	least := mask
	for _, name := range [][3]int{{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		other := 0
		for i, way := range ways {
			if mask&(1<<i) != 0 {
				other |= 1 << slices.Index(ways, [2]int{name[way[0]], name[way[1]]})
			}
		}
		least = min(least, other)
	}
	return least
}
