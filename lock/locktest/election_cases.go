package locktest

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"

	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/lock"
)

var electionCases = []testCase{
	{"Election/OneLeads", testOneLeads},
	{"Election/Resigns", testResigns},
	{"Election/Lost", testLeadershipLost},
	{"Election/Observed", testObserved},
	{"Election/Panics", testPanics},
}

// testOneLeads: of several, one leads at a time, by its token, also when leaders fall silent.
func testOneLeads(t *testing.T, e *env) {
	var mu sync.Mutex
	var last uint64
	leads := make(chan struct{}, 100)
	clients := []*client{e.client(t, "a"), e.client(t, "b"), e.client(t, "c")}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, c := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := c.Election("boss").Lead(ctx, "", func(ctx context.Context, token uint64) error {
					mu.Lock()
					if token <= last {
						t.Errorf("token %d after %d", token, last)
					}
					last = token
					mu.Unlock()
					leads <- struct{}{}
					c.Freeze()
					<-ctx.Done()
					c.Thaw()
					return ctx.Err()
				})
				if !errors.Is(err, lock.ErrLost) && ctx.Err() == nil {
					t.Errorf("Lead = %v", err)
				}
			}
		})
	}
	for range 2 {
		select {
		case <-leads:
		case <-e.ctx(t).Done():
			t.Fatal("nobody leads")
		}
	}
}

// testResigns: who has done its work, or is told to stop, lets the next one lead at once.
func testResigns(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	want := errors.New("done")
	if err := a.Election("boss").Lead(e.ctx(t), "", func(context.Context, uint64) error { return want }); !errors.Is(err, want) {
		t.Errorf("Lead = %v", err)
	}
	ctx, stop := context.WithCancel(e.ctx(t))
	leads := make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- a.Election("boss").Lead(ctx, "", func(ctx context.Context, _ uint64) error {
			close(leads)
			<-ctx.Done()
			if errors.Is(context.Cause(ctx), lock.ErrLost) {
				t.Errorf("the leader's ctx ended with %v", context.Cause(ctx))
			}
			return ctx.Err()
		})
	}()
	<-leads
	took := stopwatch.Start(t)
	stop()
	err := b.Election("boss").Lead(e.ctx(t), "", func(context.Context, uint64) error { return nil })
	if took := took(); err != nil || took > e.promptly() {
		t.Errorf("the next one leads after %v: %v", took, err)
	}
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("Lead = %v", err)
	}
}

// testLeadershipLost: a leader that falls silent is told before there is another.
func testLeadershipLost(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	leads := make(chan context.Context)
	lost := make(chan error, 1)
	go func() {
		lost <- a.Election("boss").Lead(e.ctx(t), "", func(ctx context.Context, _ uint64) error {
			leads <- ctx
			<-ctx.Done()
			return nil
		})
	}()
	leader := <-leads
	a.Freeze()
	err := b.Election("boss").Lead(e.ctx(t), "", func(context.Context, uint64) error {
		if leader.Err() == nil {
			t.Error("two lead")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-lost; !errors.Is(err, lock.ErrLost) {
		t.Errorf("Lead = %v", err)
	}
	a.Thaw()
}

// testObserved: others see who leads, through changes and an engine that comes and goes.
func testObserved(t *testing.T, e *env) {
	a, b, seer := e.client(t, "a"), e.client(t, "b"), e.client(t, "c")
	ctx, cancel := context.WithCancel(e.ctx(t))
	defer cancel()
	next, stop := iter.Pull(seer.Election("boss").Observe(ctx))
	defer stop()
	until := func(value string) lock.Holder {
		t.Helper()
		for {
			h, ok := next()
			if !ok {
				t.Fatalf("Observe ended before %q", value)
			}
			if h.Value == value && (h.Token != 0) == (value != "") {
				return h
			}
		}
	}
	until("")
	lead := func(c *client, value string) (end func()) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = c.Election("boss").Lead(ctx, value, func(ctx context.Context, _ uint64) error {
				<-ctx.Done()
				return nil
			})
		}()
		end = func() { stop(); <-done }
		t.Cleanup(end)
		return end
	}
	end := lead(a, "10.0.0.1:1")
	first := until("10.0.0.1:1")
	if first.Name != "a" {
		t.Errorf("the leader is %+v", first)
	}
	end()
	until("")
	seer.Cut()
	lead(b, "10.0.0.2:2")
	e.until(t, "a leader", func() bool {
		_, ok, err := b.Election("boss").Leader(e.ctx(t))
		return ok && err == nil
	})
	seer.Restore()
	if second := until("10.0.0.2:2"); second.Token <= first.Token {
		t.Errorf("token %d after %d", second.Token, first.Token)
	}
	cancel()
	if h, ok := next(); ok {
		t.Errorf("after the end: %+v", h)
	}
}

// testPanics: a leader that panics resigns.
func testPanics(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = a.Election("boss").Lead(e.ctx(t), "", func(context.Context, uint64) error { panic("boom") })
	}()
	took := stopwatch.Start(t)
	e.unlock(t, e.lock(t, b, "boss"))
	if took := took(); took > e.promptly() {
		t.Errorf("the next one waited %v", took)
	}
}
