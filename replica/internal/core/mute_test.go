package core

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// A leader that is mute for a moment drops what it would send. If that announces a snapshot, raft is told: it would wait for the end
// of that, and send that member nothing else.
func TestAMuteLeaderDoesNotForgetASnapshot(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = small
	w.restartAll()
	l := w.lead()
	late := w.followers()[1]
	w.crash(late.id)
	for range 30 {
		x := w.propose(l, "x")
		w.until("answer", func() bool { return x.n == 1 })
	}
	w.restart(late.id)
	w.drop = func(m Message) bool { // nobody takes over
		return m.Raft != nil && (m.Raft.GetType() == raftpb.MsgTimeoutNow || m.Raft.GetType() == raftpb.MsgPreVote)
	}
	l.m.disk.lasts, l.m.disk.writing, l.m.disk.since = true, 1, w.now.Add(-time.Hour) // its disk hangs
	for range 50 {
		w.now = w.now.Add(2 * time.Millisecond)
		w.run()
		if stateOf(l, late.id) == tracker.StateSnapshot {
			break
		}
		_ = l.m.node.Step(rejection(late.id, l.m)) // the answer to what was on its way
	}
	l.m.disk.lasts, l.m.disk.writing = false, 0
	w.drop = nil
	w.pass(20 * testElection)
	if len(late.machine.log) != len(l.machine.log) || len(l.machine.log) < 30 {
		t.Errorf("it has %d of %d", len(late.machine.log), len(l.machine.log))
	}
}

func stateOf(l *node, id uint64) (s tracker.StateType) {
	l.m.node.WithProgress(func(i uint64, _ raft.ProgressType, p tracker.Progress) {
		if i == id {
			s = p.State
		}
	})
	return s
}

func rejection(from uint64, m *Member) *raftpb.Message {
	var next uint64
	m.node.WithProgress(func(i uint64, _ raft.ProgressType, p tracker.Progress) {
		if i == from {
			next = p.Next
		}
	})
	return &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), From: new(from), To: new(m.cfg.ID), Term: new(m.term), Reject: new(true), Index: new(next - 1), RejectHint: new(uint64(1)), LogTerm: new(uint64(1))}
}
