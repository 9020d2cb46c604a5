package configtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/driver"
)

const prefix = "limits/"

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
			t.Logf("log of the stores:\n%s", e.log.String())
		}
	})
	return e
}

// store returns a Store on a client of its own.
func (e *env) store(t *testing.T, change ...func(*config.Config)) (*config.Store, *hangable) {
	t.Helper()
	cfg := config.Config{
		RelistEvery: e.cfg.RelistEvery,
		Logger:      slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	d := &hangable{Store: e.Open(t), hang: make(chan struct{})}
	s := config.New(d, cfg)
	t.Cleanup(func() { _ = s.Close() })
	return s, d
}

// longest is how long anything may take in this engine.
func (e *env) longest() time.Duration { return 2*e.cfg.RelistEvery + e.cfg.Within }

func (e *env) ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e.longest())
	t.Cleanup(cancel)
	return ctx
}

func (e *env) put(t *testing.T, d driver.Store, key, value string) uint64 {
	t.Helper()
	revision, err := d.Put(e.ctx(t), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	if revision == 0 {
		t.Errorf("put %s: revision 0", key)
	}
	return revision
}

func (e *env) remove(t *testing.T, d driver.Store, key string) {
	t.Helper()
	found, err := d.Delete(e.ctx(t), key)
	if err != nil || !found {
		t.Fatalf("delete %s: %v, %v; want true", key, found, err)
	}
}

func (e *env) list(t *testing.T, d driver.Store) driver.Listing {
	t.Helper()
	l, err := d.List(e.ctx(t), prefix)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(l.Entries, func(a, b driver.Entry) int { return strings.Compare(a.Key, b.Key) })
	return l
}

var errBad = errors.New("a value that begins with bad is bad")

// validate is the decoder of the suite.
func validate(_ string, value []byte) (string, error) {
	if bytes.HasPrefix(value, []byte("bad")) {
		return "", errBad
	}
	return string(value), nil
}

// follower is a watch that remembers every set it was given.
type follower struct {
	*config.Watch[string]
	e    *env
	t    *testing.T
	seen []config.Set[string]
}

func (e *env) follow(t *testing.T, s *config.Store) *follower {
	f := &follower{Watch: config.Follow(s, prefix, validate), e: e, t: t}
	t.Cleanup(f.Stop)
	return f
}

// until reads sets until one is as wanted, and returns it.
func (f *follower) until(what string, want func(config.Set[string]) bool) config.Set[string] {
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
func (f *follower) quiet(d time.Duration) config.Set[string] {
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

// String shows the sets seen.
func (f *follower) String() string {
	var b strings.Builder
	for _, s := range f.seen {
		fmt.Fprintf(&b, "  %s %s\n", s.Source, render(s))
	}
	return b.String()
}

// render is "KEY=VALUE…" of a set, with "?" for what is kept and "!" for what is refused.
func render(s config.Set[string]) string {
	words := make([]string, 0, len(s.Settings))
	for key, setting := range s.Settings {
		word := strings.TrimPrefix(key, prefix)
		if setting.InForce {
			word += "=" + setting.Value
		}
		if setting.Kept {
			word += "?"
		}
		if setting.Refused != nil {
			word += "!"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// is wants a set of that source, rendered so.
func is(source config.Source, want string) func(config.Set[string]) bool {
	return func(s config.Set[string]) bool { return s.Source == source && render(s) == want }
}

// hangable is a driver whose open watches can be made to hang without an error.
type hangable struct {
	driver.Store
	mu   sync.Mutex
	hang chan struct{} // closed for the watches that hang
}

func (h *hangable) Watch(ctx context.Context, prefix string, after uint64) (driver.Watcher, error) {
	h.mu.Lock()
	hang := h.hang
	h.mu.Unlock()
	w, err := h.Store.Watch(ctx, prefix, after)
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
