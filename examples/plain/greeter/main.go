// Command greeter is a gRPC service as many write it: grpc-go, and an entry in etcd under a lease by etcd's own naming
// package, as its documentation shows it. Nothing in it is Holdfast's, except for the names of variables that tell it where
// to listen and where etcd is.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/holdfast-go/holdfast/examples/plain/greeterpb"
)

type server struct {
	greeterpb.UnimplementedGreeterServer

	name string
}

func (s *server) Greet(_ context.Context, req *greeterpb.GreetRequest) (*greeterpb.GreetResponse, error) {
	return &greeterpb.GreetResponse{Text: fmt.Sprintf("Hello, %s! This is %s.", req.GetName(), s.name)}, nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lis, err := net.Listen("tcp", os.Getenv("HOLDFAST_GRPC_ADDR"))
	if err != nil {
		return err
	}
	name := os.Getenv("HOLDFAST_INSTANCE")
	srv := grpc.NewServer()
	greeterpb.RegisterGreeterServer(srv, &server{name: name})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	reflection.Register(srv)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()

	hosts := strings.TrimPrefix(os.Getenv("HOLDFAST_REGISTRY"), "etcd://")
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(hosts, ","), DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // the process ends
	leave, err := register(ctx, client, "greeter/"+name, lis.Addr().String())
	if err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	leave()
	srv.GracefulStop()
	return nil
}

// register puts the address under a lease of 5 s and keeps that alive.
func register(ctx context.Context, client *clientv3.Client, key, addr string) (leave func(), err error) {
	manager, err := endpoints.NewManager(client, "greeter")
	if err != nil {
		return nil, err
	}
	lease, err := client.Grant(ctx, 5)
	if err != nil {
		return nil, err
	}
	if err := manager.AddEndpoint(ctx, key, endpoints.Endpoint{Addr: addr}, clientv3.WithLease(lease.ID)); err != nil {
		return nil, err
	}
	alive, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return nil, err
	}
	go func() {
		for range alive { // it wants to be read
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if _, err := client.Revoke(ctx, lease.ID); err != nil {
			log.Print(err)
		}
	}, nil
}
