package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// buryTwice buries n messages, each also as what was replayed once and failed again, with or without IDs.
func (w *world) buryTwice(topic, group string, n int, ids bool) {
	w.t.Helper()
	for i := range n {
		m := &driver.Message{Data: fmt.Append(nil, i)}
		if ids {
			m.Source, m.ID = "test", fmt.Sprint(i)
		}
		ok(w.t, w.engine.Bury(w.t.Context(), topic, group, m))
		again := *m
		again.Attributes = map[string]string{"holdfastreplays": "1"}
		ok(w.t, w.engine.Bury(w.t.Context(), topic, group, &again))
	}
}

// TestAllLetters: all letters are replayed or discarded, also when one message has several, and when they have no IDs.
func TestAllLetters(t *testing.T) {
	for name, ids := range map[string]bool{"with IDs": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.declare("orders", "g")
				letters := w.q.DeadLetters("orders", "g")
				w.buryTwice("orders", "g", 60, ids)
				if n, err := letters.DiscardAll(t.Context()); n != 120 || err != nil || len(w.dead("orders", "g")) != 0 {
					t.Errorf("discarded %d of 120: %v; %d are left", n, err, len(w.dead("orders", "g")))
				}
				w.buryTwice("orders", "g", 60, ids)
				if n, err := letters.ReplayAll(t.Context()); n != 120 || err != nil || len(w.dead("orders", "g")) != 0 {
					t.Errorf("replayed %d of 120: %v; %d are left", n, err, len(w.dead("orders", "g")))
				}
				if lag := w.lag("orders", "g"); lag.Waiting != 120 {
					t.Errorf("the group has %+v", lag)
				}
			})
		})
	}
}

// slowDead takes its time to show letters, so that those that are replayed are back before it goes on.
type slowDead struct{ driver.Engine }

func (s *slowDead) Dead(ctx context.Context, topic, group, after string, limit int) ([]driver.Dead, error) {
	pass(time.Second)
	return s.Engine.Dead(ctx, topic, group, after, limit)
}

// TestReplayAllEnds, although what has no ID fails again at once; each is replayed once.
func TestReplayAllEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		q := queue.New(&slowDead{w.engine}, queue.Config{Logger: w.logger()})
		w.buryTwice("orders", "g", 60, false)
		var tries atomic.Int64
		w.run(q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error {
			tries.Add(1)
			return queue.Reject(errBroken)
		}), queue.SubscriptionConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if n, err := q.DeadLetters("orders", "g").ReplayAll(ctx); n != 120 || err != nil {
			t.Errorf("replayed %d of 120: %v", n, err)
		}
		pass(time.Minute)
		if n := len(w.dead("orders", "g")); n != 120 || tries.Load() != 120 {
			t.Errorf("%d letters after %d attempts", n, tries.Load())
		}
	})
}

// TestLettersThatCannotBeReplayed: one whose data was cut would be another message. It stays, is told of, and keeps no other.
func TestLettersThatCannotBeReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		for i := range 120 {
			m := &driver.Message{Source: "test", ID: fmt.Sprint(i), Data: []byte("0123456789")}
			if i%4 == 0 {
				m = driver.CutTo(m, 5)
			}
			ok(t, w.engine.Bury(t.Context(), "orders", "g", m))
		}
		letters := w.q.DeadLetters("orders", "g")
		n, err := letters.ReplayAll(t.Context())
		if n != 90 || failure.CodeOf(err) != failure.FailedPrecondition || !strings.Contains(err.Error(), "is the first 5 bytes of 10") ||
			!strings.Contains(err.Error(), "and 20 more letters") {
			t.Errorf("replayed %d of 90: %v", n, err)
		}
		left := w.dead("orders", "g")
		if len(left) != 30 {
			t.Fatalf("%d are left", len(left))
		}
		if n, err := letters.Replay(t.Context(), left[0].Position); n != 0 || failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("replayed %d: %v", n, err)
		}
	})
}
