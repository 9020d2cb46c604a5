package core

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// More hosts than the table may have ask to be taken in at about the same time.
func TestATableThatIsFullCanBeRestored(t *testing.T) {
	w := newWorld(t, 1)
	l := w.lead()
	w.ok(w.propose(l, "a"), "a@1")
	refused, done := 0, 0
	for i := range 70 {
		l.m.Join(w.now, MemberInfo{ID: uint64(100 + i), Name: fmt.Sprintf("h%d", i)}, func(err error) {
			done++
			if err != nil {
				refused++
			}
		})
	}
	w.until("all answered", func() bool { return done == 70 })
	w.pass(testElection)
	if n := len(l.a.Members()); n != maxMembers || refused != 70-(maxMembers-1) {
		t.Errorf("%d members, and %d were refused", n, refused)
	}
	c, err := l.a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := NewApplier(1, &counter{}).Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatalf("its own snapshot with %d members cannot be restored: %v", len(l.a.Members()), err)
	}
}

// Boundary: 63 members, two ask at once.
func TestTwoAskForTheLastPlace(t *testing.T) {
	w := newWorld(t, 1)
	l := w.lead()
	for i := range 62 {
		done := false
		l.m.Join(w.now, MemberInfo{ID: uint64(100 + i), Name: fmt.Sprintf("h%d", i)}, func(err error) { done = err == nil })
		w.until("joined", func() bool { return done })
	}
	n := 0
	for i := range 2 {
		l.m.Join(w.now, MemberInfo{ID: uint64(200 + i), Name: fmt.Sprintf("g%d", i)}, func(error) { n++ })
	}
	w.until("both", func() bool { return n == 2 })
	w.pass(testElection)
	c, _ := l.a.Snapshot()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := NewApplier(1, &counter{}).Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatalf("its own snapshot with %d members cannot be restored: %v", len(l.a.Members()), err)
	}
}

// Many spares have come and gone since the last snapshot; all members are restarted; all live and talk.
func TestVotersAreHeardWhoeverCameAndWent(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.cfg = func(c *Config) { c.ReplaceAfter = 2 * time.Second }
	w.restartAll()
	for i := range 70 {
		id := uint64(1000 + i)
		done := false
		l := w.lead()
		l.m.Join(w.now, MemberInfo{ID: id, Name: fmt.Sprintf("x%d", i)}, func(err error) { done = err == nil })
		w.until("joined", func() bool { return done })
		done = false
		l.m.Remove(w.now, id, func(err error) { done = err == nil })
		w.until("removed", func() bool { return done })
	}
	w.join(4, "m4") // which would stand in for a dead one
	w.pass(10 * testElection)
	w.restartAll()
	w.pass(5 * time.Second)
	for _, id := range []uint64{1, 2, 3} {
		if w.nodes[id].m.Status().Role == Removed {
			t.Errorf("voter %d, which is alive and talks, was removed", id)
		}
	}
}
