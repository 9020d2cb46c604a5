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
