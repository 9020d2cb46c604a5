package queue_test

import (
	"context"
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

// TestManyCopies: however often a message comes while it is in hand, it is handled once for all of them, and each is settled: an
// engine whose deliveries are not goes on to nothing else.
func TestManyCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var done atomic.Int64
		w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error {
			pass(10 * time.Minute)
			done.Add(1)
			return nil
		}), queue.SubscriptionConfig{Concurrency: 1, Window: 40, Timeout: time.Hour, Hold: 10 * time.Second})
		m, err := queue.NewMessage(t.Context(), "test", "orders", 1, nil, queue.ID("x"))
		ok(t, err)
		for range 16 {
			for _, err := range w.engine.PublishTo(t.Context(), "orders", "g", []*driver.Message{m}) {
				ok(t, err)
			}
			pass(100 * time.Millisecond)
		}
		pass(5 * time.Minute)
		if lag := w.lag("orders", "g"); lag.Unsettled != 16 || lag.Waiting != 0 {
			t.Errorf("while it is handled: %+v", lag)
		}
		pass(6 * time.Minute)
		if lag := w.lag("orders", "g"); lag.Unsettled+lag.Waiting+lag.Dead != 0 || done.Load() != 1 {
			t.Errorf("16 copies are handled %d times, and leave %+v", done.Load(), lag)
		}
		ok(t, w.q.Publish(t.Context(), "orders", 2))
		pass(11 * time.Minute)
		if lag := w.lag("orders", "g"); lag.Unsettled+lag.Waiting != 0 || done.Load() != 2 {
			t.Errorf("the next one is handled %d times, and leaves %+v", done.Load()-1, lag)
		}
	})
}

// TestBurialFailsInOutage: what cannot be set aside while everything fails is tried again now and then, and does not keep others
// from showing that the outage is over.
func TestBurialFailsInOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var buries, tries, done atomic.Int64
		var down atomic.Bool
		down.Store(true)
		c := &calls{Engine: w.engine, bury: func() error {
			if buries.Add(1) > 10_000 {
				return nil // time would stand still
			}
			return errBroken
		}}
		q := queue.New(c, queue.Config{Logger: w.logger()})
		w.run(q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			tries.Add(1)
			switch {
			case m.Value == 9:
				return queue.Reject(errBroken)
			case down.Load():
				return queue.RetryAfter(failure.New(failure.Unavailable, "down"), time.Hour)
			}
			done.Add(1)
			return nil
		}), queue.SubscriptionConfig{Ordered: true})
		for i := range 10 {
			ok(t, q.Publish(t.Context(), "orders", i))
		}
		pass(10 * time.Minute)
		if n := buries.Load(); n < 100 || n > 600 {
			t.Errorf("set aside %d times in ten minutes", n)
		}
		if n := tries.Load(); n < 100 || n > 300 {
			t.Errorf("%d attempts in ten minutes of an outage", n)
		}
		down.Store(false)
		pass(6 * time.Second)
		if done.Load() == 0 {
			t.Error("nobody noticed the end of the outage")
		}
	})
}

// slowReturns takes its time to give something back.
type slowReturns struct {
	driver.Engine
	during func()
}

func (s *slowReturns) Subscribe(ctx context.Context, sub driver.Subscription) (driver.Receiver, error) {
	r, err := s.Engine.Subscribe(ctx, sub)
	return &slowReceiver{r, s.during}, err
}

type slowReceiver struct {
	driver.Receiver
	during func()
}

func (r *slowReceiver) Return(ctx context.Context, d *driver.Delivery, after time.Duration) error {
	err := r.Receiver.Return(ctx, d, after)
	r.during()
	return err
}

// TestCopyWhileGivenBack: what comes while the same message is on its way back to the engine is handled for itself.
func TestCopyWhileGivenBack(t *testing.T) {
	for name, key := range map[string]string{"no key": "", "key": "k"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.declare("orders", "g")
				m, err := queue.NewMessage(t.Context(), "test", "orders", 1, nil, queue.ID("x"), queue.Key(key))
				ok(t, err)
				publish := func() {
					for _, err := range w.engine.PublishTo(t.Context(), "orders", "g", []*driver.Message{m}) {
						ok(t, err)
					}
				}
				q := queue.New(&slowReturns{w.engine, func() {
					publish()
					pass(5 * time.Second)
				}}, queue.Config{Logger: w.logger()})
				var tries atomic.Int64
				_, stop := w.run(q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error {
					if tries.Add(1) == 1 {
						return queue.RetryAfter(errBroken, time.Minute)
					}
					return nil
				}), queue.SubscriptionConfig{})
				publish()
				pass(30 * time.Second)
				if tries.Load() != 2 {
					t.Errorf("the copy is begun %d times", tries.Load()-1)
				}
				pass(time.Minute)
				if lag := w.lag("orders", "g"); lag.Unsettled+lag.Waiting+lag.Dead != 0 || tries.Load() != 3 {
					t.Errorf("%d attempts, which leave %+v", tries.Load(), lag)
				}
				stop()
			})
		})
	}
}

// laggard is a Tracer that hears of the end of an attempt only when the next one of its message has begun.
type laggard struct {
	again chan struct{}
	ends  atomic.Int64
}

func (l *laggard) BeginPublish(ctx context.Context, _ queue.Publication) (context.Context, queue.PublishTracer) {
	return ctx, nil
}

func (l *laggard) BeginAttempt(ctx context.Context, a queue.Attempt) (context.Context, queue.AttemptTracer) {
	switch {
	case a.ID != "a":
		return ctx, nil
	case a.Number == 2:
		close(l.again)
		return ctx, nil
	}
	return ctx, l
}

func (l *laggard) EndAttempt(queue.AttemptEnd) {
	l.ends.Add(1)
	<-l.again
}

// TestAttemptsOverlapTheirReports: what is said of an attempt is of that one, also when the next one of its message has begun meanwhile.
func TestAttemptsOverlapTheirReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &laggard{again: make(chan struct{})}
		w := newWorld(t, func(c *queue.Config) { c.Tracer = l })
		w.declare("orders", "g")
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
			switch {
			case m.ID != "a":
				pass(time.Minute) // its end begins what is due by then
			case m.Attempt == 1:
				pass(time.Second)
				return errBroken
			}
			return nil
		}), queue.SubscriptionConfig{Concurrency: 2, Timeout: time.Hour})
		ok(t, w.q.Publish(t.Context(), "orders", "", queue.ID("a")))
		ok(t, w.q.Publish(t.Context(), "orders", "", queue.ID("b")))
		pass(2 * time.Minute)
		if l.ends.Load() != 1 {
			t.Fatalf("%d attempts have ended late", l.ends.Load())
		}
		w.events.mu.Lock()
		defer w.events.mu.Unlock()
		var took []time.Duration
		for _, e := range w.events.all {
			if e.Kind == queue.Handled {
				took = append(took, e.Took)
			}
		}
		slices.Sort(took)
		if want := []time.Duration{0, time.Second, time.Minute}; !slices.Equal(took, want) {
			t.Errorf("the attempts took %v, want %v", took, want)
		}
		if said := w.log.String(); !strings.Contains(said, "id=a attempt=1 ") || strings.Contains(said, "id=a attempt=2") {
			t.Errorf("the log says\n%s", said)
		}
	})
}
