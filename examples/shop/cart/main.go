// Command cart keeps the customers' carts.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/cart"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
)

func main() {
	svc := holdfast.New("cart")
	host, err := svc.Replicate()
	if err != nil {
		log.Fatal(err)
	}
	db, err := kv.OpenReplicated(host, "carts")
	if err != nil {
		log.Fatal(err)
	}
	cartpb.RegisterCartServer(svc, cart.NewServer(cart.NewStore(db)))
	holdfast.Main(svc)
}
