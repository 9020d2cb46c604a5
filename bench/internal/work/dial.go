package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"

	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
	"github.com/holdfast-go/holdfast/rpc"
)

// Dial returns a Holdfast client with all its defaults of the servers in reg. watch sees every attempt.
func Dial(reg *registry.Registry, watch stats.Handler) (client workpb.WorkClient, hangUp func(), err error) {
	return dial(reg, rpc.ClientConfig{}, watch)
}

func dial(reg *registry.Registry, cfg rpc.ClientConfig, watch stats.Handler) (client workpb.WorkClient, hangUp func(), err error) {
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.Options = []grpc.DialOption{grpc.WithStatsHandler(watch)}
	c, err := rpc.Dial(reg, ServiceName, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("dial: %w", err)
	}
	return workpb.NewWorkClient(c), func() { _ = c.Close() }, nil
}

// DialStatic is Dial for servers that are at these addresses and nowhere else.
func DialStatic(watch stats.Handler, addrs ...string) (workpb.WorkClient, func(), error) {
	return DialStaticWith(rpc.ClientConfig{}, watch, addrs...)
}

// DialStaticWith is DialStatic with what cfg says of how calls are made.
func DialStaticWith(cfg rpc.ClientConfig, watch stats.Handler, addrs ...string) (workpb.WorkClient, func(), error) {
	instances := make([]registry.Instance, len(addrs))
	for i, addr := range addrs {
		instances[i] = registry.Instance{ID: fmt.Sprintf("work-%d", i+1), Endpoints: map[string]string{"grpc": addr}}
	}
	driver := staticregistry.New(map[string][]registry.Instance{ServiceName: instances})
	reg := registry.New(driver, registry.Config{Logger: slog.New(slog.DiscardHandler)})
	closeRegistry := func() { _ = errors.Join(reg.Close(), driver.Close()) }
	client, hangUp, err := dial(reg, cfg, watch)
	if err != nil {
		closeRegistry()
		return nil, nil, err
	}
	return client, func() { hangUp(); closeRegistry() }, nil
}

// DialBare returns a bare grpc-go client, round robin over the addresses. Each call of follow replaces the addresses.
func DialBare(watch stats.Handler, addrs ...string) (client workpb.WorkClient, follow func(addrs ...string), closeClient func(), err error) {
	state := func(addrs []string) resolver.State {
		var s resolver.State
		for _, addr := range addrs {
			s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
		}
		return s
	}
	r := manual.NewBuilderWithScheme("bench")
	r.InitialState(state(addrs))
	conn, err := grpc.NewClient("bench:///"+ServiceName, grpc.WithResolvers(r), grpc.WithStatsHandler(watch),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("dial: %w", err)
	}
	conn.Connect()
	return workpb.NewWorkClient(conn), func(addrs ...string) { r.UpdateState(state(addrs)) }, func() { _ = conn.Close() }, nil
}

// Warm makes a call, again and again until it has succeeded that many times: connections are open then.
func Warm(ctx context.Context, client workpb.WorkClient, calls int) error {
	for range calls {
		for {
			_, err := client.Do(ctx, &workpb.DoRequest{})
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("first call: %w", err)
			}
		}
	}
	return nil
}
