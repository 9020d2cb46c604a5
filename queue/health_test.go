package queue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// publishForeign publishes what has no ID, or none that is unique.
func (w *world) publishForeign(topic, group string, data ...string) {
	w.t.Helper()
	for _, d := range data {
		for _, err := range w.engine.PublishTo(w.t.Context(), topic, group, []*driver.Message{{Data: []byte(d)}}) {
			ok(w.t, err)
		}
	}
}

// TestOutageOfForeignMessages: an outage empties no queue of messages without IDs into the dead letters either.
func TestOutageOfForeignMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var down atomic.Bool
		down.Store(true)
		w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[[]byte]) error {
			if down.Load() {
				return errBroken
			}
			return nil
		}), queue.SubscriptionConfig{})
		for i := range 50 {
			w.publishForeign("orders", "g", fmt.Sprint(i))
		}
		pass(10 * time.Minute)
		if lag := w.lag("orders", "g"); lag.Dead != 0 || lag.Unsettled+lag.Waiting != 50 {
			t.Errorf("in an outage: %+v", lag)
		}
		down.Store(false)
		pass(time.Minute)
		if lag := w.lag("orders", "g"); lag.Dead+lag.Unsettled+lag.Waiting != 0 {
			t.Errorf("after the outage: %+v", lag)
		}
	})
}

// TestForeignPoison: one message without an ID is no outage, however often it comes back from the engine.
func TestForeignPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var tries atomic.Int64
		w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[[]byte]) error {
			tries.Add(1)
			return queue.RetryAfter(errBroken, time.Minute)
		}), queue.SubscriptionConfig{})
		w.publishForeign("orders", "g", "poison")
		pass(time.Hour)
		if lag := w.lag("orders", "g"); lag.Dead != 1 || lag.Unsettled+lag.Waiting != 0 || tries.Load() > 10 {
			t.Errorf("after %d attempts: %+v", tries.Load(), lag)
		}
		if n := w.events.count(queue.Slowed, true); n != 0 {
			t.Errorf("taken for an outage %d times", n)
		}
	})
}

// TestOutageOfOneKey: where one message at a time is tried, an outage takes those whose errors have no code for poison, but not more
// than four, and none of those with a code.
func TestOutageOfOneKey(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		dead int64
	}{"coded": {failure.New(failure.Unavailable, "down"), 0}, "plain": {errBroken, 4}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.declare("orders", "g")
				w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error { return c.err }), queue.SubscriptionConfig{Ordered: true})
				for i := range 20 {
					ok(t, w.q.Publish(t.Context(), "orders", i, queue.Key("k")))
				}
				pass(2 * time.Hour)
				if lag := w.lag("orders", "g"); lag.Dead != c.dead || lag.Unsettled+lag.Waiting != 20-c.dead {
					t.Errorf("lag %+v", lag)
				}
			})
		})
	}
}
