// Command orders takes orders from the cart to the sale, and says what becomes of them.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/replica"
)

func main() {
	svc := holdfast.New("orders", events.Engines())
	host, err := svc.Replicate()
	if err != nil {
		log.Fatal(err)
	}
	book, err := replica.NewTyped(host, "book", orders.NewBook(), replica.GroupConfig{})
	if err != nil {
		log.Fatal(err)
	}
	store := orders.NewStore(book)
	process := orders.NewProcess(store,
		inventorypb.NewInventoryClient(svc.Dial("inventory")),
		paymentpb.NewPaymentClient(svc.Dial("payment")))
	leads := func() bool { _, self := book.Group().Leader(); return self }
	recovery := orders.NewRecovery(store, process, orders.RecoveryConfig{When: leads}, svc.Logger())
	if err := events.Declare(svc.Queue(), events.Orders); err != nil {
		log.Fatal(err)
	}
	relay := outbox.New(orders.NewOutbox(book), svc.Queue(), outbox.Config{Lead: events.Lead(leads), Logger: svc.Logger()})

	svc.Go("recovery", recovery.Run)
	svc.Go("outbox", relay.Run)
	svc.Consume(events.PaymentsSettled, events.Orders, queue.Handle(process.Settled), events.Handling())
	svc.Consume(events.PaymentsFailed, events.Orders, queue.Handle(process.Failed), events.Handling())
	orderspb.RegisterOrdersServer(svc, orders.NewServer(store, catalogpb.NewCatalogClient(svc.Dial("catalog")), process))
	holdfast.Main(svc)
}
