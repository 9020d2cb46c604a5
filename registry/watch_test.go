package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// TestWatchesShareOneSubscription: a hundred watches of a service cost the engine what one does.
func TestWatchesShareOneSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		r := registry.New(d, registry.Config{})
		var watches []*registry.Watch
		for range 100 {
			w := r.Watch("orders")
			if _, err := w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			watches = append(watches, w)
		}
		synctest.Wait()
		if l, w := d.lists.Load(), d.watches.Load(); l != 1 || w != 1 {
			t.Errorf("%d lists and %d watches, want one each", l, w)
		}
		for _, w := range watches {
			w.Stop()
			w.Stop()
		}
		<-time.After(time.Hour)
		if l := d.lists.Load(); l != 1 {
			t.Errorf("%d lists after the last watch was stopped", l)
		}
		r.Close()
	})
}

// TestWatchNeverGivesUp: an hour without the engine, with a bounded number of tries; then it is live within moments.
func TestWatchNeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		d.Down()
		var log syncBuffer
		r := registry.New(d, registry.Config{Logger: logTo(&log)})
		defer r.Close()
		w := r.Watch("orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := w.Next(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "registry down") {
			t.Errorf("Next = %v, want the deadline and the engine's error", err)
		}
		if n := d.lists.Load(); n < 1800 || n > 7200 {
			t.Errorf("%d tries in an hour", n)
		}
		if n := strings.Count(log.String(), "does not answer"); n != 1 {
			t.Errorf("an outage was logged %d times", n)
		}
		d.Up()
		start := time.Now()
		s, err := w.Next(t.Context())
		if err != nil || s.Source != registry.Live || time.Since(start) > 2*time.Second {
			t.Errorf("%v set, %v, %v after the return", s.Source, err, time.Since(start))
		}
	})
}

// TestRelistIsSpread: watches that began together do not list together for ever.
func TestRelistIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		w := registry.New(d, registry.Config{}).Watch("orders")
		defer w.Stop()
		times := make(map[time.Duration]bool)
		start := time.Now()
		const lists = 20
		for last := int64(0); last < lists; {
			if n := d.lists.Load(); n > last {
				last = n
				times[time.Since(start)%(30*time.Second)] = true
			}
			<-time.After(100 * time.Millisecond)
		}
		if len(times) < lists/2 { // by chance two are at the same time now and then
			t.Errorf("%d lists at %d times", lists, len(times))
		}
		if took := time.Since(start); took < (lists-1)*24*time.Second || took > lists*36*time.Second {
			t.Errorf("%d lists in %v, want one in 30 s ±20 %%", lists, took)
		}
	})
}

func TestWatchMisuse(t *testing.T) {
	r := registry.New(memregistry.New(), registry.Config{})
	defer r.Close()
	for _, name := range []string{"", "a/b", "-a", ".json", strings.Repeat("x", 129), "Ünicode"} {
		w := r.Watch(name)
		if _, err := w.Next(t.Context()); err == nil {
			t.Errorf("Watch(%q) was accepted", name)
		}
		w.Unreachable("1")
		w.Stop()
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	d := memregistry.New()
	r := registry.New(d, registry.Config{CacheDir: t.TempDir(), TTL: time.Second, RelistEvery: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for _, id := range []string{"1", "2", "3", "4"} {
		a := r.Announce(orders(id))
		wg.Go(func() {
			if err := a.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_ = a.Update(func(inst *registry.Instance) { inst.Weight = i })
				d.ExpireLease("orders", id)
				d.Corrupt("orders", "bad")
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				w := r.Watch("orders")
				for range 5 {
					s, err := w.Next(ctx)
					if err != nil {
						break
					}
					if !slices.IsSortedFunc(s.Instances, func(a, b registry.Instance) int { return strings.Compare(a.ID, b.ID) }) {
						t.Error("not sorted")
					}
					w.Unreachable(id)
				}
				w.Stop()
			}
		})
	}
	wg.Wait()
	r.Close()
}
