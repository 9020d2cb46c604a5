package registry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// counted counts the calls that reach a driver, and can make registering slow.
type counted struct {
	*memregistry.Driver
	lists, watches, registers atomic.Int64
	slow                      time.Duration
}

func newCounted() *counted { return &counted{Driver: memregistry.New()} }

func (c *counted) List(ctx context.Context, service string) (driver.Listing, error) {
	c.lists.Add(1)
	return c.Driver.List(ctx, service)
}

func (c *counted) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	c.watches.Add(1)
	return c.Driver.Watch(ctx, service, after)
}

func (c *counted) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	c.registers.Add(1)
	if c.slow > 0 {
		select {
		case <-time.After(c.slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c.Driver.Register(ctx, rec, ttl, takeOver)
}

func orders(id string) registry.Instance {
	return registry.Instance{Service: "orders", ID: id, Endpoints: map[string]string{"grpc": "10.0.0.1:1"}}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func logTo(b *syncBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// run starts an announcement; stop ends it and returns what Run returned and how long that took.
func run(a *registry.Announcement) (stop func() (error, time.Duration)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() (error, time.Duration) {
		start := time.Now()
		cancel()
		return <-done, time.Since(start)
	}
}

// TestAnnounceNeverGivesUp: after an hour without the engine, registration comes within moments of its return, and
// the tries in between were neither too many nor in step.
func TestAnnounceNeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		d.Down()
		var log syncBuffer
		r := registry.New(d, registry.Config{Logger: logTo(&log)})
		a := r.Announce(orders("1"))
		stop := run(a)
		<-time.After(time.Hour)
		if n := d.registers.Load(); n < 1800 || n > 7200 {
			t.Errorf("%d tries in an hour", n)
		}
		if n := strings.Count(log.String(), "registration failed"); n != 1 {
			t.Errorf("an outage was logged %d times", n)
		}
		d.Up()
		start := time.Now()
		<-a.Registered()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("registered %v after the return", took)
		}
		if err, took := stop(); err != nil || took > 2*time.Second {
			t.Errorf("Run ended with %v after %v", err, took)
		}
	})
}

// TestAnnounceEndIsBounded: a frozen engine holds up the end of a process for two seconds at most.
func TestAnnounceEndIsBounded(t *testing.T) {
	for name, registered := range map[string]bool{"registered": true, "registering": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := memregistry.New()
				a := registry.New(d, registry.Config{}).Announce(orders("1"))
				if registered {
					stop := run(a)
					<-a.Registered()
					d.Freeze()
					drainStart := time.Now()
					if err := a.Drain(t.Context()); err == nil || time.Since(drainStart) > 2*time.Second {
						t.Errorf("Drain on a frozen engine = %v after %v", err, time.Since(drainStart))
					}
					if err, took := stop(); err != nil || took > 2*time.Second {
						t.Errorf("Run ended with %v after %v", err, took)
					}
					return
				}
				d.Freeze()
				stop := run(a)
				synctest.Wait()
				if err, took := stop(); err != nil || took > 2*time.Second {
					t.Errorf("Run ended with %v after %v", err, took)
				}
			})
		})
	}
}

// TestAnnounceEndDuringRegistration: a registration that is under way when the process ends is not left behind.
func TestAnnounceEndDuringRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		d.slow = 500 * time.Millisecond
		stop := run(registry.New(d, registry.Config{}).Announce(orders("1")))
		<-time.After(100 * time.Millisecond)
		if err, took := stop(); err != nil || took > 2*time.Second {
			t.Errorf("Run ended with %v after %v", err, took)
		}
		if l, err := d.Driver.List(t.Context(), "orders"); err != nil || len(l.Records) != 0 || l.Revision == 0 {
			t.Errorf("left behind: %+v, %v", l, err)
		}
	})
}

// TestAnnounceFrequentUpdates: updates do not keep the lease from being renewed.
func TestAnnounceFrequentUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		a := registry.New(d, registry.Config{}).Announce(orders("1"))
		stop := run(a)
		defer stop()
		<-a.Registered()
		for i := range 60 {
			if err := a.Update(func(inst *registry.Instance) { inst.Weight = i }); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
		}
		if n := d.registers.Load(); n != 1 {
			t.Errorf("registered %d times, want once", n)
		}
	})
}

func TestAnnounceMisuse(t *testing.T) {
	r := registry.New(memregistry.New(), registry.Config{})
	err := r.Announce(registry.Instance{Service: "a/b", ID: "x/y", Weight: -1, Endpoints: map[string]string{"grpc": ":0"}}).Run(t.Context())
	for _, want := range []string{`"a/b"`, `"x/y"`, `":0"`, "weight -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s: %v", want, err)
		}
	}
	a := r.Announce(orders("1"))
	if err := a.Drain(t.Context()); err != nil {
		t.Errorf("Drain before Run = %v", err)
	}
	stop := run(a)
	<-a.Registered()
	if err := a.Run(t.Context()); err == nil {
		t.Error("a second Run was accepted")
	}
	if err := a.Update(func(i *registry.Instance) { i.Endpoints = nil }); err == nil {
		t.Error("an update without endpoints was accepted")
	}
	if err, _ := stop(); err != nil {
		t.Error(err)
	}
}

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
		for last := int64(0); len(times) < 20; {
			if n := d.lists.Load(); n > last {
				last = n
				times[time.Since(start)%(30*time.Second)] = true
			}
			<-time.After(100 * time.Millisecond)
		}
		if took := time.Since(start); took < 20*24*time.Second-30*time.Second || took > 20*36*time.Second {
			t.Errorf("20 lists in %v, want one in 30 s ±20 %%", took)
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

// TestColdStartPrefersTheEngine: the disk copy waits half a second for the engine, and no longer.
func TestColdStartPrefersTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := memregistry.New()
		if _, err := d.Register(t.Context(), driver.Record{Instance: orders("1")}, time.Hour, true); err != nil {
			t.Fatal(err)
		}
		cold := func() (registry.Set, time.Duration) {
			r := registry.New(d, registry.Config{CacheDir: dir})
			defer r.Close()
			start := time.Now()
			s, err := r.Watch("orders").Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s, time.Since(start)
		}
		if s, took := cold(); s.Source != registry.Live || took > 0 {
			t.Errorf("first start: %v after %v", s.Source, took)
		}
		if s, took := cold(); s.Source != registry.Live || took > 0 {
			t.Errorf("second start, with a copy on disk: %v after %v", s.Source, took)
		}
		d.Freeze()
		if s, took := cold(); s.Source != registry.Disk || len(s.Instances) != 1 || took != 500*time.Millisecond {
			t.Errorf("start with a frozen engine: %v %v after %v", s.Source, s.Instances, took)
		}
		d.Thaw()
		d.Down()
		if s, took := cold(); s.Source != registry.Disk || len(s.Instances) != 1 || took > 0 {
			t.Errorf("start with a dead engine: %v %v after %v", s.Source, s.Instances, took)
		}
	})
}

// TestColdStartFromGarbage: a file that is not ours is ignored and mentioned in the log, and replaced by a good one.
func TestColdStartFromGarbage(t *testing.T) {
	for name, content := range map[string]string{
		"garbage":      "\x00\x01garbage",
		"empty":        "",
		"cut off":      `{"version":1,"service":"orders","instances":[{"id":"1"`,
		"wrong kind":   `[1,2,3]`,
		"other":        `{"version":1,"service":"payment","saved":"2100-01-01T00:00:00Z","instances":[]}`,
		"future":       `{"version":9,"service":"orders","instances":[]}`,
		"old":          `{"version":1,"service":"orders","saved":"1999-01-01T00:00:00Z","instances":[]}`,
		"no address":   `{"version":1,"service":"orders","saved":"2100-01-01T00:00:00Z","instances":[{"id":"1","endpoints":{"grpc":""}}]}`,
		"no id":        `{"version":1,"service":"orders","saved":"2100-01-01T00:00:00Z","instances":[{"endpoints":{"grpc":"h:1"}}]}`,
		"deep nesting": strings.Repeat("[", 1<<20),
		"too large":    `{"version":1,"service":"orders","x":"` + strings.Repeat("x", 9<<20) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "orders.json")
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				var log syncBuffer
				d := memregistry.New()
				d.Down()
				r := registry.New(d, registry.Config{CacheDir: dir, Logger: logTo(&log)})
				w := r.Watch("orders")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if s, err := w.Next(ctx); err == nil {
					t.Errorf("garbage became %+v", s)
				}
				if n := strings.Count(log.String(), "disk copy of the registry ignored"); n != 1 {
					t.Errorf("logged %d times", n)
				}
				d.Up()
				if s, err := w.Next(t.Context()); err != nil || s.Source != registry.Live {
					t.Errorf("%v, %v", s.Source, err)
				}
				r.Close()
				if b, err := os.ReadFile(file); err != nil || !bytes.Contains(b, []byte(`"service": "orders"`)) {
					t.Errorf("file afterwards: %.100s, %v", b, err)
				}
			})
		})
	}
}

// TestDiskCopyIsQuiet: what changes all the time is written once a second, and what does not is left alone.
func TestDiskCopyIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		stale := filepath.Join(dir, ".orders.json.123")
		if err := os.WriteFile(stale, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(stale, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		d := memregistry.New()
		r := registry.New(d, registry.Config{CacheDir: dir})
		defer r.Close()
		w := r.Watch("orders")
		file := filepath.Join(dir, "orders.json")
		// os.Rename makes a new file each time.
		writes := 0
		var last os.FileInfo
		look := func() {
			info, err := os.Stat(file)
			if err == nil && (last == nil || !os.SameFile(last, info)) {
				writes++
				last = info
			}
		}
		for i := range 50 { // for 5 s
			rec := driver.Record{Instance: orders("1")}
			rec.Weight = i
			if _, err := d.Register(t.Context(), rec, time.Hour, true); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-time.After(100 * time.Millisecond)
			synctest.Wait()
			look()
		}
		if writes < 3 || writes > 7 {
			t.Errorf("%d writes in 5 s of changes", writes)
		}
		<-time.After(2 * time.Second)
		look()
		before := writes
		for range 30 {
			<-time.After(time.Minute)
			look()
		}
		if writes != before {
			t.Errorf("%d writes in half an hour without a change", writes-before)
		}
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 1 {
			t.Errorf("files: %v, %v; want one", names, err)
		}
	})
}

// TestDiskCopyNotWritable: a disk that cannot be written to is mentioned and takes nothing away.
func TestDiskCopyNotWritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notADir := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(notADir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var log syncBuffer
		d := memregistry.New()
		if _, err := d.Register(t.Context(), driver.Record{Instance: orders("1")}, time.Hour, true); err != nil {
			t.Fatal(err)
		}
		r := registry.New(d, registry.Config{CacheDir: notADir, Logger: logTo(&log)})
		s, err := r.Watch("orders").Next(t.Context())
		if err != nil || len(s.Instances) != 1 {
			t.Errorf("%v, %v", s.Instances, err)
		}
		r.Close()
		if !strings.Contains(log.String(), "not written") {
			t.Errorf("not mentioned:\n%s", log.String())
		}
	})
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
