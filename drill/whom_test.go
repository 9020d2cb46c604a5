package drill

import (
	"os"
	"testing"

	"github.com/holdfast-go/holdfast/drill/inject"
)

func TestNamesThatTheSystemDoesNotHave(t *testing.T) {
	w := inject.World{Services: []inject.Service{
		{Name: "orders", Instances: []string{"orders-1", "orders-2"}},
		{Name: "gateway", Instances: []string{"gateway-1"}, Public: true},
	}}
	sc, err := Parse("a.yaml", []byte(`load:
  calls: {a: {get: /, edge: gateway}, b: {get: /, edge: orders}, c: {grpc: ordres/shop.Orders/Get}, d: {grpc: orders/shop.Orders/Get}}
faults:
  - {at: 1s, kill: [orders-1, orders/rest, "*", orders-7]}
  - {at: 1s, partition: {from: gatewy, to: [edge, registry, queue, orders-x]}, for: 1s}
  - {at: 2s, kill: nosuch/all}
random: {spare: [nobody-1]}
invariants:
  - leader: {service: oders, get: /leader, keep: {leader: leader, term: term}}
  - acknowledged: d
    at: {grpc: order/shop.Orders/Get}
  - http: {get: /audit, edge: orders}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `a.yaml:5: partition: the system has no service and no instance "gatewy"; did you mean gateway?
a.yaml:5: partition: the system has no service and no instance "orders-x"; did you mean orders?
a.yaml:6: kill: the system has no service and no instance "nosuch"
a.yaml: random: spare: the system has no service and no instance "nobody-1"
a.yaml: b: no service "orders" has a public address (http: in the system file)
a.yaml: c: grpc: the system has no service "ordres"; did you mean orders?
a.yaml: leader: the system has no service "oders"; did you mean orders?
a.yaml: acknowledged: grpc: the system has no service "order"; did you mean orders?
a.yaml: http: no service "orders" has a public address (http: in the system file)`
	if got := sc.Check(w).Error(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	b, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	full, err := Parse("full.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"orders", "inventory", "cart", "payment", "gateway", "admin", "control"} {
		w.Services = append(w.Services, inject.Service{Name: name, Public: true})
	}
	w.Services = w.Services[2:]
	if got := full.Check(w); len(got) > 0 {
		t.Errorf("what is there is not found: %v", got)
	}
}
