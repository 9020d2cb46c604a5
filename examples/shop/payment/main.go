// Command payment stands for a payment provider outside the shop. How slow and how unreliable it is can be set while it
// runs: GET and PUT /admin/behaviour on its HTTP port.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
)

func main() {
	svc := holdfast.New("payment")
	settings, err := kv.OpenEtcd(svc.Settings().EtcdEndpoints)
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

	svc.Go("behaviour", behaviour.Run)
	paymentpb.RegisterPaymentServer(svc, payment.NewServer(payment.NewStore(charges), control.Behaviour))
	svc.Handle("/admin/", payment.NewAdmin(control))
	holdfast.Main(svc)
}
