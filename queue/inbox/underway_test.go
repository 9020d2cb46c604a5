package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/inbox"
	"github.com/holdfast-go/holdfast/queue/memqueue"
)

// slowed counts the outages that a subscription believes in.
type slowed struct{ n atomic.Int64 }

func (s *slowed) Observe(e queue.Event) {
	if e.Kind == queue.Slowed {
		s.n.Add(1)
	}
}

// TestUnderWayIsNoFailure: one instance handles messages for minutes, and is alive; another one gets the same messages, with and
// without others that succeed. None becomes a dead letter, nothing is taken for an outage, and each is handled to the end
// once: by the second instance should the first one fail after all.
func TestUnderWayIsNoFailure(t *testing.T) {
	const messages = 6
	for _, c := range []struct {
		name          string
		traffic, fail bool
	}{
		{"beside others that succeed", true, false},
		{"beside others, and the first instance fails", true, true},
		{"alone", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := memqueue.New(memqueue.Config{})
				defer engine.Close()
				if err := engine.Declare(t.Context(), driver.Topic{Name: "orders", Groups: []string{"g"}}); err != nil {
					t.Fatal(err)
				}
				var outages slowed
				store := new(idempotency.Memory)
				var held, done, began atomic.Int64
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 2)
				start := func(instance string, concurrency int, hold time.Duration) {
					q := queue.New(engine, queue.Config{Source: "test", Instance: instance, Observer: &outages, Logger: slog.New(slog.DiscardHandler)})
					s, err := queue.NewSubscription(q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
						if m.Value != "long" {
							return nil
						}
						began.Add(1)
						if hold > 0 && m.Attempt == 1 {
							held.Add(1)
							pass(hold)
							held.Add(-1)
							if c.fail {
								return errors.New("failed after all")
							}
						}
						done.Add(1)
						return nil
					}), queue.SubscriptionConfig{
						Inbox: inbox.New(store, inbox.Config{}), Concurrency: concurrency, Window: concurrency, Timeout: time.Hour,
					})
					if err != nil {
						t.Fatal(err)
					}
					go func() { ended <- s.Run(ctx) }()
				}
				var long []*driver.Message
				for i := range messages {
					long = append(long, &driver.Message{ID: fmt.Sprint(i), Source: "test", Data: []byte(`"long"`), ContentType: "application/json"})
				}
				publish := func(ms []*driver.Message) {
					for _, err := range engine.PublishTo(t.Context(), "orders", "g", ms) {
						if err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
				}
				start("a", messages, 2*time.Minute)
				publish(long)
				if n := held.Load(); n != messages {
					t.Fatalf("%d under way", n)
				}
				start("b", 16, 0)
				publish(long)
				for i := range 900 {
					if c.traffic {
						publish([]*driver.Message{{ID: fmt.Sprint("good", i), Source: "test", Data: []byte(`"good"`), ContentType: "application/json"}})
					}
					pass(200 * time.Millisecond)
				}
				lag, err := engine.Lag(t.Context(), "orders", "g")
				if err != nil || lag.Waiting+lag.Unsettled+lag.Dead != 0 {
					t.Errorf("%+v, %v", lag, err)
				}
				if n := outages.n.Load(); n != 0 && !c.fail {
					t.Errorf("%d times taken for an outage", n)
				}
				if n := done.Load(); n != messages {
					t.Errorf("%d handled to the end, of %d", n, messages)
				}
				if !c.fail && began.Load() != messages {
					t.Errorf("handlers began %d times", began.Load())
				}
				cancel()
				for range 2 {
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}
