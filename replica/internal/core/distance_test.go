package core

import (
	"testing"
	"time"
)

// Commands and reads go to the leader and back; the others are as near to each other as before.
func TestALeaderThatHasBecomeFarHandsOver(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	l := w.lead()
	w.ok(w.propose(l, "a"), "a@1")
	w.pass(2 * testElection) // it is near
	const way = 40 * time.Millisecond
	w.far = map[uint64]time.Duration{l.id: way}
	began := w.now
	f := w.followers()[0]
	c := w.propose(f, "b")
	w.until("another leader", func() bool { n := w.leader(); return n != nil && n != l })
	if took := w.now.Sub(began); took > testElection+(2*farTimes+6)*way {
		t.Errorf("after %v", took)
	}
	w.ok(c, "b@2")
	w.pass(2 * testElection)
	next := w.lead()
	if next == l {
		t.Fatal("it leads again")
	}
	for _, n := range w.nodes {
		if n == l {
			continue
		}
		at := w.now
		w.ok(w.read(n), "")
		if took := w.now.Sub(at); took > 4*time.Millisecond {
			t.Errorf("a read of a member that is near takes %v", took)
		}
	}
	w.far = nil
	w.pass(10 * time.Second)
	if n := w.lead(); n != next {
		t.Error("leadership moved, and all was well")
	}
	w.agree("a", "b")
}

// In three places, each is far from both others: it is nobody's fault, and nobody would do better.
func TestMembersThatAreFarFromEachOtherAreLeftAlone(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = func(c *Config) { c.ElectionTimeout = 500 * time.Millisecond }
	w.restartAll()
	const way = 40 * time.Millisecond
	w.far = map[uint64]time.Duration{1: way, 2: way, 3: way}
	l := w.lead()
	w.ok(w.propose(l, "a"), "a@1")
	w.pass(time.Minute)
	if n := w.lead(); n != l || n.m.term != l.m.term {
		t.Error("leadership moved")
	}
	// A time in which all are near, again and again: each change is noticed once, and ever more seldom.
	term := l.m.term
	for range 60 {
		w.far = nil
		w.pass(2 * time.Second)
		w.far = map[uint64]time.Duration{1: way, 2: way, 3: way}
		w.pass(2 * time.Second)
	}
	moved := w.lead().m.term - term
	if moved == 0 || moved > 15 {
		t.Errorf("leadership moved %d times in four minutes", moved)
	}
}
