package orders_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/catalog"
	"github.com/holdfast-go/holdfast/examples/shop/internal/inventory"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
)

// world is the shop without gateway and cart: one store, one of each service, and any number of orders processes that die.
type world struct {
	db        *kv.Memory
	conn      *shoptest.Conn
	behaviour payment.Behaviour
	products  *assortment.Assortment
	inventory inventory.Store
	payments  payment.Store
	ledger    *shoptest.Group[*inventory.Ledger, inventory.Command, inventory.Done]
	book      *shoptest.Group[*orders.Book, orders.Command, orders.Answer]
}

func newWorld() *world {
	w := &world{db: new(kv.Memory), conn: new(shoptest.Conn), products: &assortment.Assortment{
		Currency: "EUR",
		Products: []assortment.Product{
			{ID: "mug", Name: "Mug", Price: 1690, Stock: 9},
			{ID: "tent", Name: "Tent", Price: 24900, Stock: 4},
			{ID: "tree", Name: "Tree", Price: 6990, Stock: 1},
		},
	}}
	log := shoptest.Quiet()
	w.ledger = shoptest.NewGroup[*inventory.Ledger, inventory.Command, inventory.Done](inventory.NewLedger())
	w.book = shoptest.NewGroup[*orders.Book, orders.Command, orders.Answer](orders.NewBook())
	w.inventory, w.payments = inventory.NewStore(w.ledger, w.products), payment.NewStore(w.db)
	changes := kv.OpenView[catalog.Change](w.db, catalog.Prefix, "", log)
	catalogpb.RegisterCatalogServer(w.conn, catalog.NewServer(catalog.NewShelf(w.products, catalog.NewStore(w.db, changes))))
	inventorypb.RegisterInventoryServer(w.conn, inventory.NewServer(w.inventory))
	paymentpb.RegisterPaymentServer(w.conn, payment.NewServer(w.payments, func() payment.Behaviour { return w.behaviour }))
	return w
}

// process is an orders process that meets f at every step it takes.
func (w *world) process(f shoptest.Fault) (*orders.Server, *orders.Recovery) {
	store, conn := orders.NewStore(w.book.With(f)), w.conn.With(f)
	p := orders.NewProcess(store, inventorypb.NewInventoryClient(conn), paymentpb.NewPaymentClient(conn))
	everythingAtOnce := orders.RecoveryConfig{Settle: time.Nanosecond, GiveUp: time.Nanosecond, AtOnce: 1}
	return orders.NewServer(store, catalogpb.NewCatalogClient(conn), p),
		orders.NewRecovery(store, p, everythingAtOnce, shoptest.Quiet())
}

func (w *world) unfinished(t fataler) []*orders.Order {
	left, err := orders.NewStore(w.book).Unfinished(context.Background(), 1000)
	if err != nil {
		t.Fatalf("unfinished: %v", err)
	}
	return left
}

type fataler interface {
	Fatalf(format string, args ...any)
}

// settle lets a healthy process take everything to its end, and checks that the books balance: acked are the orders
// that somebody was promised, by key.
func (w *world) settle(t fataler, acked map[string]*orderspb.Order) {
	ctx := context.Background()
	w.behaviour = payment.Behaviour{}
	_, recovery := w.process(nil)
	if err := recovery.Once(ctx); err != nil {
		t.Fatalf("recovery: %v", err)
	}
	if left := w.unfinished(t); len(left) > 0 {
		t.Fatalf("%d orders are not finished, the first is %+v", len(left), left[0])
	}
	charges, err := w.payments.Page(ctx, "", 1000)
	if err != nil {
		t.Fatalf("charges: %v", err)
	}
	captured := make(map[string]int64)
	for _, c := range charges {
		if c.State == payment.Captured {
			captured[c.Key] = c.Minor
		}
	}
	all, err := orders.NewStore(w.book).Page(ctx, "", 1000)
	if err != nil {
		t.Fatalf("orders: %v", err)
	}
	byID, sold := make(map[string]*orders.Order), make(map[string]int64)
	for _, o := range all {
		byID[o.ID] = o
		switch o.Status {
		case orders.Confirmed:
			if captured[o.ID] != o.Total {
				t.Fatalf("order %s of %d is confirmed and %d is captured", o.ID, o.Total, captured[o.ID])
			}
			for _, line := range o.Lines {
				sold[line.Product] += int64(line.Quantity)
			}
			delete(captured, o.ID)
		case orders.Rejected:
			if _, ok := captured[o.ID]; ok {
				t.Fatalf("order %s is rejected (%s) and its money is captured", o.ID, o.Reason)
			}
		default:
			t.Fatalf("order %s is left %s", o.ID, o.Status)
		}
	}
	if len(captured) > 0 {
		t.Fatalf("captured without an order: %v", captured)
	}
	for key, ack := range acked {
		if o := byID[ack.GetId()]; o == nil || o.Status != orders.Confirmed {
			t.Fatalf("the order of key %s was promised and is %+v", key, o)
		}
	}
	audit, err := w.inventory.Audit(ctx)
	if err != nil {
		t.Fatalf("audit: %v", err)
	}
	for product, c := range audit.Products {
		if c.Available < 0 || c.Reserved != 0 || c.Sold != sold[product] || c.Initial != c.Available+c.Sold {
			t.Fatalf("%s: %+v, and %d are in confirmed orders", product, c, sold[product])
		}
	}
}

func place(key string, n int) *orderspb.PlaceRequest {
	products := []string{"mug", "tent", "tree"}
	req := &orderspb.PlaceRequest{IdempotencyKey: key, Customer: "customer-" + key}
	for i := range 1 + n%3 {
		req.Items = append(req.Items, &orderspb.Item{Product: products[(n+i)%3], Quantity: int32(1 + n%2)})
	}
	return req
}

// Whatever happens between reserve, charge and commit, and however often a checkout is repeated: no promise is broken, no
// money is taken twice or for nothing, no stock is lost or sold twice.
func TestAnOrdersProcessMayDieAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		acked := make(map[string]*orderspb.Order)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			w.behaviour = rapid.SampledFrom([]payment.Behaviour{{}, {}, {}, {DeclineRate: 1}, {FailRate: 1}, {LoseRate: 1}}).Draw(t, "payment")
			server, recovery := w.process(shoptest.Crash(
				rapid.IntRange(0, 24).Draw(t, "dies at"), rapid.Bool().Draw(t, "after it")))
			if rapid.IntRange(0, 3).Draw(t, "do") == 0 {
				_ = recovery.Once(t.Context()) // errors are what it died of
				continue
			}
			n := rapid.IntRange(0, 4).Draw(t, "order")
			key := fmt.Sprintf("key-%d", n)
			resp, err := server.Place(t.Context(), place(key, n))
			switch before := acked[key]; {
			case err == nil && before != nil && before.GetId() != resp.GetOrder().GetId():
				t.Fatalf("key %s is two orders: %s and %s", key, before.GetId(), resp.GetOrder().GetId())
			case err == nil:
				acked[key] = resp.GetOrder()
			}
		}
		w.settle(t, acked)
	})
}

// The same at every single operation of one checkout, so that none is left to chance.
func TestACheckoutThatDiesAtAnyOperationCanBeRepeated(t *testing.T) {
	for n := 1; ; n++ {
		for _, after := range []bool{false, true} {
			w := newWorld()
			server, _ := w.process(shoptest.Crash(n, after))
			first, err := server.Place(t.Context(), place("key", 2))
			if err == nil && n > 3 && len(w.unfinished(t)) == 0 {
				if after {
					return // it has no nth operation
				}
				continue
			}
			server, _ = w.process(nil)
			again, err := server.Place(t.Context(), place("key", 2))
			if err != nil {
				t.Fatalf("died at operation %d, after it: %v; repeated: %v", n, after, err)
			}
			if first != nil && first.GetOrder().GetId() != again.GetOrder().GetId() {
				t.Fatalf("died at operation %d, after it: %v: two orders", n, after)
			}
			w.settle(t, map[string]*orderspb.Order{"key": again.GetOrder()})
		}
	}
}
