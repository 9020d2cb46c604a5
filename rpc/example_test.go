package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// A server that announces itself, and a client that finds it by its name. Any generated stub takes the client.
func Example() {
	reg := registry.New(memregistry.New(), registry.Config{Logger: slog.New(slog.DiscardHandler)})
	defer reg.Close()

	server, err := rpc.NewServer(rpc.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	// inventorypb.RegisterInventoryServer(server, …)
	announcement := reg.Announce(registry.Instance{
		Service: "inventory", ID: "inventory-1",
		Endpoints: map[string]string{"grpc": server.Addr().String()},
	})
	defer begin(server.Run).end()       // in a program: lifecycle.Run(ctx, server, announcement)
	defer begin(announcement.Run).end() // stops in reverse order

	client, err := rpc.Dial(reg, "inventory", rpc.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	answer, err := healthpb.NewHealthClient(client).Check(context.Background(), &healthpb.HealthCheckRequest{})
	fmt.Println(answer.GetStatus(), err)
	// Output: SERVING <nil>
}

// A connection of one's own gets the same behaviour from the options, and the attempts from the error.
func ExampleDialOptions() {
	reg := registry.New(memregistry.New(), registry.Config{Logger: slog.New(slog.DiscardHandler)})
	defer reg.Close()
	conn, err := grpc.NewClient("holdfast:///inventory", rpc.DialOptions(reg, rpc.ClientConfig{
		Methods: map[string]rpc.MethodPolicy{"/grpc.health.v1.Health/Check": {Safe: true, Timeout: 20 * time.Millisecond}},
	})...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	var call *resilience.CallError
	fmt.Println(errors.As(err, &call), call.Service, call.Method, call.Err)
	// Output: true inventory /grpc.health.v1.Health/Check UNAVAILABLE: no instance of inventory is reachable: none is known
}
