// Command notifications tells customers what becomes of their orders.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/notifications"
	"github.com/holdfast-go/holdfast/queue"
)

func main() {
	svc := holdfast.New("notifications", events.Engines())
	db, err := kv.OpenEtcd(svc.Settings().EtcdEndpoints, svc.Dialer())
	if err != nil {
		log.Fatal(err)
	}
	service := notifications.New(db)

	svc.Consume(events.OrdersPlaced, events.Notifications, queue.Handle(service.Placed), events.Handling())
	svc.Consume(events.OrdersPaid, events.Notifications, queue.Handle(service.Paid), events.Handling())
	svc.Consume(events.OrdersCancelled, events.Notifications, queue.Handle(service.Cancelled), events.Handling())
	notificationspb.RegisterNotificationsServer(svc, service)
	holdfast.Main(svc)
}
