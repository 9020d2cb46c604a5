// Command inventory counts what is left of each product, and sets some of it aside for orders.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/inventory"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
)

func main() {
	svc := holdfast.New("inventory")
	products, err := assortment.Load()
	if err != nil {
		log.Fatal(err)
	}
	db, err := kv.OpenEtcd(svc.Settings().EtcdEndpoints)
	if err != nil {
		log.Fatal(err)
	}
	levels := kv.OpenView[inventory.Stock](db, inventory.StockPrefix, kv.CopyIn(svc.Settings().DataDir, "inventory"), svc.Logger())

	svc.Go("levels", levels.Run)
	inventorypb.RegisterInventoryServer(svc, inventory.NewServer(inventory.NewStore(db, products), levels, products))
	holdfast.Main(svc)
}
