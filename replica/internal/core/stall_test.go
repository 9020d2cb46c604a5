package core

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Heartbeats go out whatever the disk does: nobody but the leader itself can notice.
func TestALeaderWhoseDiskHangsHandsOver(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	w.ok(w.propose(l, "a"), "a@1")
	w.stuck[l.id] = true
	start := w.now
	c := w.propose(w.followers()[0], "b")
	d := w.propose(l, "c")
	w.until("another leader", func() bool { n := w.leader(); return n != nil && n != l })
	if took := w.now.Sub(start); took > minStall+2*testElection {
		t.Errorf("after %v", took)
	}
	w.ok(c, "b@3")
	w.ok(w.propose(w.lead(), "x"), "x@4")
	w.pass(10 * time.Second)
	if n := w.lead(); n == l {
		t.Error("it leads again")
	}
	w.stuck[l.id] = false
	w.ok(d, "c@2")
	w.agree("a", "c", "b", "x")
}

// The one that it would hand over to never hears of it.
func TestALeaderWhoseDiskHangsFallsSilent(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	w.ok(w.propose(l, "a"), "a@1")
	w.stuck[l.id] = true
	w.drop = func(m Message) bool { return m.Raft.GetType() == raftpb.MsgTimeoutNow }
	c := w.propose(w.followers()[0], "b")
	w.until("another leader", func() bool { n := w.leader(); return n != nil && n != l })
	w.ok(c, "b@2")
	w.ok(w.propose(w.lead(), "x"), "x@3")
}

func TestAMemberWhoseDiskHangsDoesNotStand(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()
	w.stuck[f[0].id] = true
	w.ok(w.propose(l, "a"), "a@1")
	w.pass(2 * minStall)
	elections := f[0].m.counts.Elections
	l.m.Transfer(w.now, f[0].id)
	w.pass(5 * testElection)
	w.ok(w.propose(f[1], "b"), "b@2")
	term := w.lead().m.term
	w.drop = func(m Message) bool { return m.From == f[0].id || m.To == f[0].id }
	w.pass(time.Second)
	w.drop = nil
	w.pass(time.Second)
	if got := w.lead().m.term; got != term || f[0].m.counts.Elections != elections {
		t.Errorf("term %d → %d, it stood %d times", term, got, f[0].m.counts.Elections-elections)
	}
	w.stuck[f[0].id] = false
	w.agree("a", "b")
}

// A process that does not run cannot tell how its disk does.
func TestAPauseIsNoHungDisk(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	w.stuck[l.id] = true
	w.ok(w.propose(w.followers()[0], "a"), "a@1")
	w.now = w.now.Add(time.Minute)
	l.m.Tick(w.now)
	if l.m.disk.lasts {
		t.Error("the disk counts as hung")
	}
}
