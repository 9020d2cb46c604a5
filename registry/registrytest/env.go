package registrytest

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
)

const service = "orders"

// env is what a case works with.
type env struct {
	Engine
	cfg Config
	log *logBuffer
}

func newEnv(t *testing.T, cfg Config) *env {
	e := &env{Engine: cfg.New(t), cfg: cfg, log: &logBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the registries:\n%s", e.log.String())
		}
	})
	return e
}

// registry returns a Registry on a client of its own.
func (e *env) registry(t *testing.T, change ...func(*registry.Config)) (*registry.Registry, *hangable) {
	t.Helper()
	cfg := registry.Config{
		TTL: e.cfg.TTL, RelistEvery: e.cfg.RelistEvery,
		Logger: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	d := &hangable{Registry: e.Open(t), hang: make(chan struct{})}
	r := registry.New(d, cfg)
	t.Cleanup(func() { _ = r.Close() })
	return r, d
}

func closeRegistry(t *testing.T, r *registry.Registry) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Errorf("close registry: %v", err)
	}
}

// longest is how long anything may take in this engine.
func (e *env) longest() time.Duration { return 2*e.cfg.TTL + 2*e.cfg.RelistEvery + e.cfg.Within }

func (e *env) ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e.longest())
	t.Cleanup(cancel)
	return ctx
}

func instance(id string) registry.Instance {
	return registry.Instance{
		Service: service, ID: id, Endpoints: map[string]string{"grpc": "10.0.0.1:1", "http": "10.0.0.1:2"},
		Zone: "here", Version: "1.2", Weight: 3, Metadata: map[string]string{"team": "red"},
	}
}

// announced is a running announcement.
type announced struct {
	*registry.Announcement
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}
	err  error // set before done is closed
}

// announce starts an announcement and, unless the engine is broken, waits until it is registered.
func (e *env) announce(t *testing.T, r *registry.Registry, inst registry.Instance, wait bool) *announced {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := &announced{Announcement: r.Announce(inst), t: t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.err = a.Run(ctx)
	}()
	t.Cleanup(a.end)
	if wait {
		a.registered(e)
	}
	return a
}

func (a *announced) registered(e *env) {
	a.t.Helper()
	select {
	case <-a.Registered():
	case <-e.ctx(a.t).Done():
		a.t.Fatalf("%s: not registered within %v", a.Name(), e.longest())
	}
}

// end stops the announcement and waits for its Run.
func (a *announced) end() {
	a.stop()
	<-a.done
	if a.err != nil {
		a.t.Errorf("%s: Run = %v, want nil", a.Name(), a.err)
	}
}

// follower is a watch that remembers every set it was given.
type follower struct {
	*registry.Watch
	e    *env
	t    *testing.T
	seen []registry.Set
}

func (e *env) watch(t *testing.T, r *registry.Registry) *follower {
	f := &follower{Watch: r.Watch(service), e: e, t: t}
	t.Cleanup(f.Stop)
	return f
}

// until reads sets until one is as wanted, and returns it.
func (f *follower) until(what string, want func(registry.Set) bool) registry.Set {
	f.t.Helper()
	ctx := f.e.ctx(f.t)
	for {
		s, err := f.Next(ctx)
		if err != nil {
			f.t.Fatalf("no set with %s: %v; sets so far:\n%s", what, err, f)
		}
		f.seen = append(f.seen, s)
		if want(s) {
			return s
		}
	}
}

// quiet reads sets for d and returns the last one seen.
func (f *follower) quiet(d time.Duration) registry.Set {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	for {
		s, err := f.Next(ctx)
		if err != nil {
			return f.seen[len(f.seen)-1]
		}
		f.seen = append(f.seen, s)
	}
}

// always fails the test if any set seen lacks one of the ids.
func (f *follower) always(ids ...string) {
	f.t.Helper()
	for _, s := range f.seen {
		for _, id := range ids {
			if !slices.Contains(idsOf(s), id) {
				f.t.Errorf("a set without %q was published; sets:\n%s", id, f)
				return
			}
		}
	}
}

func (f *follower) forget() { f.seen = f.seen[len(f.seen)-1:] }

// String shows the sets seen.
func (f *follower) String() string {
	var b strings.Builder
	for _, s := range f.seen {
		b.WriteString("  " + s.Source.String() + " [" + strings.Join(idsOf(s), " ") + "]")
		if len(s.Suspect) > 0 {
			b.WriteString(" suspect [" + strings.Join(slices.Sorted(maps.Keys(s.Suspect)), " ") + "]")
		}
		if len(s.Unreadable) > 0 {
			b.WriteString(" unreadable [" + strings.Join(s.Unreadable, " ") + "]")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func idsOf(s registry.Set) []string {
	out := make([]string, 0, len(s.Instances))
	for _, inst := range s.Instances {
		out = append(out, inst.ID)
	}
	return out
}

// exactly wants a live set of these instances, none of them a suspect.
func exactly(ids ...string) func(registry.Set) bool {
	return func(s registry.Set) bool {
		return s.Source == registry.Live && len(s.Suspect) == 0 && slices.Equal(idsOf(s), ids)
	}
}

// poll calls f until it is true.
func (e *env) poll(t *testing.T, what string, f func(context.Context) bool) {
	t.Helper()
	ctx := e.ctx(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, e.longest())
		case <-tick.C:
		}
	}
}

// listed reports whether the engine holds exactly these records.
func listed(ctx context.Context, d driver.Registry, ids ...string) bool {
	l, err := d.List(ctx, service)
	if err != nil {
		return false
	}
	got := make([]string, 0, len(l.Records))
	for _, r := range l.Records {
		got = append(got, r.ID)
	}
	slices.Sort(got)
	return slices.Equal(got, ids)
}

// hangable is a driver whose open watches can be made to hang without an error.
type hangable struct {
	driver.Registry
	mu   sync.Mutex
	hang chan struct{} // closed for the watches that hang
}

func (h *hangable) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	h.mu.Lock()
	hang := h.hang
	h.mu.Unlock()
	w, err := h.Registry.Watch(ctx, service, after)
	if err != nil {
		return nil, err
	}
	return &hangableWatcher{Watcher: w, hang: hang}, nil
}

// hangWatches silences all open watches; later ones work.
func (h *hangable) hangWatches() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.hang)
	h.hang = make(chan struct{})
}

type hangableWatcher struct {
	driver.Watcher
	hang chan struct{}
}

func (w *hangableWatcher) Next(ctx context.Context) (driver.Update, error) {
	type result struct {
		u   driver.Update
		err error
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	got := make(chan result, 1)
	go func() {
		u, err := w.Watcher.Next(inner)
		got <- result{u, err}
	}()
	select {
	case <-w.hang:
		cancel()
		<-got
		<-ctx.Done()
		return driver.Update{}, ctx.Err()
	case r := <-got:
		return r.u, r.err
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
