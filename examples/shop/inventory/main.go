// Command inventory counts what is left of each product, and sets some of it aside for orders.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/inventory"
	"github.com/holdfast-go/holdfast/replica"
)

func main() {
	svc := holdfast.New("inventory")
	products, err := assortment.Load()
	if err != nil {
		log.Fatal(err)
	}
	host, err := svc.Replicate()
	if err != nil {
		log.Fatal(err)
	}
	ledger, err := replica.NewTyped(host, "ledger", inventory.NewLedger(), replica.GroupConfig{})
	if err != nil {
		log.Fatal(err)
	}
	inventorypb.RegisterInventoryServer(svc, inventory.NewServer(inventory.NewStore(ledger, products)))
	holdfast.Main(svc)
}
