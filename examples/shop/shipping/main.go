// Command shipping sends what is paid.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shipping"
	"github.com/holdfast-go/holdfast/queue"
)

func main() {
	svc := holdfast.New("shipping", events.Engines())
	host, err := svc.Replicate()
	if err != nil {
		log.Fatal(err)
	}
	parcels, err := kv.OpenReplicated(host, "parcels")
	if err != nil {
		log.Fatal(err)
	}
	server := shipping.NewServer(shipping.NewStore(parcels))

	svc.Consume(events.OrdersPaid, events.Shipping, queue.Handle(server.Paid), events.Handling())
	shippingpb.RegisterShippingServer(svc, server)
	holdfast.Main(svc)
}
