package rpc_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-go/holdfast/internal/memnet"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/rpc"
)

func TestDirectReachesOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New()
		lis, err := network.Listen("10.0.0.7:1")
		if err != nil {
			t.Fatal(err)
		}
		srv, err := rpc.NewServer(rpc.ServerConfig{Listener: lis, Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- srv.Run(ctx) }()
		dial := grpc.WithContextDialer(network.Dial)
		conn, err := rpc.Direct("10.0.0.7:1", rpc.ClientConfig{Insecure: true, Options: []grpc.DialOption{dial}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestDirectRefusesPlaintextBeyondLoopback(t *testing.T) {
	far := func(context.Context, string) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		return elsewhere{here}, nil
	}
	conn, err := rpc.Direct("10.0.0.1:1", rpc.ClientConfig{Options: []grpc.DialOption{grpc.WithContextDialer(far)}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil || !strings.Contains(err.Error(), "plaintext is for loopback only") {
		t.Errorf("got %v", err)
	}
	if _, err := rpc.Direct("no port", rpc.ClientConfig{}); err == nil {
		t.Error("an address without a port is taken")
	}
}

// elsewhere is a connection to another machine, as far as it tells.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1} }

func TestConnectionsAreMadeByWhatTheConfigurationGives(t *testing.T) {
	dialled := make(chan string, 100)
	cfg := rpc.ClientConfig{Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		dialled <- network + " " + address
		return nil, net.ErrClosed
	}}
	engine := memregistry.New()
	reg := registry.New(engine, registry.Config{})
	defer engine.Close()
	defer reg.Close()
	for target, want := range map[string]string{"passthrough:///127.0.0.1:1": "tcp 127.0.0.1:1", "unix:///a/socket": "unix /a/socket", "unix:socket": "unix socket"} {
		conn, err := grpc.NewClient(target, rpc.DialOptions(reg, cfg)...)
		if err != nil {
			t.Fatal(err)
		}
		conn.Connect()
		if got := <-dialled; got != want {
			t.Errorf("%s: dialled %q, want %q", target, got, want)
		}
		conn.Close()
		for len(dialled) > 0 {
			<-dialled
		}
	}
	conn, err := rpc.Direct("127.0.0.1:2", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Connect()
	if got := <-dialled; got != "tcp 127.0.0.1:2" {
		t.Errorf("dialled %q", got)
	}
}
