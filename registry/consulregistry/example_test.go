package consulregistry_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/consulregistry"
)

func Example() {
	engine, err := consulregistry.Open(consulregistry.Config{Agents: []string{"127.0.0.1:8500"}, TokenFile: "/run/secrets/consul"})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	reg := registry.New(engine, registry.Config{CacheDir: "/var/lib/shop/registry"})
	defer reg.Close()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	announcement := reg.Announce(registry.Instance{
		Service: "orders", ID: "orders-1", Endpoints: map[string]string{"grpc": "10.0.0.7:8080"},
	})
	if err := announcement.Run(ctx); err != nil {
		log.Print(err)
	}
}
