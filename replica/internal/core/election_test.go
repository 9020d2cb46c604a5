package core

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

func TestALeaderWhoseProcessIsGoneIsReplacedWithinAFractionOfTheTimeout(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()
	l := w.lead()
	w.pass(testElection)
	start := w.now
	w.crash(l.id)
	for _, n := range f {
		n.m.PeerDown(w.now, l.id)
	}
	w.ok(w.propose(f[0], "a"), "a@1")
	if d := w.now.Sub(start); d > testElection/2 {
		t.Fatalf("took %v", d)
	}
}

// Whoever notices first asks in vain, and again when the others have noticed, too.
func TestAMemberThatNoticesLateDoesNotHoldUpTheElection(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, 1, 2, 3)
		w.cfg = func(c *Config) { c.Seed += 100 * seed }
		w.restartAll()
		f := w.followers()
		l := w.lead()
		w.pass(testElection)
		w.drop = func(m Message) bool { return m.To == f[1].id && m.Raft.GetType() == raftpb.MsgApp } // its log is shorter
		w.ok(w.propose(l, "first"), "first@1")
		w.drop = nil
		start := w.now
		w.crash(l.id)
		f[0].m.PeerDown(w.now, l.id)
		c := w.propose(f[0], "a")
		w.pass(testElection / 4)
		f[1].m.PeerDown(w.now, l.id)
		w.ok(c, "a@2")
		if d := w.now.Sub(start); d > testElection*6/10 {
			t.Fatalf("took %v", d)
		}
	}
}

// A leader that comes back before anybody noticed asks for votes. The others would not answer, since they hear of a
// leader; but it is that one.
func TestALeaderThatIsRestartedAtOnceHoldsNothingUp(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, 1, 2, 3)
		w.cfg = func(c *Config) { c.Seed += 100 * seed }
		w.restartAll()
		f := w.followers()
		l := w.lead()
		w.pass(testElection)
		start := w.now
		w.crash(l.id)
		w.restart(l.id)
		w.ok(w.propose(f[0], "a"), "a@1")
		if d := w.now.Sub(start); d > testElection*115/100 {
			t.Fatalf("took %v", d)
		}
	}
}

func TestAFalseAlarmDisturbsNobody(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()
	l := w.lead()
	term := l.m.Status().Term
	w.pass(testElection)
	for range 5 {
		f[0].m.PeerDown(w.now, l.id)
		w.pass(testElection)
	}
	if s := w.lead().m.Status(); s.Term != term || s.ID != l.id {
		t.Fatalf("%+v", s)
	}
}

func TestALeaderThatFallsSilentIsReplaced(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()
	l := w.lead()
	w.crash(l.id)
	start := w.now
	w.ok(w.propose(f[0], "a"), "a@1")
	if d := w.now.Sub(start); d > 3*testElection {
		t.Fatalf("took %v", d)
	}
}

// A process that was stopped for long finds its timeouts over when it goes on. It reads its mail before it acts.
func TestAMemberThatWasFrozenDoesNotStandAtOnce(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()
	term := l.m.Status().Term
	f[0].up = false
	w.pass(30 * testElection)
	f[0].up = true
	f[0].m.Tick(w.now)
	if s := f[0].m.Status(); s.Role != Follower {
		t.Fatalf("%+v", s)
	}
	w.pass(3 * testElection)
	if s := w.lead().m.Status(); s.Term != term || s.ID != l.id {
		t.Fatalf("%+v", s)
	}
}

func TestAFrozenLeaderGivesWay(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()
	r := w.read(l)
	c := w.propose(l, "mine")
	l.up = false
	w.ok(w.propose(f[0], "a"), "a@1")
	l.up = true
	w.ok(c, "mine@2")
	w.ok(r, "")
	if r.seen < 1 {
		t.Fatal("a stale read")
	}
	w.agree("a", "mine")
}

func TestACutOffMemberDoesNotDisturbWhenItComesBack(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()
	term := w.lead().m.Status().Term
	w.drop = func(m Message) bool { return m.From == f[0].id || m.To == f[0].id }
	w.pass(20 * testElection)
	w.drop = nil
	w.pass(5 * testElection)
	if s := w.lead().m.Status(); s.Term != term {
		t.Fatalf("term %d → %d", term, s.Term)
	}
}

func TestALeaderWithoutAQuorumStepsDown(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	w.drop = func(m Message) bool { return m.From == l.id || m.To == l.id }
	w.until("steps down", func() bool { return l.m.Status().Role != Leader })
}

func TestNextTickIsNeverLaterThanWhatIsDue(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	if d := l.m.NextTick().Sub(w.now); d <= 0 || d > testElection/10 {
		t.Fatal(d)
	}
	f := w.followers()[0]
	f.m.PeerDown(w.now, l.id)
	f.m.Ready(w.now)
	if d := f.m.NextTick().Sub(w.now); d > time.Duration(0.22*float64(testElection)) {
		t.Fatal(d)
	}
}
