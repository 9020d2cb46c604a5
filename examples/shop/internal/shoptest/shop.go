package shoptest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/analytics"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/cart"
	"github.com/holdfast-go/holdfast/examples/shop/internal/catalog"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/inventory"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/notifications"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shipping"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Quiet is a logger that says nothing.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Shop is all services of a shop in one process, and what is on its way between them.
type Shop struct {
	*Conn
	db        kv.KV
	process   *orders.Process
	book      orders.Group
	charges   payment.Store
	parcels   *shipping.Server
	notices   *notifications.Service
	analytics *analytics.Service
}

// NewShop returns a shop that sells products and keeps its state in db. Payment takes no time and refuses nothing. All
// calls, those between services too, meet fault, and so does what those keep who listen to messages. Messages lie in the outboxes until Tell.
func NewShop(db kv.KV, products *assortment.Assortment, fault Fault) *Shop {
	c := &Conn{Fault: fault}
	changes := kv.OpenView[catalog.Change](db, catalog.Prefix, "", Quiet())
	ledger := NewGroup[*inventory.Ledger, inventory.Command, inventory.Done](inventory.NewLedger())
	book := NewGroup[*orders.Book, orders.Command, orders.Answer](orders.NewBook())
	tally := NewGroup[*analytics.Tally, analytics.Command, analytics.Counted](analytics.NewTally())
	heard := KV{KV: db, Fault: fault} // of those who listen
	s := &Shop{
		Conn: c, db: db, book: book, charges: payment.NewStore(db), parcels: shipping.NewServer(shipping.NewStore(heard)),
		notices: notifications.New(heard), analytics: analytics.New(tally.With(fault)),
	}
	catalogpb.RegisterCatalogServer(c, catalog.NewServer(catalog.NewShelf(products, catalog.NewStore(db, changes))))
	cartpb.RegisterCartServer(c, cart.NewServer(cart.NewStore(db)))
	inventorypb.RegisterInventoryServer(c, inventory.NewServer(inventory.NewStore(ledger, products)))
	paymentpb.RegisterPaymentServer(c, payment.NewServer(s.charges, func() payment.Behaviour { return payment.Behaviour{} }))
	store := orders.NewStore(book)
	s.process = orders.NewProcess(store, inventorypb.NewInventoryClient(c), paymentpb.NewPaymentClient(c))
	orderspb.RegisterOrdersServer(c, orders.NewServer(store, catalogpb.NewCatalogClient(c), s.process))
	shippingpb.RegisterShippingServer(c, s.parcels)
	notificationspb.RegisterNotificationsServer(c, s.notices)
	analyticspb.RegisterAnalyticsServer(c, s.analytics)
	return s
}

// Tell settles payments and hands every message to everybody who listens.
func (s *Shop) Tell(ctx context.Context) error {
	if err := payment.NewSettler(s.charges, func() bool { return true }, Quiet()).Once(ctx); err != nil {
		return err
	}
	for _, box := range []outbox.Store{payment.NewOutbox(s.db), orders.NewOutbox(s.book)} {
		pending, err := box.Pending(ctx, outbox.Query{Limit: 10_000})
		if err != nil {
			return err
		}
		for _, e := range pending {
			if err := errors.Join(s.hand(ctx, e), box.Done(ctx, []uint64{e.Seq})); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Shop) hand(ctx context.Context, e outbox.Event) error {
	m := e.Message
	switch e.Topic {
	case events.PaymentsSettled:
		return Handle(ctx, m, s.process.Settled)
	case events.PaymentsFailed:
		return Handle(ctx, m, s.process.Failed)
	case events.OrdersPlaced:
		return errors.Join(Handle(ctx, m, s.notices.Placed), Handle(ctx, m, s.analytics.Placed))
	case events.OrdersPaid:
		return errors.Join(Handle(ctx, m, s.parcels.Paid), Handle(ctx, m, s.notices.Paid), Handle(ctx, m, s.analytics.Paid))
	case events.OrdersCancelled:
		return errors.Join(Handle(ctx, m, s.notices.Cancelled), Handle(ctx, m, s.analytics.Cancelled))
	}
	return fmt.Errorf("nobody listens to %s", e.Topic)
}
