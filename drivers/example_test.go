package drivers_test

import (
	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/drivers"
)

// HOLDFAST_REGISTRY may be any URL that a driver reads, consul://127.0.0.1:8500 for instance.
func Example() {
	svc := holdfast.New("orders", holdfast.Drivers(drivers.All()...))
	holdfast.Main(svc)
}
