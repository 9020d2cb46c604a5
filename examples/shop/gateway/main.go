// Command gateway is the shop's face: its JSON API and the storefront, on Gin.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/gateway"
)

func main() {
	svc := holdfast.New("gateway", func(c *holdfast.Config) {
		c.HTTPServer.MaxBodyBytes = 64 << 10 // the largest order is a tenth of that
	})
	handler, err := gateway.New(gateway.Services{
		Catalog:   catalogpb.NewCatalogClient(svc.Dial("catalog")),
		Cart:      cartpb.NewCartClient(svc.Dial("cart")),
		Inventory: inventorypb.NewInventoryClient(svc.Dial("inventory")),
		Orders:    orderspb.NewOrdersClient(svc.Dial("orders")),
		Shipping:  shippingpb.NewShippingClient(svc.Dial("shipping")),
		Log:       svc.Logger(),
	})
	if err != nil {
		log.Fatal(err)
	}
	svc.Handle("/", handler)
	holdfast.Main(svc)
}
