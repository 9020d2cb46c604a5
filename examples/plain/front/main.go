// Command front is what users meet: net/http, and a grpc-go client that finds the greeters by etcd's own resolver and takes
// them in turn. Nothing in it is Holdfast's.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/holdfast-go/holdfast/examples/plain/greeterpb"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hosts := strings.TrimPrefix(os.Getenv("HOLDFAST_REGISTRY"), "etcd://")
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(hosts, ","), DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // the process ends
	builder, err := resolver.NewBuilder(client)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("etcd:///greeter", grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the process ends
	greeter := greeterpb.NewGreeterClient(conn)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		answer, err := greeter.Greet(ctx, &greeterpb.GreetRequest{Name: r.PathValue("name")})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, answer.GetText())
	})
	addr := os.Getenv("HOLDFAST_HTTP_ADDR")
	srv := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe() }()
	leave, err := announce(ctx, client, addr)
	if err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	leave()
	stopping, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(stopping); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// announce is for whoever is in front: here, the public address that `holdfast up` listens on. It reads etcd's naming records, too.
func announce(ctx context.Context, client *clientv3.Client, addr string) (leave func(), err error) {
	const service = "holdfast/services/front"
	manager, err := endpoints.NewManager(client, service)
	if err != nil {
		return nil, err
	}
	lease, err := client.Grant(ctx, 5)
	if err != nil {
		return nil, err
	}
	record := endpoints.Endpoint{Addr: addr, Metadata: map[string]any{"holdfast": map[string]any{"endpoints": map[string]string{"http": addr}}}}
	if err := manager.AddEndpoint(ctx, service+"/"+os.Getenv("HOLDFAST_INSTANCE"), record, clientv3.WithLease(lease.ID)); err != nil {
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
