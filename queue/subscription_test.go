package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestHandled: what is published is handled once by each group, with what belongs to it.
func TestHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		topic, err := queue.NewTopic[map[string]int](w.q, "orders", queue.Groups("a", "b"))
		ok(t, err)
		begun := time.Now()
		ok(t, topic.Publish(t.Context(), map[string]int{"n": 7}, queue.Key("k"), queue.ID("id-1"), queue.Attribute("color", "grün")))
		for _, group := range []string{"a", "b"} {
			var got atomic.Pointer[queue.Message[map[string]int]]
			w.run(w.q, "orders", group, queue.Handle(func(ctx context.Context, m queue.Message[map[string]int]) error {
				got.Store(&m)
				if deadline, bounded := ctx.Deadline(); !bounded || time.Until(deadline) > 30*time.Second {
					t.Errorf("the attempt ends at %v", deadline)
				}
				return nil
			}), queue.SubscriptionConfig{})
			synctest.Wait()
			m := got.Load()
			if m == nil {
				t.Fatalf("%s has handled nothing", group)
			}
			if m.Value["n"] != 7 || m.ID != "id-1" || m.Key != "k" || m.Source != "test" || m.Type != "orders" || m.Topic != "orders" || m.Group != group ||
				m.Attempt != 1 || m.Replayed || !m.Time.Equal(begun) || m.Attributes["color"] != "grün" || len(m.Attributes) != 1 {
				t.Errorf("%s has handled %+v", group, *m)
			}
			if lag := w.lag("orders", group); lag.Waiting+lag.Unsettled != 0 {
				t.Errorf("%s is behind: %+v", group, lag)
			}
		}
	})
}

// TestPoison: a message that fails whatever is tried is a dead letter after its attempts, with back-off between them; others
// are handled meanwhile.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var j journal
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
			if m.Value == "poison" {
				j.add(fmt.Sprint(m.Attempt))
				if m.Attempt == 1 {
					return fmt.Errorf("first: dial postgres://shop:hunter2@db/orders")
				}
				return errBroken
			}
			return nil
		}), queue.SubscriptionConfig{})
		ok(t, w.q.Publish(t.Context(), "orders", "poison", queue.Attribute("color", "red")))
		for range 20 {
			ok(t, w.q.Publish(t.Context(), "orders", "good"))
			pass(10 * time.Second)
		}
		if got := j.all(); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6", "7", "8"}) {
			t.Errorf("attempts %v", got)
		}
		letters := w.dead("orders", "g")
		if len(letters) != 1 {
			t.Fatalf("%d dead letters", len(letters))
		}
		l := letters[0]
		if l.Attempts != 8 || l.FirstError != "first: dial postgres://…@db/orders" || l.LastError != "broken" || l.Instance != "one" || l.Reason == "" ||
			string(l.Message.Data) != `"poison"` || l.Message.Attributes["color"] != "red" || len(l.Message.Attributes) != 1 {
			t.Errorf("letter %+v of %+v", l, l.Message)
		}
		if strings.Contains(w.log.String(), "hunter2") && strings.Contains(w.log.String(), "level=WARN msg=\"queue: message set aside\"") {
			for line := range strings.Lines(w.log.String()) {
				if strings.Contains(line, "set aside") && strings.Contains(line, "hunter2") {
					t.Error("the log of a dead letter has a secret")
				}
			}
		}
		if lag := w.lag("orders", "g"); lag.Waiting+lag.Unsettled != 0 || lag.Dead != 1 {
			t.Errorf("lag %+v", lag)
		}
	})
}

// TestOutage: while everything fails nothing becomes a dead letter, little is tried, and all is handled soon after.
func TestOutage(t *testing.T) {
	for name, failed := range map[string]error{
		"coded": failure.New(failure.Unavailable, "the database is down"), "plain": errBroken,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.declare("orders", "g")
				var down atomic.Bool
				var tries, done atomic.Int64
				down.Store(true)
				w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error {
					tries.Add(1)
					if down.Load() {
						return failed
					}
					done.Add(1)
					return nil
				}), queue.SubscriptionConfig{})
				for i := range 500 {
					ok(t, w.q.Publish(t.Context(), "orders", i))
				}
				pass(time.Hour)
				// 16 before it is noticed, then a probe each 2.5 to 5 seconds.
				if n := tries.Load(); n > 16+1500 || n < 700 {
					t.Errorf("%d attempts in an hour of an outage", n)
				}
				down.Store(false)
				pass(40 * time.Second)
				if n := done.Load(); n != 500 {
					t.Errorf("handled %d of 500 within 40 s after the outage", n)
				}
				if lag := w.lag("orders", "g"); lag.Dead != 0 || lag.Waiting+lag.Unsettled != 0 {
					t.Errorf("lag %+v", lag)
				}
				if slowed, resumed := w.events.count(queue.Slowed, true), w.events.count(queue.Resumed, false); slowed != 1 || resumed != 1 {
					t.Errorf("slowed %d times, resumed %d times", slowed, resumed)
				}
			})
		})
	}
}

// TestRejected: what says that the message is to blame makes a dead letter at once.
func TestRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		errs := map[string]error{
			"Reject":           queue.Reject(failure.New(failure.Unavailable, "whatever")),
			"invalid argument": failure.New(failure.InvalidArgument, "x"), "not found": failure.New(failure.NotFound, "x"),
			"already exists": failure.New(failure.AlreadyExists, "x"), "precondition": failure.New(failure.FailedPrecondition, "x"),
			"range": failure.New(failure.OutOfRange, "x"), "loss": fmt.Errorf("wrapped: %w", failure.New(failure.DataLoss, "x")),
		}
		var tries atomic.Int64
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
			tries.Add(1)
			return errs[m.Value]
		}), queue.SubscriptionConfig{})
		for name := range errs {
			ok(t, w.q.Publish(t.Context(), "orders", name))
		}
		ok(t, w.q.Publish(t.Context(), "orders", 7)) // no string
		synctest.Wait()
		if n := len(w.dead("orders", "g")); n != len(errs)+1 || tries.Load() != int64(len(errs)) {
			t.Errorf("%d dead letters after %d attempts, want %d", n, tries.Load(), len(errs)+1)
		}
	})
}

// TestElsewhereCountsOnlyWhileOthersSucceed, for codes that say that a dependency is to blame.
func TestElsewhereCountsOnlyWhileOthersSucceed(t *testing.T) {
	for _, code := range []failure.Code{
		failure.Unavailable, failure.DeadlineExceeded, failure.ResourceExhausted, failure.Aborted, failure.Unauthenticated,
		failure.PermissionDenied, failure.Unimplemented,
	} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.declare("orders", "g")
				w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
					if m.Value == "bad" {
						return failure.New(code, "bad")
					}
					return nil
				}), queue.SubscriptionConfig{})
				ok(t, w.q.Publish(t.Context(), "orders", "bad"))
				pass(10 * time.Minute)
				if n := len(w.dead("orders", "g")); n != 0 {
					t.Errorf("alone: %d dead letters", n)
				}
				for range 200 {
					ok(t, w.q.Publish(t.Context(), "orders", "good"))
					pass(3 * time.Second)
				}
				if n := len(w.dead("orders", "g")); n != 1 {
					t.Errorf("while others succeed: %d dead letters", n)
				}
			})
		})
	}
}

// TestPanic: a panic is a failed attempt, and the process goes on.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var tries atomic.Int64
		w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[string]) error {
			if tries.Add(1) < 3 {
				panic(failure.New(failure.NotFound, "in a panic this says nothing of the message"))
			}
			return nil
		}), queue.SubscriptionConfig{})
		ok(t, w.q.Publish(t.Context(), "orders", "x"))
		pass(time.Minute)
		if n := len(w.dead("orders", "g")); n != 0 || tries.Load() != 3 {
			t.Errorf("%d dead letters after %d attempts", n, tries.Load())
		}
		if !strings.Contains(w.log.String(), "handler panicked") {
			t.Error("nobody was told")
		}
	})
}

// brokenError is one that panics when it is asked: as a nil pointer, or by what it wraps.
type brokenError struct{ text string }

func (b *brokenError) Error() string { return b.text }

type wrapsError struct{}

func (wrapsError) Error() string { return "wraps" }
func (wrapsError) Unwrap() error { panic("asked for what it wraps") }

// What a handler returns for an error is the user's, too: one that panics is a failed attempt, and nil in place of one is none.
func TestAnErrorThatPanicsIsContained(t *testing.T) {
	for name, bad := range map[string]error{
		"a nil pointer": (*brokenError)(nil), "one that wraps badly": wrapsError{}, "rejected nothing": queue.Reject(nil), "again for nothing": queue.RetryAfter(nil, time.Second),
		"rejected a nil pointer": queue.Reject((*brokenError)(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.declare("orders", "g")
				var good atomic.Int64
				w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
					if m.Value == "bad" {
						return bad
					}
					good.Add(1)
					return nil
				}), queue.SubscriptionConfig{})
				ok(t, w.q.Publish(t.Context(), "orders", "bad"))
				ok(t, w.q.Publish(t.Context(), "orders", "good"))
				pass(time.Hour)
				if n := len(w.dead("orders", "g")); n != 1 || good.Load() != 1 {
					t.Errorf("%d dead letters, %d good ones handled", n, good.Load())
				}
			})
		})
	}
}

// TestRetryAfter: the handler's word on when is taken, whatever the code.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var j journal
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
			j.add("")
			if m.Attempt < 3 {
				return queue.RetryAfter(failure.New(failure.NotFound, "not yet"), 10*time.Minute)
			}
			return nil
		}), queue.SubscriptionConfig{})
		ok(t, w.q.Publish(t.Context(), "orders", "x"))
		pass(time.Hour)
		at := j.times()
		if len(at) != 3 || at[1].Sub(at[0]) != 10*time.Minute || at[2].Sub(at[1]) != 10*time.Minute {
			t.Errorf("tried at %v", at)
		}
	})
}

// TestForeignMessages: messages of somebody who knows nothing of CloudEvents are handled, each of them, although nothing tells them
// apart.
func TestForeignMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		for _, m := range []*driver.Message{{Data: []byte("1")}, {Data: []byte("2")}, {ID: "x", Data: []byte("3")}, {ID: "x", Data: []byte("4")}, {Source: "s", Data: []byte("5")}, {Source: "s", Data: []byte("6")}} {
			for _, err := range w.engine.PublishTo(t.Context(), "orders", "g", []*driver.Message{m}) {
				ok(t, err)
			}
		}
		var j journal
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			if m.Attempt == 1 {
				return queue.RetryAfter(errBroken, time.Hour)
			}
			j.add(fmt.Sprint(m.Value))
			return nil
		}), queue.SubscriptionConfig{})
		pass(2 * time.Hour)
		if got := slices.Sorted(slices.Values(j.all())); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6"}) {
			t.Errorf("handled %v", got)
		}
	})
}

// A handler may work in place: the next attempt and the dead letter have what was published.
func TestAHandlersBytesAreItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("t", "g")
		ok(t, w.q.Publish(t.Context(), "t", []byte("secret")))
		var seen journal
		w.run(w.q, "t", "g", queue.Handle(func(_ context.Context, m queue.Message[[]byte]) error {
			seen.add(string(m.Value))
			clear(m.Value)
			if m.Attempt < 3 {
				return errors.New("not yet")
			}
			return queue.Reject(errors.New("no"))
		}), queue.SubscriptionConfig{})
		pass(time.Minute)
		if got := seen.all(); !slices.Equal(got, []string{"secret", "secret", "secret"}) {
			t.Errorf("%q", got)
		}
		if dead := w.dead("t", "g"); len(dead) != 1 || string(dead[0].Message.Data) != "secret" {
			t.Errorf("%+v", dead)
		}
	})
}
