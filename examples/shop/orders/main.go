// Command orders takes orders from the cart to the sale.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
)

func main() {
	svc := holdfast.New("orders")
	db, err := kv.OpenEtcd(svc.Settings().EtcdEndpoints)
	if err != nil {
		log.Fatal(err)
	}
	store := orders.NewStore(db)
	process := orders.NewProcess(store,
		inventorypb.NewInventoryClient(svc.Dial("inventory")),
		paymentpb.NewPaymentClient(svc.Dial("payment")))
	recovery := orders.NewRecovery(store, process, orders.RecoveryConfig{}, svc.Logger())

	svc.Go("recovery", recovery.Run)
	orderspb.RegisterOrdersServer(svc, orders.NewServer(store, catalogpb.NewCatalogClient(svc.Dial("catalog")), process))
	holdfast.Main(svc)
}
