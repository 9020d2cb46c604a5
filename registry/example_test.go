package registry_test

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

func Example() {
	reg := registry.New(memregistry.New(), registry.Config{})
	defer reg.Close()

	// The service says where it is, for as long as it runs.
	ctx, stop := context.WithCancel(context.Background())
	announcement := reg.Announce(registry.Instance{
		Service: "inventory", ID: "inventory-1", Endpoints: map[string]string{"grpc": "127.0.0.1:8080"},
	})
	stopped := make(chan error, 1)
	go func() { stopped <- announcement.Run(ctx) }()
	<-announcement.Registered()

	// A consumer follows it.
	watch := reg.Watch("inventory")
	defer watch.Stop()
	set, err := watch.Next(context.Background())
	fmt.Println(set.Instances[0].ID, set.Instances[0].Endpoints["grpc"], set.Source, err)

	stop()
	fmt.Println(<-stopped)
	// Output:
	// inventory-1 127.0.0.1:8080 live <nil>
	// <nil>
}
