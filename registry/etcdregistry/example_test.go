package etcdregistry_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/etcdregistry"
)

func Example() {
	engine, err := etcdregistry.Open(etcdregistry.Config{Endpoints: []string{"127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"}})
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
