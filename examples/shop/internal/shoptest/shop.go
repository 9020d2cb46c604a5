package shoptest

import (
	"log/slog"

	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/cart"
	"github.com/holdfast-go/holdfast/examples/shop/internal/catalog"
	"github.com/holdfast-go/holdfast/examples/shop/internal/inventory"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
)

// Quiet is a logger that says nothing.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// NewShop returns a connection to all services of a shop that sells products and keeps its state in db. Payment takes
// no time and refuses nothing. All calls, those between services too, meet
// fault.
func NewShop(db kv.KV, products *assortment.Assortment, fault Fault) *Conn {
	c := &Conn{Fault: fault}
	changes := kv.OpenView[catalog.Change](db, catalog.Prefix, "", Quiet())
	ledger := NewGroup[*inventory.Ledger, inventory.Command, inventory.Done](inventory.NewLedger())
	book := NewGroup[*orders.Book, orders.Command, orders.Answer](orders.NewBook())
	catalogpb.RegisterCatalogServer(c, catalog.NewServer(catalog.NewShelf(products, catalog.NewStore(db, changes))))
	cartpb.RegisterCartServer(c, cart.NewServer(cart.NewStore(db)))
	inventorypb.RegisterInventoryServer(c, inventory.NewServer(inventory.NewStore(ledger, products)))
	paymentpb.RegisterPaymentServer(c, payment.NewServer(payment.NewStore(db), func() payment.Behaviour { return payment.Behaviour{} }))
	store := orders.NewStore(book)
	process := orders.NewProcess(store, inventorypb.NewInventoryClient(c), paymentpb.NewPaymentClient(c))
	orderspb.RegisterOrdersServer(c, orders.NewServer(store, catalogpb.NewCatalogClient(c), process))
	return c
}
