package memregistry_test

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// A test gives its services a registry, and takes it away from them.
func Example() {
	engine := memregistry.New()
	engine.Down()
	reg := registry.New(engine, registry.Config{TTL: time.Second})
	defer reg.Close()

	ctx, stop := context.WithCancel(context.Background())
	announcement := reg.Announce(registry.Instance{
		Service: "cart", ID: "cart-1", Endpoints: map[string]string{"http": "127.0.0.1:8080"},
	})
	stopped := make(chan error, 1)
	go func() { stopped <- announcement.Run(ctx) }()
	<-announcement.Ready()
	fmt.Println("the service serves")

	engine.Up()
	<-announcement.Registered()
	fmt.Println("and is found")

	stop()
	<-stopped
	// Output:
	// the service serves
	// and is found
}
