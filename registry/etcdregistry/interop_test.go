package etcdregistry_test

import (
	"context"
	"net"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/registry"
)

const deadline = 20 * time.Second

// TestPlainClientFindsHoldfast: a grpc-go client with etcd's own resolver, and nothing of ours, calls a service that
// was announced here, and follows it when it moves.
func TestPlainClientFindsHoldfast(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	reg := registry.New(open(t, "", server.Addr()), registry.Config{})
	defer reg.Close()

	builder, err := resolver.NewBuilder(client(t, server.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("etcd:///holdfast/services/orders", grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A plain client has nobody to try again for it when it meets the connection of a server that has just ended.
	call := func() (err error) {
		for {
			_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
			if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
				return err
			}
		}
	}
	for range 2 { // the second time at another address
		addr, stopServer := healthServer(t)
		run, stop := context.WithCancel(ctx)
		a := reg.Announce(registry.Instance{
			Service: "orders", ID: "1", Endpoints: map[string]string{"grpc": addr, "http": "127.0.0.1:1"}, Zone: "z",
			Metadata: map[string]string{"team": "red"},
		})
		done := make(chan error, 1)
		go func() { done <- a.Run(run) }()
		if err := call(); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		stopServer()
	}
}

// TestHoldfastFindsPlainService: an address that was added with etcd's own endpoints manager is an instance to us.
func TestHoldfastFindsPlainService(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	manager, err := endpoints.NewManager(client(t, server.Addr()), "holdfast/services/orders")
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(open(t, "", server.Addr()), registry.Config{})
	defer reg.Close()
	w := reg.Watch("orders")
	if s, err := w.Next(ctx); err != nil || len(s.Instances) != 0 {
		t.Fatalf("before: %+v, %v", s, err)
	}
	key := "holdfast/services/orders/10.0.0.1:80"
	if err := manager.AddEndpoint(ctx, key, endpoints.Endpoint{Addr: "10.0.0.1:80", Metadata: map[string]string{"team": "red"}}); err != nil {
		t.Fatal(err)
	}
	s, err := w.Next(ctx)
	if err != nil || len(s.Instances) != 1 {
		t.Fatalf("after: %+v, %v", s, err)
	}
	if i := s.Instances[0]; i.ID != "10.0.0.1:80" || i.Endpoints["grpc"] != "10.0.0.1:80" || i.Metadata["team"] != "red" {
		t.Errorf("instance = %+v", i)
	}
	// And theirs reads ours: all that they have.
	run, stop := context.WithCancel(ctx)
	a := reg.Announce(registry.Instance{Service: "orders", ID: "1", Endpoints: map[string]string{"grpc": "10.0.0.2:80"}})
	done := make(chan error, 1)
	go func() { done <- a.Run(run) }()
	<-a.Registered()
	all, err := manager.List(ctx)
	if err != nil || all["holdfast/services/orders/1"].Addr != "10.0.0.2:80" || len(all) != 2 {
		t.Errorf("their list = %+v, %v", all, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// healthServer is a plain gRPC server on a free port.
func healthServer(t *testing.T) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	stop = func() {
		s.Stop()
		<-served
	}
	t.Cleanup(s.Stop)
	return l.Addr().String(), stop
}
