package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/holdfast-go/holdfast/bench/internal/echo/echopb"
	"github.com/holdfast-go/holdfast/bench/internal/rounds"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
	"github.com/holdfast-go/holdfast/rpc"
)

type server struct{ echopb.UnimplementedEchoServer }

func (server) Echo(_ context.Context, req *echopb.EchoRequest) (*echopb.EchoResponse, error) {
	return &echopb.EchoResponse{Body: req.GetBody()}, nil
}

// open starts the servers and connects the clients of all ways; the first is the one that others are compared with.
func open(ctx context.Context, s settings) (ways []rounds.Way, closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
			closeAll = nil
		}
	}()

	bareAddr, stop, err := bareServer()
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, stop)
	holdfastAddr, stop, err := holdfastServer(ctx, nil)
	if err != nil {
		return nil, closeAll, err
	}
	closers = append(closers, stop)
	injector := fault.New() // as in a process that a platform has started
	followingAddr, stop, err := holdfastServer(ctx, injector)
	if err != nil {
		return nil, closeAll, err
	}
	closers = append(closers, stop)

	type dialer func(addr string) (grpc.ClientConnInterface, func(), error)
	for _, w := range []struct {
		name    string
		dial    dialer
		addr    string
		timeout time.Duration
		split   bool
	}{
		{"bare", dialBare, bareAddr, 0, false},
		{"deadline", dialBare, bareAddr, 5 * time.Second, false},
		{"holdfast", dialHoldfast(nil), holdfastAddr, 0, false},
		{"holdfast client", dialHoldfast(nil), bareAddr, 0, true},
		{"holdfast server", dialBare, holdfastAddr, 0, true},
		{"holdfast under drills", dialHoldfast(injector), followingAddr, 0, true},
	} {
		if w.split && !s.split && s.only != w.name || s.only != "" && s.only != w.name {
			continue
		}
		conn, closeConn, err := w.dial(w.addr)
		if err != nil {
			return nil, closeAll, fmt.Errorf("%s: %w", w.name, err)
		}
		closers = append(closers, closeConn)
		client := echopb.NewEchoClient(conn)
		call := func(ctx context.Context, req *echopb.EchoRequest) error {
			_, err := client.Echo(ctx, req)
			return err //nolint:wrapcheck // what is measured
		}
		if bare := call; w.timeout > 0 {
			call = func(ctx context.Context, req *echopb.EchoRequest) error {
				ctx, cancel := context.WithTimeout(ctx, w.timeout)
				defer cancel()
				return bare(ctx, req)
			}
		}
		ways = append(ways, rounds.Way{Name: w.name, Worker: func() func(context.Context) error {
			req := &echopb.EchoRequest{Body: make([]byte, s.size)}
			return func(ctx context.Context) error { return call(ctx, req) }
		}})
	}
	if len(ways) == 0 {
		return nil, closeAll, fmt.Errorf("-only %s: no such way", s.only)
	}
	return ways, closeAll, nil
}

func bareServer() (addr string, stop func(), err error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("bare server: %w", err)
	}
	srv := grpc.NewServer()
	echopb.RegisterEchoServer(srv, server{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis) // ends with Stop
	}()
	return lis.Addr().String(), func() { srv.Stop(); <-done }, nil
}

func holdfastServer(ctx context.Context, injector *fault.Injector) (addr string, stop func(), err error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("holdfast server: %w", err)
	}
	srv, err := rpc.NewServer(rpc.ServerConfig{Listener: injector.Listen(lis)})
	if err != nil {
		return "", nil, fmt.Errorf("holdfast server: %w", err)
	}
	echopb.RegisterEchoServer(srv, server{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Run(ctx) // ends with ctx
	}()
	<-srv.Ready()
	return srv.Addr().String(), func() { cancel(); <-done }, nil
}

func dialBare(addr string) (grpc.ClientConnInterface, func(), error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("dial: %w", err)
	}
	return conn, func() { _ = conn.Close() }, nil
}

// dialHoldfast returns what makes clients whose connections go through injector.
func dialHoldfast(injector *fault.Injector) func(addr string) (grpc.ClientConnInterface, func(), error) {
	return func(addr string) (grpc.ClientConnInterface, func(), error) { return newClient(addr, injector) }
}

func newClient(addr string, injector *fault.Injector) (grpc.ClientConnInterface, func(), error) {
	driver := staticregistry.New(map[string][]registry.Instance{
		"echo": {{ID: "echo-1", Endpoints: map[string]string{"grpc": addr}}},
	})
	quiet := slog.New(slog.DiscardHandler)
	reg := registry.New(driver, registry.Config{Logger: quiet})
	client, err := rpc.Dial(reg, "echo", rpc.ClientConfig{Logger: quiet, Dial: injector.Dial(nil)})
	if err != nil {
		return nil, nil, errors.Join(err, reg.Close(), driver.Close())
	}
	return client, func() { _ = errors.Join(client.Close(), reg.Close(), driver.Close()) }, nil
}
