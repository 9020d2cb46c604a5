package lock

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/memlock"
)

var quiet = slog.New(slog.DiscardHandler)

func mustLock(t *testing.T, l *Locker, name string) *Held {
	t.Helper()
	h, err := l.Mutex(name).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestContextOfAStoppedProcess: a process that was stopped for longer than its time asks its context first, and is told,
// although nothing has run that could have ended it.
func TestContextOfAStoppedProcess(t *testing.T) { synctest.Test(t, testContextOfAStoppedProcess) }

func testContextOfAStoppedProcess(t *testing.T) {
	engine := memlock.New()
	for name, ask := range map[string]func(context.Context) bool{
		"Err": func(ctx context.Context) bool { return ctx.Err() != nil },
		"Done": func(ctx context.Context) bool {
			select {
			case <-ctx.Done():
				return true
			default:
				return false
			}
		},
	} {
		d := engine.Another()
		l := New(d, Config{TTL: 10 * time.Second, Logger: quiet})
		h := mustLock(t, l, name)
		d.Freeze()
		h.s.timer.Stop() // as if the process did not run
		<-time.After(time.Until(h.Until()) - 1)
		if ask(h.Context()) {
			t.Errorf("%s: over before its time", name)
		}
		<-time.After(1)
		if !ask(h.Context()) || !errors.Is(context.Cause(h.Context()), ErrLost) {
			t.Errorf("%s: not over in time: %v", name, context.Cause(h.Context()))
		}
		d.Thaw()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTimeCountsFromTheRequest: what the engine took to answer is part of the TTL, of the first request and of renewals.
func TestTimeCountsFromTheRequest(t *testing.T) { synctest.Test(t, testTimeCountsFromTheRequest) }

func testTimeCountsFromTheRequest(t *testing.T) {
	d := memlock.New()
	d.Slow(500 * time.Millisecond) // each way
	begun := time.Now()
	l := New(d, Config{TTL: 10 * time.Second, Margin: time.Second})
	defer l.Close()
	h := mustLock(t, l, "l")
	if got := h.Until().Sub(begun); got != 9*time.Second {
		t.Errorf("until %v after the request", got)
	}
	first := h.Until()
	for h.Until().Equal(first) {
		<-time.After(time.Millisecond)
	}
	// The renewal was sent a second before it was answered, which was now.
	if left := time.Until(h.Until()); left > 8*time.Second || left < 8*time.Second-2*time.Millisecond {
		t.Errorf("%v left when the renewal was answered", left)
	}
}

// TestLateRenewal: a renewal that is answered after the time is up brings nothing back.
func TestLateRenewal(t *testing.T) { synctest.Test(t, testLateRenewal) }

func testLateRenewal(t *testing.T) {
	d := memlock.New()
	l := New(d, Config{TTL: 10 * time.Second, CallTimeout: time.Minute, Logger: quiet})
	defer l.Close()
	h := mustLock(t, l, "l")
	d.Deafen() // the engine hears the renewals, and nobody its answers
	<-h.Context().Done()
	if got := time.Until(h.Until()); got > 0 {
		t.Errorf("ended %v early", got)
	}
	d.Thaw()
	<-time.After(time.Second)
	if h.Context().Err() == nil || h.Until().After(time.Now()) {
		t.Error("the hold came back")
	}
	if err := h.Unlock(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("Unlock = %v", err)
	}
	if next := mustLock(t, l, "l"); next.Token() <= h.Token() {
		t.Error("the token did not grow")
	}
}

// TestLateSession: a session whose time is up before it is known is none.
func TestLateSession(t *testing.T) {
	for range 20 { // it was a race
		synctest.Test(t, testLateSession)
	}
}

func testLateSession(t *testing.T) {
	d := memlock.New()
	d.Slow(6 * time.Second) // each way
	l := New(d, Config{TTL: 10 * time.Second, CallTimeout: time.Minute, Logger: quiet})
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if h, err := l.Mutex("l").Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock = %v, %v", h, err)
	}
	d.Slow(0)
	mustLock(t, l, "l")
}

// TestExpired: the later of two clocks counts: one stands still while a machine sleeps, the other may be set back.
func TestExpired(t *testing.T) {
	now := time.Now()
	until := now.Add(time.Second)
	asleep := now.Round(0).Add(2 * time.Second) // no monotonic reading
	for _, c := range []struct {
		now  time.Time
		want bool
	}{{now, false}, {until.Add(-1), false}, {until, true}, {until.Add(time.Hour), true}, {asleep, true}} {
		if got := expired(c.now, until); got != c.want {
			t.Errorf("expired(%v) = %v", c.now, got)
		}
	}
}

// TestUnansweredEnter: a Lock that is given up while nobody knows whether it has its place leaves the queue, however late
// the engine answers.
func TestUnansweredEnter(t *testing.T) { synctest.Test(t, testUnansweredEnter) }

func testUnansweredEnter(t *testing.T) {
	engine := memlock.New()
	d := engine.Another()
	a, b := New(d, Config{}), New(engine.Another(), Config{})
	defer a.Close()
	defer b.Close()
	other := mustLock(t, a, "other")
	d.Deafen()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := a.Mutex("l").Lock(ctx)
		done <- err
	}()
	synctest.Wait()
	if n := engine.Waiting("l"); n != 1 {
		t.Errorf("%d wait: the request was to be heard", n)
	}
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock = %v", err)
	}
	d.Thaw()
	begun := time.Now()
	h := mustLock(t, b, "l")
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the next one waited %v", took)
	}
	if other.Context().Err() != nil {
		t.Error("the session was lost over it")
	}
	if err := h.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSettle: an engine that has lost its memory grants after the TTL since this Locker saw it, for all locks at once;
// or at once, if it is told so.
func TestSettle(t *testing.T) { synctest.Test(t, testSettle) }

func testSettle(t *testing.T) {
	for name, c := range map[string]struct{ settle, want time.Duration }{
		"default": {0, 10 * time.Second}, "longer": {time.Minute, time.Minute}, "none": {-1, 0},
	} {
		engine := memlock.New()
		engine.Wipe()
		l := New(slowest{engine}, Config{TTL: time.Second, Settle: c.settle, Logger: quiet})
		if _, err := l.Mutex("x").TryLock(t.Context()); (err == nil) != (c.want == 0) && c.want != 0 {
			t.Errorf("%s: TryLock = %v", name, err)
		}
		begun := time.Now()
		for _, lock := range []string{"l", "m", "n"} {
			mustLock(t, l, lock)
		}
		if took := time.Since(begun); took != c.want {
			t.Errorf("%s: granted after %v, want %v", name, took, c.want)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTokensOverAWipe: what one whose clock is ahead has held is remembered by whoever wanted the lock, or looked at it, and
// so the next token is larger although the engine has forgotten all of them.
func TestTokensOverAWipe(t *testing.T) {
	for name, meet := range map[string]func(*testing.T, *Locker){
		"waited": func(t *testing.T, l *Locker) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := l.Mutex("l").Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Lock = %v", err)
			}
		},
		"tried": func(t *testing.T, l *Locker) {
			if _, err := l.Mutex("l").TryLock(t.Context()); !errors.Is(err, ErrHeld) {
				t.Errorf("TryLock = %v", err)
			}
		},
		"asked": func(t *testing.T, l *Locker) {
			if _, ok, err := l.Mutex("l").Holder(t.Context()); err != nil || !ok {
				t.Errorf("Holder = %t, %v", ok, err)
			}
		},
		"observed": func(t *testing.T, l *Locker) {
			for range l.Election("l").Observe(t.Context()) {
				break
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := memlock.New()
				first, second := New(engine.Another(), Config{Logger: quiet}), New(engine.Another(), Config{Logger: quiet})
				defer first.Close()
				defer second.Close()
				first.saw(uint64(time.Now().Add(time.Hour).UnixMicro())) // as if its clock said so
				before := mustLock(t, first, "l").Token()
				meet(t, second)
				synctest.Wait()
				engine.Wipe()
				if after := mustLock(t, second, "l").Token(); after <= before {
					t.Errorf("%d after %d", after, before)
				}
			})
		})
	}
}

// TestObserveOverAWipe: an engine that has forgotten everything may give smaller tokens, and who observes is told of those
// that hold them.
func TestObserveOverAWipe(t *testing.T) { synctest.Test(t, testObserveOverAWipe) }

func testObserveOverAWipe(t *testing.T) {
	engine := memlock.New()
	first, second, other := New(engine.Another(), Config{Logger: quiet}), New(engine.Another(), Config{Logger: quiet}), New(engine.Another(), Config{Logger: quiet})
	defer first.Close()
	defer second.Close()
	defer other.Close()
	first.saw(uint64(time.Now().Add(time.Hour).UnixMicro()))
	before := mustLock(t, first, "l").Token()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var after uint64
	for h := range other.Election("l").Observe(ctx) {
		switch {
		case h.Token == before:
			engine.Wipe()
			after = mustLock(t, second, "l").Token()
			if after >= before {
				t.Fatalf("%d after %d: it has seen the one before", after, before)
			}
		case h.Token == after && after != 0:
			return
		}
	}
	t.Error("the holder of a smaller token was never told")
}

// slowest is an engine that has no shorter TTL than 10 s.
type slowest struct{ *memlock.Driver }

func (s slowest) Open(ctx context.Context, ttl time.Duration, holder string) (driver.Session, error) {
	return s.Driver.Open(ctx, max(ttl, 10*time.Second), holder)
}

// TestAMarginThatLeavesNoTime: a hold stays whatever the margin is: one that is wrong is the default, and one that is not may be
// too much for the TTL that the engine has.
func TestAMarginThatLeavesNoTime(t *testing.T) {
	for _, c := range []struct{ margin, longest, left time.Duration }{
		{5 * time.Second, time.Hour, 5 * time.Second},
		{8 * time.Second, time.Hour, 9 * time.Second},
		{-time.Second, time.Hour, 9 * time.Second},
		{5 * time.Second, 4 * time.Second, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := New(shortest{memlock.New(), c.longest}, Config{TTL: 10 * time.Second, Margin: c.margin, Logger: quiet})
			defer l.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			h, err := l.Mutex("l").Lock(ctx)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			if left := time.Until(h.Until()); left != c.left {
				t.Errorf("%+v: %v left", c, left)
			}
			select {
			case <-h.Context().Done():
				t.Errorf("%+v: %v", c, context.Cause(h.Context()))
			case <-time.After(time.Minute):
			}
		})
	}
}

// shortest is an engine that has no longer TTL.
type shortest struct {
	*memlock.Driver
	longest time.Duration
}

func (s shortest) Open(ctx context.Context, ttl time.Duration, holder string) (driver.Session, error) {
	return s.Driver.Open(ctx, min(ttl, s.longest), holder)
}

// TestConfig: what cannot work is said.
func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{TTL: -1}, {Margin: -1}, {CallTimeout: -1}, {TTL: time.Second, Margin: time.Second}, {Name: string(make([]byte, maxText+1))},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "a\nb", "a\x00", "\xff", string(make([]byte, maxName+1))} {
		if ValidateName(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}
