package core

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

func TestAReadSeesWhatWasAcknowledgedBeforeIt(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	f := w.followers()
	w.ok(w.propose(l, "a"), "a@1")
	w.lag[f[0].id] = true // its applier is late
	w.ok(w.propose(l, "b"), "b@2")
	r := w.read(f[0])
	w.pass(2 * testElection)
	if r.n != 0 && !mutantStaleRead {
		t.Fatal("the read went through before the state was there")
	}
	if f[0].m.Fresh(w.now, time.Hour) && len(f[0].machine.log) < 1 {
		t.Fatal("fresh without any confirmed state")
	}
	w.lag[f[0].id] = false
	w.ok(r, "")
	if r.seen != 2 {
		t.Fatal(r.seen)
	}
}

func TestALeaderThatWasCutOffReadsNothingOld(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	old := w.lead()
	w.ok(w.propose(old, "a"), "a@1")
	w.ok(w.read(old), "")
	w.drop = func(m Message) bool { return m.From == old.id || m.To == old.id }
	r := w.read(old)
	w.until("another leader", func() bool {
		for _, n := range w.nodes {
			if n != old && n.m.Status().Role == Leader {
				return true
			}
		}
		return false
	})
	for _, n := range w.nodes {
		if n != old && n.m.Status().Role == Leader {
			w.ok(w.propose(n, "b"), "b@2")
		}
	}
	if r.n != 0 {
		t.Fatal("a stale read")
	}
	if old.m.Fresh(w.now, testElection/2) {
		t.Fatal("a member that was cut off calls itself fresh")
	}
	w.drop = nil
	w.ok(r, "")
	if r.seen != 2 {
		t.Fatal(r.seen)
	}
}

func TestReadsShareRoundsAndSurviveLostOnes(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	rounds, lose := 0, false
	w.drop = func(m Message) bool {
		if m.From == f.id && m.Raft != nil && m.Raft.GetType() == raftpb.MsgReadIndex {
			rounds++
			return lose
		}
		return false
	}
	var calls []*call
	for range 100 {
		calls = append(calls, w.read(f))
	}
	for _, c := range calls {
		w.ok(c, "")
	}
	if rounds != 1 {
		t.Fatalf("%d rounds", rounds)
	}
	lose = true
	c := w.read(f)
	w.run()
	lose = false
	w.ok(c, "")
}

// A round of a follower takes four ways then, and is asked again after two heartbeats.
func TestALeaderThatIsFarAwayAnswersTheFirstTime(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	const way = testElection / 8 // a heartbeat and a quarter; nobody is so far that another one should lead
	w.far = map[uint64]time.Duration{l.id: way}
	for _, n := range []*node{f, l} {
		began := w.now
		w.ok(w.read(n), "")
		if took := w.now.Sub(began); took > 4*way+8*time.Millisecond {
			t.Errorf("a read took %v, and the way to the leader and back, twice, %v", took, 4*way)
		}
	}
	// Reads that come meanwhile do not wait for the end of the round before.
	var calls []*call
	began := map[*call]time.Time{}
	for range 50 {
		c := w.read(f)
		began[c] = w.now
		c.Read.Done = func(error) {
			c.n++
			if took := w.now.Sub(began[c]); took > 4*way+4*testElection/10 {
				t.Errorf("a read took %v while others came", took)
			}
		}
		calls = append(calls, c)
		w.pass(testElection / 20)
	}
	w.pass(testElection)
	for _, c := range calls {
		if c.n != 1 {
			t.Fatalf("answered %d times", c.n)
		}
	}
	if n := w.lead(); n != l {
		t.Error("another one leads: this tests nothing")
	}
}

func TestReadsOutliveTheirLeader(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()
	w.ok(w.propose(f[0], "a"), "a@1")
	w.drop = func(m Message) bool { return m.From == l.id }
	r := w.read(f[0])
	w.run()
	w.crash(l.id)
	w.drop = nil
	w.ok(r, "")
}

func TestFreshIsTheAgeOfTheLastConfirmedRound(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	if f.m.Fresh(w.now, time.Hour) && !mutantStaleRead {
		t.Fatal("fresh before any round")
	}
	w.ok(w.read(f), "")
	began := w.now
	w.pass(50 * time.Millisecond)
	age := w.now.Sub(began)
	if !f.m.Fresh(w.now, age) {
		t.Fatal("not fresh")
	}
	if f.m.Fresh(w.now, age-time.Millisecond) && !mutantStaleRead {
		t.Fatal("too fresh")
	}
}

func TestACancelledReadIsForgotten(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	w.drop = func(Message) bool { return true }
	for range 1000 {
		r := w.read(f)
		if !f.m.CancelRead(&r.Read) || f.m.CancelRead(&r.Read) {
			t.Fatal("cancel")
		}
	}
	if s := f.m.Status(); s.Reads != 0 || len(f.m.reads.gathering) > 200 {
		t.Fatal(s.Reads, len(f.m.reads.gathering))
	}
	w.drop = nil
	w.ok(w.read(f), "")
}

func TestAReadThatWasAskedOfAFormerLeaderIsAskedAgain(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	old, f := w.lead(), w.followers()
	w.ok(w.propose(f[0], "a"), "a@1")
	w.drop = func(m Message) bool { return m.To == f[0].id } // f[0] does not learn of the next leader
	old.m.Transfer(w.now, f[1].id)
	w.until("another leader", func() bool { return f[1].m.Status().Role == Leader && old.m.Status().Leader == f[1].id })
	r := w.read(f[0])
	w.run() // every message that is delivered is one that ParseMessage takes
	w.drop = nil
	w.ok(r, "")
}

// raft answers a ReadIndex of a lone voter with the commit index that it started with, which may be an old one.
func TestALoneVoterThatRestartsReadsNothingOld(t *testing.T) {
	w := newWorld(t, 1)
	n := w.nodes[1]
	w.ok(w.propose(n, "a"), "a@1")
	w.cfg = func(c *Config) { c.Voters = 1 }
	w.restartAll()
	learner := w.join(2, "m2")
	for i := range 5 {
		w.ok(w.propose(n, "b"), fmt.Sprintf("b@%d", i+2)) // its commit index was not written
		w.crash(1)
		w.restart(1)
		r, l := w.read(n), w.read(learner)
		w.ok(r, "")
		w.ok(l, "")
		if r.seen != i+2 || l.seen != i+2 {
			t.Fatal(r.seen, l.seen)
		}
	}
}
