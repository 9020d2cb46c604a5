package inject_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
)

// A target is a name until it is drawn; the same seed draws the same ones.
func ExampleResolve() {
	world := inject.World{Services: []inject.Service{{Name: "orders", Instances: []string{"orders-1", "orders-2", "orders-3"}}}}
	split := inject.Fault{
		Kind: inject.Partition, At: 5 * time.Second, For: 8 * time.Second,
		Between: [][]string{{"orders/minority"}, {"orders/rest"}},
	}
	r, err := inject.Resolve(split, world, rand.New(rand.NewPCG(7, 0)))
	fmt.Println(r.What, err)
	// Output:
	// split orders-2 | orders-1, orders-3 <nil>
}
