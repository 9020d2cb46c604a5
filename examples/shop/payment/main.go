// Command payment stands for a payment provider outside the shop. How slow and how unreliable it is can be set while it
// runs: GET and PUT /admin/behaviour on its HTTP port.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

func main() {
	svc := holdfast.New("payment", events.Engines())
	settings, err := kv.OpenEtcd(svc.Settings().EtcdEndpoints, svc.Dialer())
	if err != nil {
		log.Fatal(err)
	}
	host, err := svc.Replicate()
	if err != nil {
		log.Fatal(err)
	}
	charges, err := kv.OpenReplicated(host, "charges")
	if err != nil {
		log.Fatal(err)
	}
	behaviour := kv.OpenView[payment.Behaviour](settings, payment.BehaviourPrefix, kv.CopyIn(svc.Settings().DataDir, "payment"), svc.Logger())
	control := payment.NewControl(settings, behaviour)
	store := payment.NewStore(charges)
	settler := payment.NewSettler(store, charges.Leads, svc.Logger())
	if err := events.Declare(svc.Queue(), events.Payment); err != nil {
		log.Fatal(err)
	}
	relay := outbox.New(payment.NewOutbox(charges), svc.Queue(), outbox.Config{Lead: events.Lead(charges.Leads), Logger: svc.Logger()})

	svc.Go("behaviour", behaviour.Run)
	svc.Go("settler", settler.Run)
	svc.Go("outbox", relay.Run)
	paymentpb.RegisterPaymentServer(svc, payment.NewServer(store, control.Behaviour))
	svc.Handle("/admin/", payment.NewAdmin(control))
	holdfast.Main(svc)
}
