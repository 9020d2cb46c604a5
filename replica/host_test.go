package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

var (
	three = []string{"a", "b", "c"}
	four  = []string{"a", "b", "c", "d"}
)

func TestThreeFoundAndAgree(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "1")
		w.boxes["b"].put("y", "2")
		w.boxes["c"].put("x", "3")
		for _, n := range three {
			w.boxes[n].want("x", "3")
			w.boxes[n].want("y", "2")
			<-w.boxes[n].g.Ready()
		}
	})
}

func TestOneAlone(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		a.put("x", "1")
		a.want("x", "1")
		a.kill()
		a.start()
		a.want("x", "1")
	})
}

func TestTheMachinesErrorIsTheAnswer(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		_, err := a.g.Propose(context.Background(), []byte("nonsense"))
		var f *failure.Error
		if !errors.As(err, &f) || f.Reason != "SYNTAX" || f.Code != failure.InvalidArgument {
			t.Errorf("got %v", err)
		}
		if _, err := a.g.Propose(context.Background(), make([]byte, DefaultMaxCommand+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLeaderKilledUnderWriters(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		lead := w.leader()
		done := make(chan int)
		for i := range 8 {
			b := w.boxes[three[i%3]]
			if b == lead {
				b = w.boxes[three[(i+1)%3]]
				if b == lead {
					b = w.boxes[three[(i+2)%3]]
				}
			}
			go func() {
				for n := range 50 {
					b.put(fmt.Sprintf("k%d.%d", i, n), "v")
				}
				done <- i
			}()
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // in virtual time: some of it is written
		lead.kill()
		for range 8 {
			<-done
		}
		began := time.Now()
		next := w.leader()
		if next == lead {
			t.Fatal("the dead one leads")
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("a new leader after %v", took)
		}
		lead.start()
		lead.get("")
		for i := range 8 {
			for n := range 50 {
				key := fmt.Sprintf("k%d.%d", i, n)
				for _, b := range w.boxes {
					w.until(key+" at "+b.name, func() bool { return b.kv.count(key) > 0 })
					if got := b.kv.count(key); got != 1 {
						t.Errorf("%s: %s was applied %d times", b.name, key, got)
					}
				}
			}
		}
	})
}

func TestAllKilledLoseNothing(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		for i := range 20 {
			w.boxes[three[i%3]].put(fmt.Sprint(i), "v")
		}
		for _, b := range w.boxes {
			b.kill()
			b.fs.Crash()
		}
		w.startAll()
		for i := range 20 {
			w.boxes[three[i%3]].want(fmt.Sprint(i), "v")
		}
	})
}

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

func TestDrainHandsOver(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		lead := w.leader()
		lead.put("x", "0")
		stop, gap := make(chan struct{}), make(chan time.Duration)
		go func() {
			longest := time.Duration(0)
			for i := 0; ; i++ {
				began := time.Now()
				lead.put("x", fmt.Sprint(i))
				longest = max(longest, time.Since(began))
				select {
				case <-stop:
					gap <- longest
					return
				default:
					time.Sleep(time.Millisecond) //nolint:forbidigo // in virtual time
				}
			}
		}()
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in virtual time
		if err := lead.host.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if _, self := lead.g.Leader(); self {
			t.Error("it still leads")
		}
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in virtual time
		close(stop)
		if longest := <-gap; longest > 50*time.Millisecond {
			t.Errorf("a proposal took %v", longest)
		}
		if next := w.leader(); next == lead {
			t.Error("it leads again")
		}
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

func TestSnapshotBringsTheLateUp(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		for _, b := range w.boxes {
			b.gcfg = GroupConfig{SnapshotEntries: 50, SnapshotBytes: 16 << 10}
		}
		w.startAll()
		a := w.leader()
		a.put("x", "1")
		late := w.boxes["a"]
		if late == a {
			late = w.boxes["b"]
		}
		late.kill()
		for i := range 300 {
			a.put(fmt.Sprint(i), strings.Repeat("v", 200))
		}
		if s := a.g.Status(); s.Snapshots == 0 {
			t.Errorf("no snapshot: %+v", s)
		}
		late.start()
		late.want("299", strings.Repeat("v", 200))
		late.stop()
		late.start()
		late.want("0", strings.Repeat("v", 200))
	})
}

func TestOnceIsOnceWhereverAndWhenever(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		for i := range 3 {
			w.boxes[three[i]].put("x", fmt.Sprint(i), Once("key"))
		}
		for _, b := range w.boxes {
			b.stop()
		}
		w.startAll()
		w.boxes["b"].put("x", "again", Once("key"))
		w.boxes["b"].want("x", "0")
		if n := w.boxes["b"].kv.count("x"); n != 1 {
			t.Errorf("applied %d times", n)
		}
	})
}

func TestStaleAndEventualWithoutQuorum(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		a := w.boxes["a"]
		a.put("x", "1")
		a.want("x", "1")
		w.boxes["b"].kill()
		w.boxes["c"].kill()
		read := func(l Level) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return a.g.Read(ctx, l, func() error { return nil })
		}
		if err := read(Stale(10 * time.Second)); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // in virtual time
		if err := read(Stale(time.Second)); !errors.Is(err, ErrNoQuorum) {
			t.Errorf("got %v", err)
		}
		if err := read(Eventual); err != nil {
			t.Error(err)
		}
	})
}

func TestAPanicEndsTheMember(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		a.put("x", "1")
		err := a.tryPut(time.Second, "panic", "boom")
		if err == nil {
			t.Fatal("no error")
		}
		w.until("it has failed", func() bool { return a.g.Status().Role == Failed })
		if err := a.tryPut(time.Second, "x", "2"); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "boom") {
			t.Errorf("got %v", err)
		}
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

func TestTheDiskFails(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		lead := w.leader()
		lead.put("x", "1")
		broken := errors.New("input/output error")
		lead.fs.Inject(func(op disk.Op) error {
			if op.Kind == disk.OpSync {
				return broken
			}
			return nil
		})
		err := lead.tryPut(5*time.Second, "x", "2")
		if !errors.Is(err, ErrFailed) {
			t.Errorf("got %v", err)
		}
		if err := <-lead.done; err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("Run: %v", err)
		}
		lead.host = nil
		w.any().put("x", "3")
		w.any().want("x", "3")
	})
}

func TestGroupsShareAHost(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "1")
		more := make(map[string][]*Group)
		for n, b := range w.boxes {
			for i := range 5 {
				g, err := b.host.Group(fmt.Sprint("more ", i), newRegister(), GroupConfig{})
				if err != nil {
					t.Fatal(err)
				}
				more[n] = append(more[n], g)
			}
			if _, err := b.host.Group("kv", newRegister(), GroupConfig{}); err == nil {
				t.Error("a group was made twice")
			}
		}
		for i := range 5 {
			if _, err := more["b"][i].Propose(context.Background(), []byte("x=2")); err != nil {
				t.Error(err)
			}
		}
		if n := len(w.boxes["c"].host.Groups()); n != 6 {
			t.Errorf("there are %d groups", n)
		}
		w.boxes["c"].want("x", "1")
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

func TestALeaderThatIsBackAtOnceIsNoticed(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		for _, b := range w.boxes {
			b.cfg = func(c *Config) { c.Election = time.Second }
		}
		w.startAll()
		lead := w.leader()
		lead.put("x", "1")
		lead.kill()
		lead.start()
		began := time.Now()
		w.any().put("x", "2")
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("a proposal took %v", took)
		}
	})
}
