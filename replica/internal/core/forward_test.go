package core

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/failure"
)

func TestALostForwardIsSentAgainThoughTheLeaderStays(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	term := f.m.Status().Term
	lost := 0
	w.drop = func(m Message) bool {
		if m.Forward != nil && lost == 0 {
			lost++
			return true
		}
		return false
	}
	w.ok(w.propose(f, "b"), "b@2")
	if lost != 1 || f.m.Status().Term != term {
		t.Fatalf("lost %d, term %d → %d", lost, term, f.m.Status().Term)
	}
	w.agree("a", "b")
}

func TestMessagesThatComeTwiceChangeNothing(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.twice = true
	for i, n := range append(w.followers(), w.lead()) {
		w.ok(w.propose(n, fmt.Sprint(i)), fmt.Sprintf("%d@%d", i, i+1))
	}
	w.agree("0", "1", "2")
}

// A batch that its leader has in its log, uncommitted, is not put there again, however often it comes.
func TestALeaderTakesABatchOncePerTerm(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()
	w.ok(w.propose(f[0], "a"), "a@1")
	entries := 0
	w.drop = func(m Message) bool { // the leader's entries reach nobody; heartbeats do
		if m.Raft != nil && m.Raft.GetType() == raftpb.MsgApp {
			entries = max(entries, len(m.Raft.GetEntries()))
			return true
		}
		return false
	}
	c := w.propose(f[0], "b")
	forwards := 0
	drop := w.drop
	w.drop = func(m Message) bool {
		if m.Forward != nil {
			forwards++
		}
		return drop(m)
	}
	w.pass(5 * testElection)
	w.drop = nil
	w.ok(c, "b@2")
	last, _ := l.m.log.LastIndex()
	all, _ := l.m.log.Entries(2, last+1, 1<<20)
	n := 0
	for _, e := range all {
		n += strings.Count(string(e.GetData()), "\x01b")
	}
	if forwards < 3 || n != 1 {
		t.Fatalf("%d forwards, %d times in the log", forwards, n)
	}
}

func TestARefusedBatchGoesToTheNextLeader(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()
	w.ok(w.propose(f[0], "a"), "a@1")
	// The leader steps down without f[0] knowing.
	w.drop = func(m Message) bool { return m.To == f[0].id && m.Raft != nil }
	l.m.Transfer(w.now, f[1].id)
	w.run()
	c := w.propose(f[0], "b")
	w.run()
	w.drop = nil
	w.ok(c, "b@2")
	w.agree("a", "b")
}

func TestLeadershipIsHandedOverWithoutAnError(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l, f := w.lead(), w.followers()
	for _, n := range append(f, l) {
		w.ok(w.propose(n, "open"), fmt.Sprintf("open@%d", len(n.machine.log)+1))
	}
	start := w.now
	l.m.Transfer(w.now, 0)
	var calls []*call
	for i, n := range append(f, l) {
		calls = append(calls, w.propose(n, fmt.Sprint(i)))
	}
	w.until("another leader", func() bool { n := w.leader(); return n != nil && n != l })
	for _, c := range calls {
		w.until("an answer", func() bool { return c.n == 1 })
		if c.res.Err != nil {
			t.Fatal(c.res.Err)
		}
	}
	if d := w.now.Sub(start); d > testElection/2 {
		t.Fatalf("took %v", d)
	}
}

func TestWaitingCommandsShareAnEntry(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	w.ok(w.propose(l, "a"), "a@1")
	before := l.a.Mark().Index
	var calls []*call
	for i := range 500 {
		calls = append(calls, w.propose(l, fmt.Sprint(i)))
	}
	w.until("all", func() bool { return calls[499].n == 1 })
	if n := l.a.Mark().Index - before; n != 1 {
		t.Fatalf("%d entries", n)
	}
	for i, c := range calls {
		w.ok(c, fmt.Sprintf("%d@%d", i, i+2))
	}
}

func TestALargeQueueIsCutIntoBatches(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	var calls []*call
	for i := range 15 {
		calls = append(calls, w.propose(f, strings.Repeat("x", 200_000)+fmt.Sprint(i)))
	}
	w.until("all", func() bool { return calls[14].n == 1 })
	for i, c := range calls {
		if c.res.Err != nil || !strings.HasSuffix(f.machine.log[i], "x"+fmt.Sprint(i)) {
			t.Fatal(i, c.res.Err)
		}
	}
}

func TestTooMuchIsRefusedAtOnce(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = func(c *Config) { c.MaxPending, c.MaxReads, c.MaxCommand = 3, 2, 100 }
	w.crash(1)
	w.restart(1) // alone: nobody else is asked
	n := w.nodes[1]
	w.drop = func(Message) bool { return true }
	for range 3 {
		w.propose(n, "a")
	}
	if err := n.m.Propose(w.now, &Proposal{}); !errors.Is(err, ErrFull) || !failure.From(err).Shed() {
		t.Fatal(err)
	}
	if err := n.m.Propose(w.now, &Proposal{Command: make([]byte, 101)}); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	w.read(n)
	w.read(n)
	if err := n.m.Read(w.now, &Read{}); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
}

func TestCancelSaysWhetherACommandMayBeApplied(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	l := w.lead()
	w.drop = func(m Message) bool { return m.To == l.id }
	c := w.propose(f, "sent")
	w.run()
	if pending, sent := f.m.Cancel(&c.Proposal); !pending || !sent {
		t.Fatal(pending, sent)
	}
	if pending, _ := f.m.Cancel(&c.Proposal); pending {
		t.Fatal("twice")
	}
	d := w.propose(f, "kept back")
	if pending, sent := f.m.Cancel(&d.Proposal); !pending || sent {
		t.Fatal(pending, sent)
	}
	if s := f.m.Status(); s.Pending != 0 || s.PendingBytes != 0 {
		t.Fatalf("%+v", s)
	}
	w.drop = nil
	w.ok(w.propose(f, "b"), "b@2")
	w.pass(5 * testElection)
	if c.n+d.n != 0 {
		t.Fatal("a cancelled proposal was answered")
	}
	w.agree("a", "b")
}

func TestStopEndsWhatWaits(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	n := w.nodes[1]
	c, r := w.propose(n, "a"), w.read(n)
	n.m.Stop()
	if !errors.Is(c.res.Err, ErrStopped) || !errors.Is(r.res.Err, ErrStopped) {
		t.Fatal(c.res.Err, r.res.Err)
	}
	if err := n.m.Propose(w.now, &Proposal{}); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if work := n.m.Ready(w.now); !errors.Is(work.Err, ErrStopped) {
		t.Fatal(work.Err)
	}
}
