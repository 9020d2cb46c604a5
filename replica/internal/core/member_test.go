package core

import (
	"fmt"
	"testing"
)

func TestACommandIsAppliedEverywhereWhicheverMemberIsAsked(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.lead()
	var want []string
	for i, id := range []uint64{1, 2, 3} {
		c := w.propose(w.nodes[id], fmt.Sprint("c", id))
		want = append(want, fmt.Sprint("c", id))
		w.ok(c, fmt.Sprintf("c%d@%d", id, i+1))
	}
	w.agree(want...)
}

func TestALoneMemberLeadsAtOnce(t *testing.T) {
	w := newWorld(t, 7)
	start := w.now
	w.ok(w.propose(w.nodes[7], "a"), "a@1")
	if w.now.Sub(start) > testElection/5 {
		t.Fatalf("took %v", w.now.Sub(start))
	}
}

func TestProposalsPendingWhenTheLeaderDiesAreAppliedOnce(t *testing.T) {
	for _, lose := range []string{"nothing", "forward", "append", "results"} {
		t.Run(lose, func(t *testing.T) {
			w := newWorld(t, 1, 2, 3)
			f := w.followers()
			w.ok(w.propose(f[0], "first"), "first@1")
			l := w.lead()
			w.drop = func(m Message) bool {
				switch lose {
				case "forward":
					return m.Forward != nil
				case "append":
					return m.From == l.id
				case "results":
					return m.From == l.id && m.To == f[0].id
				}
				return false
			}
			var calls []*call
			for i := range 3 {
				calls = append(calls, w.propose(f[0], fmt.Sprint("x", i)))
			}
			w.run()
			w.crash(l.id)
			w.drop = nil
			for i, c := range calls {
				w.ok(c, fmt.Sprintf("x%d@%d", i, i+2))
			}
			w.restart(l.id)
			w.agree("first", "x0", "x1", "x2")
		})
	}
}
