package core

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/failure"
)

// join starts an empty member and has the leader take it in.
func (w *world) join(id uint64, name string) *node {
	w.t.Helper()
	l := w.lead()
	done := false
	l.m.Join(w.now, MemberInfo{ID: id, Name: name, Addr: "addr"}, func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
		done = true
	})
	n := w.add(id, nil)
	w.until("joined", func() bool { return done })
	return n
}

func (w *world) voters() []uint64 { return w.lead().m.conf.GetVoters() }

func TestANewMemberIsALearnerFirstThenAVoter(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.ok(w.propose(w.nodes[1], "a"), "a@1")
	n := w.join(3, "m3")
	w.until("a third voter", func() bool { return len(w.voters()) == 3 })
	w.ok(w.propose(n, "b"), "b@2")
	w.agree("a", "b")
	if m := n.a.Members(); len(m) != 3 || m[2] != (MemberInfo{ID: 3, Name: "m3", Addr: "addr"}) {
		t.Fatal(m)
	}
	spare := w.join(4, "m4") // three voters are enough
	w.pass(5 * testElection)
	if len(w.voters()) != 3 || spare.m.Status().Role != Learner {
		t.Fatal(w.voters(), spare.m.Status().Role)
	}
	w.ok(w.propose(spare, "c"), "c@3")
}

func TestAMemberThatLostItsDiskTakesItsOldPlace(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.ok(w.propose(w.nodes[1], "a"), "a@1")
	gone := w.followers()[0]
	refused := error(nil)
	w.lead().m.Join(w.now, MemberInfo{ID: 13, Name: fmt.Sprintf("m%d", gone.id)}, func(err error) { refused = err })
	if e := failure.From(refused); e == nil || e.Reason != ReasonNameInUse {
		t.Fatal("the name of a living member was given away:", refused)
	}
	w.crash(gone.id)
	w.pass(3 * testElection)
	n := w.join(13, fmt.Sprintf("m%d", gone.id))
	w.until("the new one votes", func() bool { return slices.Contains(w.voters(), 13) && len(w.lead().m.conf.GetVotersOutgoing()) == 0 })
	if v := w.voters(); len(v) != 3 || slices.Contains(v, gone.id) {
		t.Fatal(v)
	}
	w.ok(w.propose(n, "b"), "b@2")
	if m := n.a.Members(); len(m) != 3 {
		t.Fatal(m)
	}
}

func TestAMemberThatLosesItsDiskTwiceLeavesNoTrace(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	for id := uint64(14); id < 18; id++ {
		w.join(id, "spare")
		w.crash(id)
		w.pass(3 * testElection)
	}
	if m := w.lead().a.Members(); len(m) != 4 || m[3].ID != 17 {
		t.Fatal(m)
	}
}

func TestAVoteIsMovedInOneChange(t *testing.T) {
	for _, out := range []string{"a follower", "the leader"} {
		t.Run(out, func(t *testing.T) {
			w := newWorld(t, 1, 2, 3)
			l := w.lead()
			gone := l
			if out == "a follower" {
				gone = w.followers()[0]
			}
			replace := func() error {
				var got error
				done := false
				w.lead().m.Replace(w.now, 4, gone.id, func(err error) { got, done = err, true })
				w.until("an answer", func() bool { return done })
				return got
			}
			if err := replace(); err == nil {
				t.Fatal("somebody unknown got a vote")
			}
			n := w.join(4, "m4")
			least := 3
			w.until("replaced", func() bool {
				err := replace()
				least = min(least, len(w.voters()))
				if e := failure.From(err); err != nil && e.Reason != ReasonBehind && e.Reason != ReasonNotLeader {
					t.Fatal(err)
				}
				return err == nil
			})
			w.until("done", func() bool { return !inConf(w.lead().m.conf, gone.id) })
			if v := w.voters(); least != 3 || len(v) != 3 || slices.Contains(v, gone.id) {
				t.Fatal(least, v)
			}
			w.crash(gone.id)
			w.ok(w.propose(n, "a"), "a@1")
			if err := replace(); err != nil {
				t.Fatal("a repetition:", err)
			}
		})
	}
}

// Whoever says that a member is out must not need its vote again after a loss of power.
// What was asked for is looked at again when its turn comes: much may have changed.
func TestAChangeThatHasBecomeWrongIsNotMade(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()
	out, other := f[0].id, f[1].id
	w.join(4, "m4")
	l := w.lead()
	errs := make([]error, 2)
	w.until("the learner has caught up", func() bool {
		var behind error
		l.m.Replace(w.now, 4, out, func(err error) { behind = err })
		return behind == nil
	})
	// While that is under way: the one that leaves is to come back in the place of another.
	for _, m := range l.a.Members() {
		if m.ID == out && m.Learner {
			t.Fatal("a voter that leaves is called a learner")
		}
	}
	l.m.changes.waiting = append(l.m.changes.waiting,
		&change{steps: swap(out, other), done: func(err error) { errs[0] = err }, check: l.m.checkSwap(out, other)},
		&change{steps: step(raftpb.ConfChangeRemoveNode, out), done: func(err error) { errs[1] = err }, check: l.m.checkRemove(w.now, out)})
	w.pass(3 * testElection)
	if failure.CodeOf(errs[0]) != failure.FailedPrecondition || errs[1] != nil {
		t.Fatal(errs)
	}
	if v := w.voters(); len(v) != 3 || slices.Contains(v, out) || !slices.Contains(v, other) {
		t.Fatal(v)
	}
}

func TestAMemberThatIsOutIsNeverNeededAgain(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg = func(c *Config) { c.Voters = 1 }
	w.restartAll()
	w.ok(w.propose(w.nodes[1], "a"), "a@1")
	n := w.join(2, "m2")
	w.until("the other has the vote", func() bool {
		if l := w.leader(); l != nil {
			l.m.Replace(w.now, 2, 1, func(error) {})
		}
		w.run()
		m := n.m.Status().Members
		return len(m) == 1 && m[0].ID == 2 // at this very moment
	})
	w.crash(1)
	w.crash(2)
	w.restart(2)
	w.ok(w.propose(n, "b"), "b@2")
}

func TestADeadVoterIsReplacedByASpare(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = func(c *Config) { c.ReplaceAfter = time.Second }
	for _, id := range w.ids() {
		w.crash(id)
		w.restart(id)
	}
	w.join(4, "m4")
	w.pass(2 * time.Second)
	if v := w.voters(); slices.Contains(v, 4) {
		t.Fatal("a living voter was replaced", v)
	}
	gone := w.followers()[0]
	if gone.id == 4 {
		gone = w.followers()[1]
	}
	w.crash(gone.id)
	w.pass(800 * time.Millisecond)
	if slices.Contains(w.voters(), 4) {
		t.Fatal("too early")
	}
	w.until("replaced", func() bool { v := w.voters(); return slices.Contains(v, 4) && !slices.Contains(v, gone.id) })
}

func TestALearnerThatIsGoneIsRemoved(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = func(c *Config) { c.ReplaceAfter = time.Second }
	for _, id := range w.ids() {
		w.crash(id)
		w.restart(id)
	}
	w.join(4, "m4")
	w.crash(4)
	w.until("removed", func() bool { return len(w.lead().a.Members()) == 3 })
}

func TestALearnerIsGivenTimeToBeHeard(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = func(c *Config) { c.ReplaceAfter = time.Second }
	w.restartAll()
	l := w.lead()
	w.pass(2 * time.Second) // it has led for longer than that
	l.m.Join(w.now, MemberInfo{ID: 4, Name: "m4"}, func(error) {})
	w.pass(800 * time.Millisecond)
	if n := len(l.a.Members()); n != 4 {
		t.Fatal("thrown out at once", n)
	}
	w.until("removed", func() bool { return len(l.a.Members()) == 3 })
}

func TestMembersAreRemovedButNotTheLastVoter(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	errs := map[uint64]error{}
	remove := func(at *node, id uint64) {
		t.Helper()
		done := false
		at.m.Remove(w.now, id, func(err error) { errs[id], done = err, true })
		w.until("removed", func() bool { return done })
	}
	f := w.followers()
	remove(f[0], f[1].id)
	if !errors.Is(errs[f[1].id], ErrNotLeader) {
		t.Fatal(errs)
	}
	remove(w.lead(), f[0].id)
	if errs[f[0].id] != nil {
		t.Fatal(errs)
	}
	w.pass(testElection)
	w.crash(f[0].id)
	l := w.lead()
	remove(l, l.id) // the leader itself: it lets another one do it
	if !errors.Is(errs[l.id], ErrNotLeader) {
		t.Fatal(errs)
	}
	w.until("handed over", func() bool { return w.lead() != l })
	remove(w.lead(), l.id)
	w.until("the other leads alone", func() bool { return f[1].m.Status().Role == Leader })
	w.crash(l.id)
	w.ok(w.propose(f[1], "a"), fmt.Sprintf("a@%d", len(f[1].machine.log)+1))
	remove(f[1], f[1].id)
	if errs[f[1].id] == nil {
		t.Fatal("the last voter was removed")
	}
}

// A group whose votes are just enough would stand still for ever without one of them. One that is gone can be removed.
func TestAVoteThatIsNeededIsNotRemoved(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	remove := func(id uint64) (err error) {
		done := false
		w.lead().m.Remove(w.now, id, func(e error) { err, done = e, true })
		w.until("answered", func() bool { return done })
		return err
	}
	f := w.followers()
	w.crash(f[1].id)
	w.pass(5 * testElection)
	if err := remove(f[0].id); !errors.Is(err, errNeeded) {
		t.Fatal(err)
	}
	w.ok(w.propose(w.lead(), "a"), fmt.Sprintf("a@%d", len(w.lead().machine.log)+1))
	if err := remove(f[1].id); err != nil {
		t.Fatal(err)
	}
	if err := remove(f[0].id); err != nil {
		t.Fatal(err)
	}
	if v := w.voters(); len(v) != 1 {
		t.Fatal(v)
	}
}

func TestAnAddressCanChange(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	for _, addr := range []string{"new", "new"} {
		done := false
		l.m.Join(w.now, MemberInfo{ID: 2, Name: "m2", Addr: addr}, func(err error) { done = err == nil })
		w.until("changed", func() bool { return done })
	}
	if m := l.a.Members()[1]; m != (MemberInfo{ID: 2, Name: "m2", Addr: "new"}) {
		t.Fatal(m)
	}
	bad := error(nil)
	l.m.Join(w.now, MemberInfo{}, func(err error) { bad = err })
	if bad == nil {
		t.Fatal("a member without an ID was taken in")
	}
}
