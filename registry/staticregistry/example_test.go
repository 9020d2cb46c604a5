package staticregistry_test

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
)

func Example() {
	engine, err := staticregistry.Parse("static:orders=10.0.0.1:8080,10.0.0.2:8080;payment=http@10.0.0.3:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	reg := registry.New(engine, registry.Config{})
	defer reg.Close()
	set, err := reg.Watch("orders").Next(context.Background())
	for _, inst := range set.Instances {
		fmt.Println(inst.ID, inst.Endpoints["grpc"])
	}
	fmt.Println(err)
	// Output:
	// 10.0.0.1:8080 10.0.0.1:8080
	// 10.0.0.2:8080 10.0.0.2:8080
	// <nil>
}
