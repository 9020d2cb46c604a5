package edge_test

import (
	"fmt"
	"net/http"

	"github.com/holdfast-go/holdfast/platform/edge"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// Users reach the service "gateway" at one address, whichever of its instances live.
func Example() {
	reg := registry.New(memregistry.New(), registry.Config{})
	defer reg.Close()
	e, err := edge.New(reg, "gateway", "127.0.0.1:0", edge.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer e.Close() // in a program: lifecycle.Run(ctx, e)

	_, err = http.NewRequest(http.MethodGet, "http://"+e.Addr().String()+"/products", nil)
	fmt.Println(err)
	// Output: <nil>
}
