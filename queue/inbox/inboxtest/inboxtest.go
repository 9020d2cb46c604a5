// Package inboxtest is the suite that every queue.Inbox must pass.
package inboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
)

// Config says how an inbox is tested.
type Config struct {
	// Open returns an inbox, and another one on the same marks, as another instance would open it. Both wait at least
	// a second, or come back at once, while a message is handled by the other.
	Open func(t *testing.T) (a, b queue.Inbox)
	// Around runs each test, such as synctest.Test does. nil: they are run as they are.
	Around func(t *testing.T, test func(*testing.T))
	// Effect, if not nil, is what the handler does to the store through its ctx: it counts up what it finds under name. Count
	// returns what is there. Then effects are checked to be exactly once, and gone with an error of the handler's.
	Effect func(ctx context.Context, name string) error
	Count  func(t *testing.T, name string) int
	// Commits: Effect is committed by itself, together with the mark, and not undone by what the handler returns afterwards. The
	// handler fails before it then.
	Commits bool
	// Forget, if not nil, makes it later than Keep and has the inbox cleaned, so that what was marked is not any more.
	Forget func(t *testing.T)
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, Config)
	}{
		{"AMessageIsHandledOnce", handledOnce},
		{"WhatFailedIsHandledAgain", failedAgain},
		{"APanicIsAFailure", panicked},
		{"ScopesAndIDsAreApart", apart},
		{"TextIsAnyText", anyText},
		{"OfManyOneHandles", oneOfMany},
		{"OfManyThatFailNoneCounts", manyFail},
		{"OneThatIsUnderWayHoldsOthersUp", underWay},
		{"ACallEndsWithItsContext", callEnds},
		{"MarksAreForgotten", forgotten},
	} {
		t.Run(c.name, func(t *testing.T) {
			if cfg.Around == nil {
				c.test(t, cfg)
				return
			}
			cfg.Around(t, func(t *testing.T) { c.test(t, cfg) })
		})
	}
}

var unique atomic.Int64

// names returns a scope and an ID that are those of this test alone, so that a store may be shared.
func names(t *testing.T) (scope, id string) {
	return "topic/" + t.Name(), fmt.Sprintf("source/%d-%d", time.Now().UnixNano(), unique.Add(1))
}

// handler counts its runs, and has the effect if there is one to have.
type handler struct {
	cfg  Config
	runs atomic.Int64
	err  error
	name string
}

func (h *handler) run(ctx context.Context) error {
	h.runs.Add(1)
	if h.cfg.Commits && h.err != nil {
		return h.err
	}
	if h.cfg.Effect != nil {
		if err := h.cfg.Effect(ctx, h.name); err != nil {
			return err
		}
	}
	return h.err
}

// want checks how often it ran and, where that is known, had its effect.
func (h *handler) want(t *testing.T, runs, effects int) {
	t.Helper()
	if n := h.runs.Load(); n != int64(runs) {
		t.Errorf("handled %d times, want %d", n, runs)
	}
	h.wantEffects(t, effects)
}

func (h *handler) wantEffects(t *testing.T, effects int) {
	t.Helper()
	if h.cfg.Count != nil {
		if n := h.cfg.Count(t, h.name); n != effects {
			t.Errorf("%d effects, want %d", n, effects)
		}
	}
}

var errHandler = failure.New(failure.Unavailable, "the handler failed")

func handledOnce(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id}
	for _, in := range []queue.Inbox{a, a, b} {
		if err := in.Once(t.Context(), scope, id, h.run); err != nil {
			t.Fatal(err)
		}
	}
	h.want(t, 1, 1)
}

func failedAgain(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id, err: errHandler}
	for _, in := range []queue.Inbox{a, b} {
		if err := in.Once(t.Context(), scope, id, h.run); !errors.Is(err, errHandler) {
			t.Fatalf("error %v, want the handler's", err)
		}
	}
	h.want(t, 2, 0)
	h.err = nil
	for _, in := range []queue.Inbox{b, a} {
		if err := in.Once(t.Context(), scope, id, h.run); err != nil {
			t.Fatal(err)
		}
	}
	h.want(t, 3, 1)
}

func panicked(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id}
	func() {
		defer func() {
			if p := recover(); p != "oops" {
				t.Errorf("recovered %v, want the handler's panic", p)
			}
		}()
		_ = a.Once(t.Context(), scope, id, func(ctx context.Context) error {
			if !cfg.Commits {
				_ = h.run(ctx)
			}
			panic("oops")
		})
	}()
	runs := int(h.runs.Load())
	h.want(t, runs, 0)
	if err := b.Once(t.Context(), scope, id, h.run); err != nil {
		t.Fatal(err)
	}
	h.want(t, runs+1, 1)
}

func apart(t *testing.T, cfg Config) {
	a, _ := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id}
	for _, k := range [][2]string{{scope, id}, {scope + "2", id}, {scope, id + "2"}, {scope + id, ""}, {scope, id}} {
		if err := a.Once(t.Context(), k[0], k[1], h.run); err != nil {
			t.Fatal(err)
		}
	}
	h.want(t, 4, 4)
}

func anyText(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id}
	long := make([]byte, 515)
	for i := range long {
		long[i] = 'a'
	}
	texts := []string{"", " ", "'; --", "%s\\", "grüße 世界 🌊", "a\x00b", "a\x00c", string(long), string(long[:514]) + "b"}
	for range 2 {
		for _, text := range texts {
			for _, in := range []queue.Inbox{a, b} {
				if err := in.Once(t.Context(), scope, text, h.run); err != nil {
					t.Fatalf("%.20q: %v", text, err)
				}
			}
		}
	}
	h.want(t, len(texts), len(texts))
}

// until calls Once as a subscription does: again while the answer is to come later.
func until(ctx context.Context, in queue.Inbox, scope, id string, run func(ctx context.Context) error) error {
	for {
		err := in.Once(ctx, scope, id, run)
		if failure.CodeOf(err) != failure.Aborted || errors.Is(err, errHandler) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func oneOfMany(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	const messages, copies = 5, 6
	var handlers [messages]handler
	var wg sync.WaitGroup
	for m := range messages {
		handlers[m] = handler{cfg: cfg, name: fmt.Sprint(id, m)}
		for i := range copies {
			wg.Go(func() {
				if err := until(t.Context(), []queue.Inbox{a, b}[i%2], scope, fmt.Sprint(id, m), handlers[m].run); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for m := range handlers {
		if cfg.Count == nil { // of those with the effect in the transaction several may run
			handlers[m].want(t, 1, 1)
		}
		handlers[m].wantEffects(t, 1)
	}
}

func manyFail(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id, err: errHandler}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if err := until(t.Context(), []queue.Inbox{a, b}[i%2], scope, id, h.run); !errors.Is(err, errHandler) {
				t.Errorf("error %v, want the handler's", err)
			}
		})
	}
	wg.Wait()
	h.want(t, 6, 0)
}

func underWay(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id}
	begun, finish := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- a.Once(t.Context(), scope, id, func(ctx context.Context) error {
			close(begun)
			<-finish
			return h.run(ctx)
		})
	}()
	<-begun
	second := make(chan error, 1)
	go func() { second <- until(t.Context(), b, scope, id, h.run) }()
	select {
	case err := <-second:
		// The other one may be first where the effect is in the transaction; it must not say that all is done otherwise.
		if n := h.runs.Load(); n == 0 {
			t.Errorf("%v before anything was handled", err)
		}
		second <- err
	case <-time.After(200 * time.Millisecond):
	}
	close(finish)
	if err := <-first; err != nil && failure.CodeOf(err) != failure.Aborted {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	if cfg.Count == nil {
		h.want(t, 1, 1)
	}
	h.wantEffects(t, 1)
}

func callEnds(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id}
	ctx, cancel := context.WithCancel(t.Context())
	err := a.Once(ctx, scope, id, func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if err := a.Once(ctx, scope, id+"2", h.run); err == nil {
		t.Error("a call whose context is over says that the message is done")
	}
	if err := until(t.Context(), b, scope, id, h.run); err != nil {
		t.Error(err)
	}
	if n := h.runs.Load(); n == 0 {
		t.Error("what was given up is not handled again")
	}
	h.wantEffects(t, 1)
}

func forgotten(t *testing.T, cfg Config) {
	if cfg.Forget == nil {
		return
	}
	a, b := cfg.Open(t)
	scope, id := names(t)
	h := &handler{cfg: cfg, name: id}
	for range 2 {
		if err := a.Once(t.Context(), scope, id, h.run); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Forget(t)
	for _, in := range []queue.Inbox{b, a} {
		if err := in.Once(t.Context(), scope, id, h.run); err != nil {
			t.Fatal(err)
		}
	}
	h.want(t, 2, 2)
}
