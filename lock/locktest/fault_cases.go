package locktest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lock"
)

var faultCases = []testCase{
	{"Faults/HolderCut", func(t *testing.T, e *env) { testHolderSilent(t, e, Link.Cut) }},
	{"Faults/HolderFrozen", func(t *testing.T, e *env) { testHolderSilent(t, e, Link.Freeze) }},
	{"Faults/ShortCut", testShortCut},
	{"Faults/Restarted", testRestarted},
	{"Faults/Wiped", testWiped},
	{"Faults/WipedTryLock", testWipedTryLock},
	{"Faults/SessionEnded", testSessionEnded},
	{"Faults/TicketsDeleted", testTicketsDeleted},
	{"Faults/DownAtStart", testDownAtStart},
	{"Faults/WaiterSilent", testWaiterSilent},
	{"Faults/UnlockWhileDown", testUnlockWhileDown},
}

// testHolderSilent: a holder that cannot reach the engine loses its lock, and knows before another has it. When it can
// again, it queues like everybody.
func testHolderSilent(t *testing.T, e *env, silence func(Link)) {
	a, b := e.client(t, "a"), e.client(t, "b")
	old := e.lock(t, a, "l")
	w := e.queued(t, b, "l")
	silence(a.Link)
	next := w.granted()
	e.after(t, old, next)
	if !errors.Is(context.Cause(old.Context()), lock.ErrLost) || failure.CodeOf(context.Cause(old.Context())) != failure.Aborted {
		t.Errorf("the hold ended with %v", context.Cause(old.Context()))
	}
	a.Restore()
	a.Thaw()
	again := e.want(t, a, "l")
	e.unlock(t, next)
	if h := again.granted(); h.Token() <= next.Token() {
		t.Errorf("token %d after %d", h.Token(), next.Token())
	}
}

// testShortCut: a holder that cannot reach the engine for less than its TTL loses nothing.
func testShortCut(t *testing.T, e *env) {
	a, b := e.lasting(t, "a", 2*e.cfg.TTL), e.lasting(t, "b", 2*e.cfg.TTL)
	h := e.lock(t, a, "l")
	w := e.queued(t, b, "l")
	for _, fault := range []struct{ begin, end func(Link) }{{Link.Cut, Link.Restore}, {Link.Freeze, Link.Thaw}} {
		fault.begin(a.Link)
		<-time.After(e.cfg.TTL * 2 / 3) // a renewal is due in that time
		fault.end(a.Link)
		before := h.Until()
		e.until(t, "a renewal", func() bool { return h.Until().After(before) || h.Context().Err() != nil })
		if h.Context().Err() != nil || !w.waits() {
			t.Fatalf("lost: %v", context.Cause(h.Context()))
		}
	}
	e.unlock(t, h)
	w.granted()
}

// testRestarted: with the engine killed and started again, holders hold on and the queue is as it was.
func testRestarted(t *testing.T, e *env) {
	a, b, c := e.lasting(t, "a", 3*e.cfg.TTL), e.lasting(t, "b", 3*e.cfg.TTL), e.lasting(t, "c", 3*e.cfg.TTL)
	h := e.lock(t, a, "l")
	second := e.queued(t, b, "l")
	third := e.queued(t, c, "l")
	e.Restart()
	before := h.Until()
	e.until(t, "a renewal", func() bool { return h.Until().After(before) || h.Context().Err() != nil })
	if h.Context().Err() != nil || !second.waits() || !third.waits() {
		t.Fatalf("after a restart: %v, waits %v, %v", context.Cause(h.Context()), second.waits(), third.waits())
	}
	e.unlock(t, h)
	h = second.granted()
	if !third.waits() {
		t.Error("two hold the lock")
	}
	e.unlock(t, h)
	third.granted()
}

// testWiped: an engine that has forgotten everything gives a lock to nobody while somebody may hold it, and its tokens
// grow on.
func testWiped(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	old := e.lock(t, a, "l")
	e.Wipe()
	next := e.want(t, b, "l").granted()
	e.after(t, old, next)
	e.unlock(t, next)
	e.Wipe()
	third := e.want(t, e.client(t, "c"), "l").granted() // which has seen no token
	if third.Token() <= next.Token() {
		t.Errorf("token %d after %d", third.Token(), next.Token())
	}
}

// testWipedTryLock: who only tries gets the lock, too, of an engine that has forgotten everything or is new, once nobody
// can hold it.
func testWipedTryLock(t *testing.T, e *env) {
	old := e.lock(t, e.client(t, "a"), "l")
	for _, name := range []string{"b", "c"} {
		c := e.client(t, name)
		e.Wipe()
		var next *lock.Held
		e.until(t, "a try", func() bool {
			h, err := c.Mutex("l").TryLock(t.Context())
			if err != nil && !errors.Is(err, lock.ErrHeld) && failure.CodeOf(err) != failure.Unavailable {
				t.Errorf("TryLock = %v", err)
			}
			next = h
			return err == nil || t.Failed()
		})
		if next == nil {
			return
		}
		e.after(t, old, next)
		old = next
	}
}

// testSessionEnded: who ends a session by hand ends its holds; what waits queues again.
func testSessionEnded(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	old := e.lock(t, a, "l")
	w := e.queued(t, b, "l")
	e.EndSession(b.d.session().ID())
	e.EndSession(a.d.session().ID())
	if err := e.ended(t, old); !errors.Is(err, lock.ErrLost) {
		t.Errorf("ended with %v", err)
	}
	e.after(t, old, w.granted())
}

// testTicketsDeleted: what waits queues again when somebody has deleted its place, and the sessions live on.
func testTicketsDeleted(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	old := e.lock(t, a, "l")
	other := e.lock(t, a, "m")
	w := e.queued(t, b, "l")
	e.DeleteTickets("l")
	next := w.granted()
	if next.Token() <= old.Token() {
		t.Errorf("token %d after %d", next.Token(), old.Token())
	}
	if other.Context().Err() != nil {
		t.Error("another lock of the session was lost")
	}
}

// testDownAtStart: a Lock waits for an engine that is not there yet, and a try says so.
func testDownAtStart(t *testing.T, e *env) {
	a := e.client(t, "a")
	a.Cut()
	w := e.want(t, a, "l")
	if _, err := a.Mutex("m").TryLock(e.ctx(t)); failure.CodeOf(err) != failure.Unavailable {
		t.Errorf("TryLock = %v", err)
	}
	if _, _, err := a.Mutex("m").Holder(e.ctx(t)); failure.CodeOf(err) != failure.Unavailable {
		t.Errorf("Holder = %v", err)
	}
	<-time.After(e.cfg.TTL / 4)
	if !w.waits() {
		t.Fatalf("Lock = %v", w.err)
	}
	a.Restore()
	w.granted()
}

// testWaiterSilent: one that waits and falls silent loses its place, those behind it go on, and it gets the lock later.
func testWaiterSilent(t *testing.T, e *env) {
	a, b, c := e.client(t, "a"), e.client(t, "b"), e.client(t, "c")
	h := e.lock(t, a, "l")
	silent := e.queued(t, b, "l")
	last := e.queued(t, c, "l")
	b.Freeze()
	e.unlock(t, h)
	h = last.granted()
	if !silent.waits() {
		t.Errorf("the silent one came back with %v, %v", silent.h, silent.err)
	}
	b.Thaw()
	e.unlock(t, h)
	silent.granted()
}

// testUnlockWhileDown: what is given back while the engine does not answer is given back later, though the session goes on.
func testUnlockWhileDown(t *testing.T, e *env) {
	a, b := e.client(t, "a"), e.client(t, "b")
	h, other := e.lock(t, a, "l"), e.lock(t, a, "m")
	w := e.queued(t, b, "l")
	a.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), e.cfg.TTL/10)
	defer cancel()
	if err := h.Unlock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Unlock of an engine that does not answer = %v", err)
	}
	if h.Context().Err() == nil {
		t.Error("the context did not end")
	}
	a.Thaw()
	w.granted()
	if other.Context().Err() != nil {
		t.Errorf("the other lock of the session is lost: %v", context.Cause(other.Context()))
	}
	if err := h.Unlock(e.ctx(t)); err != nil {
		t.Errorf("Unlock again = %v", err)
	}
}
