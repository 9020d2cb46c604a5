package core

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

func small(c *Config) { c.SnapshotEntries, c.KeepEntries = 10, 2 }

func (w *world) restartAll() {
	for _, id := range w.ids() {
		w.crash(id)
		w.restart(id)
	}
}

func TestALateMemberIsBroughtUpBySnapshotAndItsProposalsAnswered(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = small
	w.restartAll()
	f := w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	l := w.lead()
	// What f says reaches the leader, what the leader says does not reach f: its command is applied without it.
	w.drop = func(m Message) bool { return m.To == f.id }
	c := w.propose(f, "b")
	w.run()
	w.until("applied elsewhere", func() bool { return len(l.machine.log) == 2 })
	want := []string{"a", "b"}
	for i := range 30 {
		x := w.propose(l, fmt.Sprint(i))
		w.until("an answer", func() bool { return x.n == 1 })
		want = append(want, fmt.Sprint(i))
	}
	if first, _ := l.m.log.FirstIndex(); first < 10 {
		t.Fatalf("the leader's log still begins at %d", first)
	}
	w.drop = nil
	w.ok(c, "b@2")
	w.ok(w.propose(f, "z"), "z@33")
	w.agree(append(want, "z")...)
	if len(f.machine.times) > 20 {
		t.Fatal("no snapshot was used")
	}
	// And all of it is there after a restart of everybody.
	w.restartAll()
	w.lead()
	w.agree(append(want, "z")...)
}

func TestADiskThatIsBehindItsSnapshotStarts(t *testing.T) {
	// The commit index may be older than the snapshot, and entries of another past may stand behind it.
	machine := &counter{}
	a := NewApplier(1, machine)
	a.mark, a.conf = Mark{Index: 10, Term: 5}, &raftpb.ConfState{Voters: []uint64{1, 2, 3}}
	entry := func(i, term uint64) *raftpb.Entry { return &raftpb.Entry{Index: new(i), Term: new(term)} }
	now := time.Unix(1, 0)
	m, err := New(Config{ID: 1}, a, Restored{
		HardState: &raftpb.HardState{Term: new(uint64(5)), Vote: new(uint64(2)), Commit: new(uint64(4))},
		Entries:   []*raftpb.Entry{entry(9, 4), entry(10, 4), entry(11, 4), entry(12, 4)},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	if last, _ := m.log.LastIndex(); last != 10 || m.commit != 10 || m.vote != 2 {
		t.Fatal(last, m.commit, m.vote)
	}
	m, err = New(Config{ID: 1}, a, Restored{
		HardState: &raftpb.HardState{Term: new(uint64(5)), Commit: new(uint64(40))},
		Entries:   []*raftpb.Entry{entry(11, 5), entry(12, 6)},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	if m.term != 6 || m.commit != 12 {
		t.Fatal(m.term, m.commit)
	}
	if _, err = New(Config{ID: 1}, a, Restored{Entries: []*raftpb.Entry{entry(12, 6)}}, now); err == nil {
		t.Fatal("a gap in the log")
	}
	if _, err = New(Config{ID: 1}, NewApplier(1, machine), Restored{Entries: []*raftpb.Entry{entry(1, 1)}}, now); err == nil {
		t.Fatal("no snapshot")
	}
	if _, err = New(Config{ID: 2}, a, Restored{}, now); err == nil {
		t.Fatal("another's applier")
	}
}

func TestFoundingIsTheSameForEveryFounder(t *testing.T) {
	x, y := MemberInfo{ID: 1, Name: "x"}, MemberInfo{ID: 2, Name: "y", Addr: "a"}
	var a, b bytes.Buffer
	if Founding([]MemberInfo{x, y}).Write(&a) != nil || Founding([]MemberInfo{y, x}).Write(&b) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatal("two foundings differ")
	}
	h, err := ReadHeader(&a)
	if err != nil || h.Mark != (Mark{1, 1}) || !slices.Equal(h.Members, []MemberInfo{x, y}) {
		t.Fatal(h, err)
	}
}

func TestASnapshotThatFailsIsAskedForAgain(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg = small
	w.restartAll()
	n := w.nodes[1]
	for i := range 9 {
		w.ok(w.propose(n, "x"), fmt.Sprintf("x@%d", i+1))
	}
	n.m.logEntries = 10
	if work := n.m.Ready(w.now); !work.Snapshot {
		t.Fatal("none asked for")
	}
	n.m.SnapshotFailed(w.now, bytes.ErrTooLarge)
	if work := n.m.Ready(w.now); work.Snapshot {
		t.Fatal("asked at once")
	}
	w.until("another", func() bool { return n.m.snapshotAfter.Before(w.now) && n.m.logEntries < 10 })
}

func TestALargeStateIsWrittenLessOften(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg = small
	w.restartAll()
	n := w.nodes[1]
	n.m.snapshotting = true
	for i := range 40 {
		w.ok(w.propose(n, "x"), fmt.Sprintf("x@%d", i+1))
	}
	c, err := n.a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	n.files[c.Mark] = nil
	n.m.askedEntries = n.m.logEntries
	n.m.SnapshotSaved(w.now, c, 3*int64(n.m.cfg.SnapshotBytes))
	for i := range 28 {
		w.ok(w.propose(n, "x"), fmt.Sprintf("x@%d", 41+i))
	}
	if len(n.files) != 1 {
		t.Fatal("a snapshot too early")
	}
	w.ok(w.propose(n, "x"), "x@69")
	w.ok(w.propose(n, "x"), "x@70")
	if len(n.files) != 2 {
		t.Fatal("no snapshot", len(n.files))
	}
}

// Followers learn the commit index by a message of its own. To write that would cost a sync more for each command.
func TestACommitIndexAloneIsNotWritten(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	w.pass(testElection)
	writes := f.writes
	for i := range 10 {
		w.ok(w.propose(f, "b"), fmt.Sprintf("b@%d", i+2))
	}
	if n := f.writes - writes; n != 10 {
		t.Fatalf("%d writes for 10 commands", n)
	}
	w.restartAll()
	w.ok(w.propose(f, "c"), "c@12")
}
