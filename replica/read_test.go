package replica

import (
	"context"
	"errors"
	"testing"
	"time"
)

// look reads at a level, and reports whether the function was called.
func (b *box) look(g *Group, level Level) (called bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err = g.Read(ctx, level, func() error { called = true; return nil })
	return called, err
}

func TestNobodyReadsFromAMemberThatHasFailed(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		a.put("x", "1")
		a.want("x", "1") // also fresh for Stale
		_ = a.tryPut(time.Second, "panic", "boom")
		for range 2 { // at once, and when it is known everywhere
			for _, l := range []Level{Eventual, Stale(time.Hour), Linearizable} {
				if called, err := a.look(a.g, l); called || !errors.Is(err, ErrFailed) {
					t.Errorf("level %v: %v, called %v", l, err, called)
				}
			}
			w.until("it has stopped", a.g.isStopped)
		}
	})
}

func TestNobodyReadsFromAMemberThatHasStopped(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		a.put("x", "1")
		g := a.g
		a.stop()
		for _, l := range []Level{Eventual, Stale(time.Hour), Linearizable} {
			if called, err := a.look(g, l); called || !errors.Is(err, ErrStopped) {
				t.Errorf("level %v: %v, called %v", l, err, called)
			}
		}
	})
}

func TestAReadWaitsForTheFirstStateOfAJoiner(t *testing.T) {
	inBubble(t, 3, four, func(w *world) {
		for _, b := range w.boxes {
			b.cfg = func(c *Config) { c.Founders = three }
			b.gcfg = GroupConfig{SnapshotEntries: 10}
		}
		w.names = three
		w.startAll()
		for range 30 {
			w.boxes["a"].put("x", "1")
		}
		w.names = four
		d := w.boxes["d"].start()
		for range 200 {
			called, err := d.look(d.g, Eventual)
			if got := d.kv.get("x"); called && got != "1" {
				t.Fatalf("it was read before there was anything: %q", got)
			}
			if called {
				return
			}
			if !errors.Is(err, ErrNoQuorum) && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		t.Error("never")
	})
}
