package notifications_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/notifications"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tell(ctx context.Context, s *notifications.Service, topic, order string) error {
	switch topic {
	case events.OrdersPlaced:
		e, _ := events.New(topic, order, time.Now(), &eventspb.OrderPlaced{Order: order, Customer: "ada"})
		return shoptest.Handle(ctx, e.Message("orders"), s.Placed)
	case events.OrdersPaid:
		e, _ := events.New(topic, order, time.Now(), &eventspb.OrderPaid{Order: order, Customer: "ada"})
		return shoptest.Handle(ctx, e.Message("orders"), s.Paid)
	}
	e, _ := events.New(topic, order, time.Now(), &eventspb.OrderCancelled{Order: order, Customer: "ada"})
	return shoptest.Handle(ctx, e.Message("orders"), s.Cancelled)
}

// However often messages come, in whatever order, whoever dies over them: a customer is told of each thing once.
func TestACustomerIsToldOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := new(kv.Memory)
		done := make(map[string]bool)
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			topic := rapid.SampledFrom(events.Topics("orders")).Draw(t, "topic")
			order := fmt.Sprintf("ord-%d", rapid.IntRange(0, 2).Draw(t, "order"))
			fault := shoptest.Crash(rapid.IntRange(0, 3).Draw(t, "dies at"), rapid.Bool().Draw(t, "after it"))
			if tell(t.Context(), notifications.New(shoptest.KV{KV: db, Fault: fault}), topic, order) == nil {
				done[order+" "+events.About(topic)] = true
			}
		}
		told := make(map[string]int)
		for req := (&notificationspb.AuditRequest{Limit: 1}); ; {
			page, err := notifications.New(db).Audit(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.GetSent()) == 0 {
				break
			}
			for _, sent := range page.GetSent() {
				req.After = sent.GetId()
				told[sent.GetOrder()+" "+sent.GetAbout()]++
			}
		}
		for what, n := range told {
			if n != 1 {
				t.Fatalf("told %d times of %s", n, what)
			}
		}
		for what := range done {
			if told[what] != 1 {
				t.Fatalf("never told of %s", what)
			}
		}
	})
}

// Between the look what a customer was told and the telling, another instance may have told them.
func TestACustomerIsToldOnceByTwoAtOnce(t *testing.T) {
	db := new(kv.Memory)
	other := notifications.New(db)
	meanwhile := func(op string) shoptest.Fate {
		if op == "commit" {
			if err := tell(t.Context(), other, events.OrdersPaid, "ord-1"); err != nil {
				t.Error(err)
			}
		}
		return shoptest.Works
	}
	if err := tell(t.Context(), notifications.New(shoptest.KV{KV: db, Fault: meanwhile}), events.OrdersPaid, "ord-1"); err != nil {
		t.Error(err)
	}
	if all, err := other.Audit(t.Context(), &notificationspb.AuditRequest{}); err != nil || len(all.GetSent()) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
}

// What was sent is not kept for ever: the store would be full one day, and others need it.
func TestWhatWasToldIsForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(kv.Memory)
		s := notifications.New(db)
		kept := func() int {
			page, err := db.List(t.Context(), kv.Range{Prefix: "shop/notifications/"})
			if err != nil {
				t.Fatal(err)
			}
			return len(page.Entries)
		}
		if err := tell(t.Context(), s, events.OrdersPaid, "ord-1"); err != nil {
			t.Fatal(err)
		}
		<-time.After(notifications.Keep - time.Hour)
		if n := kept(); n != 2 {
			t.Errorf("%d entries within their time", n)
		}
		<-time.After(2 * time.Hour)
		if n := kept(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

func TestAMessageWithoutAnOrderIsRefused(t *testing.T) {
	if err := tell(t.Context(), notifications.New(new(kv.Memory)), events.OrdersPaid, ""); failure.CodeOf(err) != failure.InvalidArgument {
		t.Fatal(err)
	}
}

// Whoever publishes knows all who listen.
func TestNotificationsListensToAllOfOrders(t *testing.T) {
	for _, topic := range events.Topics("orders") {
		if !slices.Contains(events.Groups(topic), events.Notifications) {
			t.Errorf("%s: %v", topic, events.Groups(topic))
		}
	}
}
