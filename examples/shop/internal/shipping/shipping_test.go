package shipping_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shipping"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func paid(ctx context.Context, s *shipping.Server, order string) error {
	e, err := events.New(events.OrdersPaid, order, time.Now(), &eventspb.OrderPaid{
		Order: order, Customer: "ada", Lines: []*eventspb.Line{{Product: "mug", Quantity: 2}},
	})
	if err != nil {
		return err
	}
	return shoptest.Handle(ctx, e.Message("orders"), s.Paid)
}

// However often a message comes, to however many instances, whoever dies over it: there is a parcel for each order that was
// acknowledged, and never two.
func TestAnOrderIsShippedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := new(kv.Memory)
		shipped := make(map[string]bool)
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			order := fmt.Sprintf("ord-%d", rapid.IntRange(0, 4).Draw(t, "order"))
			fault := shoptest.Crash(rapid.IntRange(0, 3).Draw(t, "dies at"), rapid.Bool().Draw(t, "after it"))
			if paid(t.Context(), shipping.NewServer(shipping.NewStore(shoptest.KV{KV: db, Fault: fault})), order) == nil {
				shipped[order] = true
			}
		}
		parcels := audit(t, db)
		for order, n := range parcels {
			if n != 1 {
				t.Fatalf("%s was shipped %d times", order, n)
			}
		}
		for order := range shipped {
			if parcels[order] != 1 {
				t.Fatalf("%s is done and not shipped", order)
			}
		}
	})
}

func audit(t interface {
	Fatal(args ...any)
	Context() context.Context
}, db kv.KV,
) map[string]int {
	server := shipping.NewServer(shipping.NewStore(db))
	out := make(map[string]int)
	for req := (&shippingpb.AuditRequest{Limit: 2}); ; {
		page, err := server.Audit(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.GetParcels()) == 0 {
			return out
		}
		for _, p := range page.GetParcels() {
			out[p.GetOrder()]++
			req.After = p.GetLabel()
		}
	}
}

// Between the look whether there is a parcel and the writing of one, another instance may have sent it.
func TestAnOrderIsShippedOnceByTwoAtOnce(t *testing.T) {
	db := new(kv.Memory)
	other := shipping.NewServer(shipping.NewStore(db))
	meanwhile := func(op string) shoptest.Fate {
		if op == "commit" {
			if err := paid(t.Context(), other, "ord-1"); err != nil {
				t.Error(err)
			}
		}
		return shoptest.Works
	}
	if err := paid(t.Context(), shipping.NewServer(shipping.NewStore(shoptest.KV{KV: db, Fault: meanwhile})), "ord-1"); err != nil {
		t.Error(err)
	}
	if parcels := audit(t, db); parcels["ord-1"] != 1 {
		t.Fatalf("%v", parcels)
	}
}

func TestParcelsAreFoundByTheirOrders(t *testing.T) {
	server := shipping.NewServer(shipping.NewStore(new(kv.Memory)))
	if err := paid(t.Context(), server, "ord-1"); err != nil {
		t.Fatal(err)
	}
	found, err := server.Get(t.Context(), &shippingpb.GetRequest{Orders: []string{"ord-0", "ord-1"}})
	if err != nil || len(found.GetParcels()) != 1 || found.GetParcels()[0].GetOrder() != "ord-1" || found.GetParcels()[0].GetLines()[0].GetQuantity() != 2 {
		t.Fatalf("%v, %v", found, err)
	}
	for _, wrong := range [][]string{{""}, {"a b"}, make([]string, 101)} {
		if _, err := server.Get(t.Context(), &shippingpb.GetRequest{Orders: wrong}); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := paid(t.Context(), server, ""); failure.CodeOf(err) != failure.InvalidArgument {
		t.Errorf("a message without an order: %v", err)
	}
}
