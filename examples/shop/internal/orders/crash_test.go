package orders_test

import (
	"context"
	"errors"
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
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/inventory"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/queue/outbox"
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

func newWorld() *world { return newWorldOf(9) }

// newWorldOf is one with so many mugs.
func newWorldOf(mugs int64) *world {
	w := &world{db: new(kv.Memory), conn: new(shoptest.Conn), products: &assortment.Assortment{
		Currency: "EUR",
		Products: []assortment.Product{
			{ID: "mug", Name: "Mug", Price: 1690, Stock: mugs},
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

// unfinished returns the orders with something to do.
func (w *world) unfinished(t fataler) []*orders.Order {
	store := orders.NewStore(w.book)
	promised, err := store.Promised(context.Background(), nil, 1000)
	if err != nil {
		t.Fatalf("promised: %v", err)
	}
	others, err := store.Unfinished(context.Background(), nil, 1000)
	if err != nil {
		t.Fatalf("unfinished: %v", err)
	}
	return append(promised, others...)
}

// waiting returns the orders that wait to be told of their payment.
func (w *world) waiting(t fataler) []*orders.Order {
	left, err := orders.NewStore(w.book).Waiting(context.Background(), nil, 1000)
	if err != nil {
		t.Fatalf("waiting: %v", err)
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
	if err := twice(ctx, recovery); err != nil {
		t.Fatalf("recovery: %v", err)
	}
	if err := w.tell(ctx, nil, false); err != nil {
		t.Fatalf("messages: %v", err)
	}
	if left := w.unfinished(t); len(left) > 0 {
		t.Fatalf("%d orders are not finished, the first is %+v", len(left), left[0])
	}
	w.published(t)
	charges, err := w.payments.Page(ctx, "", 1000)
	if err != nil {
		t.Fatalf("charges: %v", err)
	}
	captured := make(map[string]int64)
	for _, c := range charges {
		if c.State == payment.Captured || c.State == payment.Settled {
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
		switch o := byID[ack.GetId()]; {
		case o != nil && o.Status == orders.Confirmed:
		case o != nil && o.Card == shop.CardThatFails && o.Reason == "PAYMENT_FAILED" && o.Placed:
		default:
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

// twice has r look, and look again when what it saw has been left for long enough.
func twice(ctx context.Context, r *orders.Recovery) error {
	first := r.Once(ctx)
	<-time.After(time.Nanosecond)
	return errors.Join(first, r.Once(ctx))
}

// tell settles what is due and hands what the outbox of payment has to an orders process that meets f: once, or twice.
func (w *world) tell(ctx context.Context, f shoptest.Fault, twice bool) error {
	always := func() bool { return true }
	if err := payment.NewSettler(w.payments, always, shoptest.Quiet()).Once(ctx); err != nil {
		return err
	}
	box := payment.NewOutbox(w.db)
	pending, err := box.Pending(ctx, outbox.Query{Limit: 1000})
	if err != nil {
		return err
	}
	conn := w.conn.With(f)
	p := orders.NewProcess(orders.NewStore(w.book.With(f)), inventorypb.NewInventoryClient(conn), paymentpb.NewPaymentClient(conn))
	for _, e := range pending {
		for range 1 + map[bool]int{true: 1}[twice] {
			if e.Topic == events.PaymentsFailed {
				err = shoptest.Handle(ctx, e.Message, p.Failed)
			} else {
				err = shoptest.Handle(ctx, e.Message, p.Settled)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Message.ID, err)
		}
		if err := box.Done(ctx, []uint64{e.Seq}); err != nil {
			return err
		}
	}
	return nil
}

// published checks that the outbox has what happened to each order, once and in its order.
func (w *world) published(t fataler) {
	box := orders.NewOutbox(w.book)
	pending, err := box.Pending(context.Background(), outbox.Query{Limit: 10000})
	if err != nil {
		t.Fatalf("outbox: %v", err)
	}
	told := make(map[string]string)
	for _, e := range pending {
		told[e.Message.Key] += " " + e.Topic
	}
	all, err := orders.NewStore(w.book).Page(context.Background(), "", 1000)
	if err != nil {
		t.Fatalf("orders: %v", err)
	}
	for _, o := range all {
		want := ""
		switch {
		case o.Status == orders.Confirmed:
			want = " orders.placed orders.paid"
		case o.Placed:
			want = " orders.placed orders.cancelled"
		}
		if told[o.ID] != want {
			t.Fatalf("of order %s, which is %s, is told%s, not%s", o.ID, o.Status, told[o.ID], want)
		}
	}
}

func place(key string, n int) *orderspb.PlaceRequest {
	products := []string{"mug", "tent", "tree"}
	req := &orderspb.PlaceRequest{IdempotencyKey: key, Customer: "customer-" + key}
	for i := range 1 + n%3 {
		req.Items = append(req.Items, &orderspb.Item{Product: products[(n+i)%3], Quantity: int32(1 + n%2)})
	}
	if n == failing {
		req.Card = shop.CardThatFails
	}
	return req
}

// failing is an order whose payment fails later.
const failing = 4

// Whatever happens between reserve, charge and commit, and however often a checkout is repeated: no promise is broken, no
// money is taken twice or for nothing, no stock is lost or sold twice.
func TestAnOrdersProcessMayDieAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.book.Restart = rapid.Bool().Draw(t, "restarts")
		acked := make(map[string]*orderspb.Order)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			w.behaviour = rapid.SampledFrom([]payment.Behaviour{{}, {}, {}, {DeclineRate: 1}, {FailRate: 1}, {LoseRate: 1}}).Draw(t, "payment")
			server, recovery := w.process(shoptest.Crash(
				rapid.IntRange(0, 24).Draw(t, "dies at"), rapid.Bool().Draw(t, "after it")))
			switch rapid.IntRange(0, 5).Draw(t, "do") {
			case 0:
				_ = twice(t.Context(), recovery) // errors are what it died of
				continue
			case 1, 2:
				died := shoptest.Crash(rapid.IntRange(0, 8).Draw(t, "hears until"), rapid.Bool().Draw(t, "heard it"))
				_ = w.tell(t.Context(), died, rapid.Bool().Draw(t, "twice"))
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
			if err == nil && n > 3 && len(w.unfinished(t)) == 0 && len(w.waiting(t)) == 1 {
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
