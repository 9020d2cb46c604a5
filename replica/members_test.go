package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEmptiedDiskIsReplaced(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "1")
		b := w.boxes["b"]
		old := b.g.Status()
		b.kill()
		b.wipe()
		w.boxes["a"].put("x", "2")
		b.start()
		w.until("b votes again", func() bool { return b.g.Status().Role == Following || b.g.Status().Role == Leading })
		b.want("x", "2")
		now := b.g.Status()
		if now.ID == old.ID || now.Cluster != old.Cluster {
			t.Errorf("was %+v, is %+v", old, now)
		}
		w.until("the old one is gone", func() bool { return len(w.boxes["a"].g.Status().Members) == 3 })
	})
}

func TestAllDisksButOneEmptiedFoundsNothing(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "1")
		w.leader()
		for _, b := range w.boxes {
			b.kill()
		}
		w.boxes["b"].wipe()
		w.boxes["c"].wipe()
		w.startAll()
		time.Sleep(20 * time.Second) //nolint:forbidigo // in virtual time: nothing happens
		for _, n := range []string{"b", "c"} {
			s := w.boxes[n].g.Status()
			if s.Cluster != 0 || s.Role != Joining || !strings.Contains(s.Why, "no leader") {
				t.Errorf("%s: %+v", n, s)
			}
			err := w.boxes[n].tryPut(time.Second, "x", "2")
			if !errors.Is(err, ErrNoQuorum) || !strings.Contains(err.Error(), "no leader") {
				t.Errorf("%s: %v", n, err)
			}
		}
		if err := w.boxes["a"].tryPut(time.Second, "x", "2"); !errors.Is(err, ErrNoQuorum) {
			t.Errorf("a: %v", err)
		}
	})
}

func TestDiskOfAnotherGroupIsRefused(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "old")
		w.leader()
		other := w.boxes["c"].fs
		for _, b := range w.boxes {
			b.stop()
			b.wipe()
		}
		w.startAll()
		w.boxes["a"].put("x", "new")
		for _, b := range w.boxes {
			w.until(b.name+" is a member", func() bool { return b.g.Status().Applied > 1 })
		}
		c := w.boxes["c"]
		c.stop()
		c.fs = other
		c.start()
		w.until("it is refused", func() bool { return c.g.Status().Role == Failed })
		_, err := c.g.Propose(context.Background(), []byte("x=c"))
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "data") || !strings.Contains(err.Error(), "before anything is removed") {
			t.Errorf("got %v", err)
		}
		w.boxes["b"].want("x", "new")
	})
}

func TestDirectoryOfAnotherHostIsRefused(t *testing.T) {
	inBubble(t, 1, []string{"a", "b"}, func(w *world) {
		w.names = []string{"a"}
		w.boxes["a"].start().put("x", "1")
		w.boxes["a"].stop()
		w.boxes["b"].fs = w.boxes["a"].fs
		if err := w.boxes["b"].tryStart(); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `host "a"`) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRemovedMemberIsRefused(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		a, c := w.boxes["a"], w.boxes["c"]
		a.put("x", "1")
		w.leader()
		c.stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.g.RemoveMember(ctx, "c"); err != nil {
			t.Fatal(err)
		}
		c.start()
		w.until("it is refused", func() bool { return c.g.Status().Role == Failed })
		if err := c.tryPut(time.Second, "x", "2"); !errors.Is(err, ErrRemoved) || !strings.Contains(err.Error(), "empty the directory") {
			t.Errorf("got %v", err)
		}
		a.put("x", "3")
		c.stop()
		c.wipe()
		c.start()
		w.until("it votes again", func() bool { return c.g.Status().Role == Following })
		c.want("x", "3")
	})
}

func TestSpareReplacesTheDead(t *testing.T) {
	inBubble(t, 3, four, func(w *world) {
		for _, b := range w.boxes {
			b.cfg = func(c *Config) { c.ReplaceAfter = 20 * time.Second; c.Founders = three }
		}
		w.startAll()
		a, d := w.boxes["a"], w.boxes["d"]
		a.put("x", "1")
		w.until("d is a spare", func() bool { return d.g.Status().Role == Learning && d.kv.get("x") == "1" })
		w.boxes["c"].kill()
		time.Sleep(10 * time.Second) //nolint:forbidigo // in virtual time
		if r := d.g.Status().Role; r != Learning {
			t.Errorf("after 10 s it is %s", r)
		}
		w.until("d votes", func() bool { return d.g.Status().Role == Following })
		w.boxes["b"].kill()
		w.until("a and d go on", func() bool { return a.tryPut(time.Second, "x", "2") == nil })
		d.want("x", "2")
	})
}

func TestMembersMoveByHand(t *testing.T) {
	inBubble(t, 3, four, func(w *world) {
		for _, b := range w.boxes {
			b.gcfg.Members = three
		}
		w.startAll()
		a, d := w.boxes["a"], w.boxes["d"]
		a.put("x", "1")
		time.Sleep(5 * time.Second) //nolint:forbidigo // in virtual time: nothing happens
		if s := d.g.Status(); s.Cluster != 0 || !strings.Contains(s.Why, "to be added") {
			t.Errorf("nobody has asked for it: %+v", s)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.boxes["b"].g.ReplaceMember(ctx, "a", "d"); err != nil {
			t.Fatal(err)
		}
		w.until("d votes", func() bool { return d.g.Status().Role == Following || d.g.Status().Role == Leading })
		if err := a.g.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		d.put("x", "2")
		w.boxes["b"].want("x", "2")
		if err := w.boxes["c"].g.Transfer(ctx, "d"); err != nil {
			t.Fatal(err)
		}
		if name, self := d.g.Leader(); name != "d" || !self {
			t.Errorf("%s leads", name)
		}
	})
}

func TestAMemberComesBackWithAnotherID(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		a, c := w.boxes["a"], w.boxes["c"]
		a.put("x", "1")
		w.leader()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.g.RemoveMember(ctx, "c"); err != nil {
			t.Fatal(err)
		}
		old := c.g.Status().ID
		if err := c.g.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		c.kv = newRegister()
		var err error
		if c.g, err = c.host.Group("kv", c.kv, c.gcfg); err != nil {
			t.Fatal(err)
		}
		w.until("it votes again", func() bool { return c.g.Status().Role == Following })
		c.want("x", "1")
		if c.g.Status().ID == old {
			t.Error("with the same ID")
		}
	})
}

func TestASpareThatWasAwayJoinsAnew(t *testing.T) {
	inBubble(t, 3, four, func(w *world) {
		for _, b := range w.boxes {
			b.cfg = func(c *Config) { c.ReplaceAfter = 10 * time.Second; c.Founders = three }
		}
		w.startAll()
		a, d := w.boxes["a"], w.boxes["d"]
		a.put("x", "1")
		w.until("d is a spare", func() bool { return d.g.Status().Role == Learning && d.kv.get("x") == "1" })
		old := d.g.Status().ID
		d.stop()
		w.until("it is removed", func() bool { return len(a.g.Status().Members) == 3 })
		a.put("x", "2")
		d.start()
		w.until("it is a spare again", func() bool { return d.g.Status().Role == Learning && d.kv.get("x") == "2" })
		if now := d.g.Status().ID; now == old {
			t.Error("with the same ID")
		}
	})
}

// A member that has been started a moment ago does not know yet whether it is needed: it does not leave before it does.
func TestNobodyLeavesBeforeItKnowsItself(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		g := &Group{host: a.host, name: "late", ended: make(chan struct{})}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := g.gone(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before it has read its disk: %v", err)
		}
		g.stopped = true // it could not
		if err := g.gone(context.Background()); err != nil {
			t.Errorf("one that takes part in nothing: %v", err)
		}
	})
}

// The host's earlier self has the name, and votes, until the one with the empty disk has caught up.
func TestAMemberThatLostItsDiskIsWaitedFor(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		for _, b := range w.boxes {
			b.cfg = func(c *Config) { c.SnapshotRate = 256 << 10 }
		}
		w.startAll()
		for i := range 8 {
			w.boxes["a"].put(fmt.Sprint("k", i), strings.Repeat("v", 1<<19))
		}
		leader, b := w.leader(), w.follower()
		b.kill()
		b.wipe()
		time.Sleep(3 * time.Second) //nolint:forbidigo // in virtual time: the others no longer hear it
		b.start()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		for _, asked := range []*box{leader, b} {
			if err := asked.g.AddMember(ctx, b.name, true); err != nil {
				t.Fatal(err)
			}
			for _, m := range asked.g.Status().Members {
				if m.Name == b.name && (m.ID != b.g.Status().ID || m.Learner) {
					t.Errorf("%s: added, and there is %+v", asked.name, m)
				}
			}
		}
	})
}

func TestAChangeAtAFrozenLeaderGoesToTheNext(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "1")
		leader := w.leader()
		var others []*box
		for _, n := range three {
			if b := w.boxes[n]; b != leader {
				others = append(others, b)
				w.net.Cut(b.addr) // so that it is they who connect to the leader
			}
		}
		time.Sleep(time.Second) //nolint:forbidigo // in virtual time
		for _, b := range others {
			w.net.Restore(b.addr)
		}
		if now := w.leader(); now != leader {
			t.Fatalf("%s leads", now.name)
		}
		w.net.Freeze(leader.addr)
		defer w.net.Restore(leader.addr)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := others[0].g.Transfer(ctx, others[1].name); err != nil {
			t.Error(err)
		}
	})
}

func TestNobodyIsReplaced(t *testing.T) {
	inBubble(t, 3, []string{"a", "b", "c", "d"}, func(w *world) {
		a := w.startOthersBeside()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, out := range []string{"nobody", "d"} {
			if err := a.g.ReplaceMember(ctx, out, "d"); !errors.Is(err, ErrNotMember) {
				t.Errorf("%s by d: %v", out, err)
			}
		}
	})
}

func TestALearnerIsReplaced(t *testing.T) {
	inBubble(t, 3, []string{"a", "b", "c", "d", "e"}, func(w *world) {
		a := w.startOthersBeside()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.g.AddMember(ctx, "d", false); err != nil {
			t.Fatal(err)
		}
		if err := a.g.ReplaceMember(ctx, "d", "e"); err != nil {
			t.Fatal(err)
		}
		w.until("d is no member, e is", func() bool {
			var names []string
			for _, m := range a.g.Status().Members {
				names = append(names, m.Name)
			}
			return slices.Equal(names, []string{"a", "b", "c", "e"})
		})
	})
}

// Who leads and is to hand over must not be taken for its successor.
func TestATransferByOneThatKnowsNoLeaderYet(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "1")
		leader, b := w.leader(), w.follower()
		b.stop()
		b.start()
		w.until("it is a member", func() bool { return b.g.member.Load() != nil })
		if n, _ := b.g.Leader(); n != "" {
			t.Fatal("it knows one")
		}
		if err := b.g.Transfer(context.Background(), ""); err != nil {
			t.Error(err)
		}
		if n, _ := b.g.Leader(); n == leader.name {
			t.Error("it leads yet")
		}
	})
}
