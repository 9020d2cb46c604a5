package locktest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/driver"
)

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
			t.Logf("log of the lockers:\n%s", e.log.String())
		}
	})
	d, _ := e.Open(t)
	ctx := e.ctx(t)
	for { // on a busy machine a call may take too long
		epoch, err := d.Epoch(ctx)
		if err == nil {
			err = d.Settle(ctx, epoch.ID)
		}
		if err == nil {
			return e
		}
		select {
		case <-ctx.Done():
			t.Fatalf("settle: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// client is a Locker with a way of its own to the engine.
type client struct {
	*lock.Locker
	Link
	d *spy
}

func (e *env) client(t *testing.T, name string) *client { return e.lasting(t, name, e.cfg.TTL) }

// lasting returns one with another TTL than the suite's.
func (e *env) lasting(t *testing.T, name string, ttl time.Duration) *client {
	t.Helper()
	d, link := e.Open(t)
	c := &client{Link: link, d: &spy{Engine: d}}
	c.Locker = lock.New(c.d, lock.Config{
		TTL: ttl, Name: name,
		Logger: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("client", name),
	})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	})
	return c
}

// spy remembers the last session that was opened, and how many tickets were entered.
type spy struct {
	driver.Engine
	mu      sync.Mutex
	last    driver.Session
	tickets map[string]int
}

func (s *spy) Open(ctx context.Context, ttl time.Duration, holder string) (driver.Session, error) {
	d, err := s.Engine.Open(ctx, ttl, holder)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = spied{d, s}
	return s.last, nil
}

// entered returns how many tickets were entered for a lock.
func (s *spy) entered(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tickets[name]
}

type spied struct {
	driver.Session
	s *spy
}

func (s spied) Enter(ctx context.Context, name, ticket, value string) error {
	err := s.Session.Enter(ctx, name, ticket, value)
	if err == nil {
		s.s.mu.Lock()
		defer s.s.mu.Unlock()
		if s.s.tickets == nil {
			s.s.tickets = make(map[string]int)
		}
		s.s.tickets[name]++
	}
	return err
}

func (s *spy) session() driver.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// longest is how long anything may take in this engine.
func (e *env) longest() time.Duration { return 2*e.cfg.TTL + e.cfg.Grants + e.cfg.Within }

// promptly is the bound on what does not wait for a session to expire: one that does takes longer.
func (e *env) promptly() time.Duration { return e.cfg.TTL * 2 / 3 }

func (e *env) ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e.longest())
	t.Cleanup(cancel)
	return ctx
}

// lock returns a hold.
func (e *env) lock(t *testing.T, c *client, name string) *lock.Held {
	t.Helper()
	h, err := c.Mutex(name).Lock(e.ctx(t))
	if err != nil {
		t.Fatalf("lock %s: %v", name, err)
	}
	if h.Context().Err() != nil || h.Token() == 0 {
		t.Fatalf("lock %s: hold with token %d and %v", name, h.Token(), h.Context().Err())
	}
	return h
}

func (e *env) unlock(t *testing.T, h *lock.Held) {
	t.Helper()
	if err := h.Unlock(e.ctx(t)); err != nil {
		t.Errorf("unlock: %v", err)
	}
	if h.Context().Err() == nil || !errors.Is(context.Cause(h.Context()), lock.ErrUnlocked) {
		t.Errorf("after Unlock the context has %v", context.Cause(h.Context()))
	}
}

// waiting is a Lock that is under way.
type waiting struct {
	t    *testing.T
	e    *env
	stop context.CancelFunc
	done chan struct{}
	h    *lock.Held
	err  error
}

// want starts a Lock.
func (e *env) want(t *testing.T, c *client, name string) *waiting {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &waiting{t: t, e: e, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.h, w.err = c.Mutex(name).Lock(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-w.done
	})
	return w
}

// queued starts a Lock and returns when it has its place in the queue.
func (e *env) queued(t *testing.T, c *client, name string) *waiting {
	t.Helper()
	before := c.d.entered(name)
	w := e.want(t, c, name)
	e.until(t, "a place in the queue", func() bool { return c.d.entered(name) > before })
	return w
}

// granted waits for the hold.
func (w *waiting) granted() *lock.Held {
	w.t.Helper()
	select {
	case <-w.done:
	case <-w.e.ctx(w.t).Done():
		w.t.Fatalf("not granted within %v", w.e.longest())
	}
	if w.err != nil {
		w.t.Fatalf("not granted: %v", w.err)
	}
	return w.h
}

func (w *waiting) waits() bool {
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

// until polls.
func (e *env) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx := e.ctx(t)
	tick := time.NewTicker(min(e.cfg.TTL/100, 20*time.Millisecond))
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, e.longest())
		}
	}
}

// ended waits until a hold's context has ended, and says why.
func (e *env) ended(t *testing.T, h *lock.Held) error {
	t.Helper()
	select {
	case <-h.Context().Done():
	case <-e.ctx(t).Done():
		t.Fatalf("the context did not end within %v", e.longest())
	}
	return context.Cause(h.Context())
}

// after checks what must hold when next is granted although old was not given back.
func (e *env) after(t *testing.T, old, next *lock.Held) {
	t.Helper()
	if old.Context().Err() == nil {
		t.Error("two hold the lock")
	}
	if next.Token() <= old.Token() {
		t.Errorf("the token went from %d to %d", old.Token(), next.Token())
	}
	if err := old.Unlock(e.ctx(t)); !errors.Is(err, lock.ErrLost) {
		t.Errorf("Unlock of what was lost = %v", err)
	}
	if next.Context().Err() != nil {
		t.Errorf("the new hold ended with the old one's Unlock: %v", context.Cause(next.Context()))
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
