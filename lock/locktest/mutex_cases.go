package locktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/lock"
)

var mutexCases = []testCase{
	{"Mutex/Excludes", testExcludes},
	{"Mutex/InOrder", testInOrder},
	{"Mutex/Try", testTry},
	{"Mutex/Cancelled", testCancelled},
	{"Mutex/Renewed", testRenewed},
	{"Mutex/Values", testValues},
	{"Mutex/HolderSeen", testHolderSeen},
	{"Mutex/CloseGivesBack", testCloseGivesBack},
}

// testExcludes: goroutines and clients exclude each other, and tokens grow from hold to hold.
func testExcludes(t *testing.T, e *env) {
	const each, rounds = 3, 4
	var wg sync.WaitGroup
	var mu sync.Mutex
	var holding, holds int
	var last uint64
	for _, name := range []string{"a", "b", "c"} {
		c := e.client(t, name)
		for range each {
			wg.Go(func() {
				for range rounds {
					h, err := c.Mutex("l").Lock(e.ctx(t))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if holding++; holding != 1 {
						t.Errorf("%d hold the lock", holding)
					}
					if holds++; h.Token() <= last {
						t.Errorf("token %d after %d", h.Token(), last)
					}
					last = h.Token()
					mu.Unlock()
					<-time.After(time.Millisecond)
					mu.Lock()
					holding--
					mu.Unlock()
					if err := h.Unlock(e.ctx(t)); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if holds != 3*each*rounds {
		t.Errorf("%d holds", holds)
	}
}

// testInOrder: who comes first is served first.
func testInOrder(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	h := e.lock(t, a, "l")
	var all []*waiting
	for i := range 8 {
		all = append(all, e.queued(t, []*client{a, b}[i%2], "l"))
	}
	for i, w := range all {
		e.unlock(t, h)
		h = w.granted()
		for _, later := range all[i+1:] {
			if !later.waits() {
				t.Fatalf("somebody came before number %d", i)
			}
		}
	}
	e.unlock(t, h)
}

// testTry: a try takes a free lock, says that one is held, or waited for, and leaves nothing behind.
func testTry(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	h, err := a.Mutex("l").TryLock(e.ctx(t))
	if err != nil {
		t.Fatalf("TryLock of a free lock = %v", err)
	}
	for range 3 {
		_, err = b.Mutex("l").TryLock(e.ctx(t))
		if !errors.Is(err, lock.ErrHeld) || failure.CodeOf(err) != failure.Aborted {
			t.Errorf("TryLock of a held one = %v", err)
		}
	}
	e.unlock(t, h)
	e.until(t, "a lock that only tries were made for", func() bool {
		h, err := b.Mutex("l").TryLock(e.ctx(t))
		if err == nil {
			e.unlock(t, h)
		}
		return err == nil
	})
}

// testCancelled: who does not want to wait any more leaves the queue, from the front, the middle and the end of it.
func testCancelled(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	h := e.lock(t, a, "l")
	var all []*waiting
	for range 5 {
		all = append(all, e.queued(t, b, "l"))
	}
	for _, i := range []int{0, 2, 4} {
		all[i].stop()
		<-all[i].done
		if !errors.Is(all[i].err, context.Canceled) || all[i].h != nil {
			t.Errorf("cancelled: %v", all[i].err)
		}
	}
	e.unlock(t, h)
	for _, i := range []int{1, 3} {
		e.unlock(t, all[i].granted())
	}
	e.unlock(t, e.lock(t, a, "l"))

	ctx, cancel := context.WithTimeout(t.Context(), e.cfg.TTL/4)
	defer cancel()
	h = e.lock(t, a, "l")
	if _, err := b.Mutex("l").Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock with a deadline = %v", err)
	}
	e.unlock(t, h)
	cancel()
	if _, err := b.Mutex("l").Lock(ctx); err == nil {
		t.Error("Lock with a ctx that is over was granted")
	}
}

// testRenewed: a hold lasts for as long as its holder lives.
func testRenewed(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	h := e.lock(t, a, "l")
	w := e.queued(t, b, "l")
	first := h.Until()
	<-time.After(2 * e.cfg.TTL)
	if err := h.Context().Err(); err != nil || !w.waits() || !h.Until().After(first) {
		t.Fatalf("after two TTLs: %v, until %v", context.Cause(h.Context()), h.Until().Sub(first))
	}
	e.unlock(t, h)
	w.granted()
}

type key struct{}

// testValues: a hold's context has the values of who asked for it and the token, and neither its deadline nor its end.
func testValues(t *testing.T, e *env) {
	ctx, cancel := context.WithCancel(context.WithValue(e.ctx(t), key{}, "v"))
	h, err := e.client(t, "a").Mutex("l").Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if h.Context().Err() != nil || h.Context().Value(key{}) != "v" {
		t.Errorf("context: %v, %v", h.Context().Err(), h.Context().Value(key{}))
	}
	if _, ok := h.Context().Deadline(); ok {
		t.Error("the context has a deadline")
	}
	inner, stop := context.WithTimeout(h.Context(), time.Hour)
	defer stop()
	if token, ok := lock.Token(inner); !ok || token != h.Token() {
		t.Errorf("Token = %d, %v", token, ok)
	}
	if _, ok := lock.Token(t.Context()); ok {
		t.Error("a token without a hold")
	}
	e.unlock(t, h)
	if inner.Err() == nil || !errors.Is(context.Cause(inner), lock.ErrUnlocked) {
		t.Errorf("a context made of the hold's: %v", context.Cause(inner))
	}
}

// testHolderSeen: others see who holds.
func testHolderSeen(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	if h, ok, err := b.Mutex("l").Holder(e.ctx(t)); ok || err != nil {
		t.Errorf("Holder = %+v, %v", h, err)
	}
	held := e.lock(t, a, "l")
	e.queued(t, b, "l")
	if h, ok, err := b.Mutex("l").Holder(e.ctx(t)); !ok || err != nil || h != (lock.Holder{Name: "a", Token: held.Token()}) {
		t.Errorf("Holder = %+v, %v, %v", h, ok, err)
	}
}

// testCloseGivesBack: a Locker that is closed lets others go on at once, and its holds end first.
func testCloseGivesBack(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	var holds []*lock.Held
	var next []*waiting
	for i := range 3 {
		name := fmt.Sprint("l", i)
		holds = append(holds, e.lock(t, a, name))
		next = append(next, e.queued(t, b, name))
	}
	waits := e.queued(t, a, "l0")
	took := stopwatch.Start(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for i, w := range next {
		w.granted()
		if holds[i].Context().Err() == nil || !errors.Is(context.Cause(holds[i].Context()), lock.ErrClosed) {
			t.Errorf("a hold of a closed Locker: %v", context.Cause(holds[i].Context()))
		}
	}
	if took := took(); took > e.promptly() {
		t.Errorf("others had to wait %v", took)
	}
	if <-waits.done; !errors.Is(waits.err, lock.ErrClosed) {
		t.Errorf("a Lock that waited: %v", waits.err)
	}
	if _, err := a.Mutex("l").Lock(e.ctx(t)); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("Lock of a closed Locker = %v", err)
	}
}
