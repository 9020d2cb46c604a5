// Command analytics counts what becomes of orders.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/analytics"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/replica"
)

func main() {
	svc := holdfast.New("analytics", events.Engines())
	host, err := svc.Replicate()
	if err != nil {
		log.Fatal(err)
	}
	tally, err := replica.NewTyped(host, "tally", analytics.NewTally(), replica.GroupConfig{})
	if err != nil {
		log.Fatal(err)
	}
	service := analytics.New(tally)

	svc.Consume(events.OrdersPlaced, events.Analytics, queue.Handle(service.Placed), events.Handling())
	svc.Consume(events.OrdersPaid, events.Analytics, queue.Handle(service.Paid), events.Handling())
	svc.Consume(events.OrdersCancelled, events.Analytics, queue.Handle(service.Cancelled), events.Handling())
	analyticspb.RegisterAnalyticsServer(svc, service)
	holdfast.Main(svc)
}
