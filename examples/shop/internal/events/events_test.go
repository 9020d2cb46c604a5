package events_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Who publishes knows who listens: a topic without a group would be lost where engines keep messages for groups.
func TestEveryTopicHasListeners(t *testing.T) {
	for _, service := range []string{"orders", "payment"} {
		if len(events.Topics(service)) == 0 {
			t.Errorf("%s publishes nothing", service)
		}
		for _, topic := range events.Topics(service) {
			if len(events.Groups(topic)) == 0 {
				t.Errorf("nobody listens to %s", topic)
			}
		}
	}
}

func TestAnEventIsTheSameMessageEachTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e, err := events.New(events.OrdersPaid, "ord-1", at, &eventspb.OrderPaid{Order: "ord-1", Currency: "EUR", TotalMinor: 1})
	if err != nil {
		t.Fatal(err)
	}
	m := e.Message("orders")
	if m.ID != "ord-1/paid" || m.Source != "orders" || m.Type != "shop.events.v1.OrderPaid" || m.Key != "ord-1" || !m.Time.Equal(at) ||
		m.ContentType != "application/protobuf" || len(m.Data) == 0 {
		t.Fatalf("%+v", m)
	}
	if m.Attributes != nil {
		t.Errorf("of no trace, and %v", m.Attributes)
	}
	e.Trace = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"
	parent, _ := queue.TraceParent(queue.TraceContext{}.Extract(t.Context(), func(name string) string { return e.Message("orders").Attributes[name] }))
	if parent != e.Trace {
		t.Errorf("whoever handles it is in trace %q", parent)
	}
}

// It works while it leads, stops when it does not any more, and begins again.
func TestLeadFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leads atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		began, ended := 0, 0
		done := make(chan error)
		go func() {
			lead := events.Lead(leads.Load)
			var err error
			for err == nil {
				err = lead(ctx, func(ctx context.Context) error {
					began++
					<-ctx.Done()
					ended++
					return nil
				})
			}
			done <- err
		}()
		look := func(wantBegan, wantEnded int) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if began != wantBegan || ended != wantEnded {
				t.Errorf("began %d, ended %d; want %d, %d", began, ended, wantBegan, wantEnded)
			}
		}
		look(0, 0)
		leads.Store(true)
		look(1, 0)
		leads.Store(false)
		look(1, 1)
		leads.Store(true)
		look(2, 1)
		leads.Store(false)
		look(2, 2)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
