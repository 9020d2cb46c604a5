package balance

import "testing"

// What may be picked is neither ejected nor out of the subset, unless there is nothing else.
func TestCandidates(t *testing.T) {
	b, v := in(Config{Subset: 3, Seed: 1}, 5)
	var used []*Node
	for _, n := range v.Nodes() {
		if b.InSubset(n) {
			used = append(used, n)
		}
	}
	eject := func(n *Node, out bool) {
		n.ejected.Store(out)
		b.epoch.Add(1)
	}
	check := func(name string, want int, tried []*Node, untried bool) {
		t.Helper()
		if got := v.Candidates(epoch); got != want {
			t.Errorf("%s: %d candidates, not %d", name, got, want)
		}
		if got := v.Untried(epoch, tried...); got != untried {
			t.Errorf("%s: there is one that was not tried: %v", name, got)
		}
	}
	check("all are well", 3, used[:2], true)
	check("all were tried", 3, used, false)
	eject(used[0], true)
	check("one is ejected", 2, used[1:2], true)
	check("the others were tried", 2, used[1:], false)
	eject(used[1], true)
	check("most are ejected, so none is left out", 3, used[2:], true)
	if allocs := testing.AllocsPerRun(100, func() { v.Untried(epoch, used[2], used[v.Candidates(epoch)-1]) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if empty := b.View(epoch, nil); empty.Candidates(epoch) != 0 || empty.Untried(epoch) {
		t.Error("there are candidates among no nodes")
	}
}

// However unlikely a draw is, the one node that was not tried is found; also where an int has 32 bits.
func TestTheLastUntriedNodeIsDrawn(t *testing.T) {
	_, v := in(Config{}, 64)
	for r := range uint64(200) {
		c := Call{Now: epoch, Rand: r, Tried: v.Nodes()[1:]}
		if i := v.Pick(c); i != 0 {
			t.Fatalf("picked %d, which was tried", i)
		}
	}
}
