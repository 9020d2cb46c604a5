package work

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/platform/embed"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/rpc"
)

// childArg is the hidden first argument of a program that is to be a child; the second is its Spec.
const childArg = "bench-child"

// ServiceName is what the servers are called in a registry.
const ServiceName = "work"

// Kind is what a child process is.
type Kind string

// The kinds.
const (
	// Holdfast is a rpc.Server with all defaults; with a registry it is a holdfast.Service with all defaults.
	Holdfast Kind = "holdfast"
	// Bare is a grpc.Server with all defaults, which stops gracefully.
	Bare Kind = "bare"
	// Deregister is a bare one in a registry, which on SIGTERM leaves the registry and stops gracefully at once.
	Deregister Kind = "deregister"
	// Stop is a bare one in a registry, which on SIGTERM stops and leaves it.
	Stop Kind = "stop"
	// Etcd is an etcd member: Addr for clients, Peer for others, Dir for data.
	Etcd Kind = "etcd"
)

// Spec is what a child process is to be.
type Spec struct {
	Kind Kind
	// ID is the instance's.
	ID string
	// Addr to listen on; "" is any free port of loopback.
	Addr string
	Load Load
	// Registry is where to announce oneself, as in HOLDFAST_REGISTRY; "" is nowhere.
	Registry string
	// Version is what is announced with the instance.
	Version string
	// Peer and Dir are an etcd's.
	Peer, Dir string
}

// hello is what a child says once it serves.
type hello struct{ Addr string }

// Child is to be called first in main, and in TestMain, of a program that has child processes. It returns unless this
// process is one of them.
func Child() {
	if len(os.Args) != 3 || os.Args[1] != childArg {
		return
	}
	if err := runChild(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runChild(arg string) error {
	var spec Spec
	if err := json.Unmarshal([]byte(arg), &spec); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	srv := newServer(spec.ID, spec.Load)
	go func() {
		obey(os.Stdin, srv)
		os.Exit(3) // the parent is gone
	}()
	say := func(addr string) error { return json.NewEncoder(os.Stdout).Encode(hello{addr}) }
	switch {
	case spec.Kind == Etcd:
		return etcd(ctx, spec, say)
	case spec.Kind == Holdfast && spec.Registry != "":
		return service(ctx, spec, srv, say)
	case spec.Kind == Holdfast:
		return holdfastServer(ctx, spec, srv, say)
	default:
		return bareServer(ctx, spec, srv, say)
	}
}

// obey does what the parent says until it is gone.
func obey(in io.Reader, srv *server) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var f Fault
		if json.Unmarshal(lines.Bytes(), &f) == nil {
			srv.set(f)
		}
	}
}

func etcd(ctx context.Context, spec Spec, say func(string) error) error {
	e := embed.NewEtcd(embed.EtcdConfig{Name: spec.ID, DataDir: spec.Dir, ClientAddr: spec.Addr, PeerAddr: spec.Peer})
	go func() {
		<-e.Ready()
		_ = say(spec.Addr) // whoever does not hear it gives up
	}()
	return e.Run(ctx)
}

func service(ctx context.Context, spec Spec, srv *server, say func(string) error) error {
	settings, err := settingsOf(spec)
	if err != nil {
		return err
	}
	svc := newService(ServiceName, settings)
	workpb.RegisterWorkServer(svc, srv)
	if err := say(spec.Addr); err != nil {
		return err
	}
	return svc.Run(ctx)
}

func settingsOf(spec Spec) (holdfast.Settings, error) {
	return holdfast.ReadSettings(func(key string) (string, bool) {
		v, ok := map[string]string{
			"HOLDFAST_REGISTRY": spec.Registry, "HOLDFAST_INSTANCE": spec.ID,
			"HOLDFAST_GRPC_ADDR": spec.Addr, "HOLDFAST_VERSION": spec.Version,
		}[key]
		return v, ok
	})
}

func newService(name string, settings holdfast.Settings) *holdfast.Service {
	return holdfast.New(name, holdfast.Drivers(drivers.All()...), func(c *holdfast.Config) {
		c.Settings = settings
		c.Logger = slog.New(slog.DiscardHandler)
	})
}

func holdfastServer(ctx context.Context, spec Spec, srv *server, say func(string) error) error {
	s, err := rpc.NewServer(rpc.ServerConfig{Addr: spec.Addr})
	if err != nil {
		return err
	}
	workpb.RegisterWorkServer(s, srv)
	if err := say(s.Addr().String()); err != nil {
		return err
	}
	return s.Run(ctx)
}

// bareServer also stands for the ways to stop that are known from elsewhere: kratos leaves the registry and stops
// gracefully at once, and much of what is written by hand just stops.
func bareServer(ctx context.Context, spec Spec, srv *server, say func(string) error) error {
	if spec.Addr == "" {
		spec.Addr = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", spec.Addr)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	workpb.RegisterWorkServer(s, srv)
	served := make(chan error, 1)
	go func() {
		err := s.Serve(lis)
		if errors.Is(err, grpc.ErrServerStopped) { // it was told to stop before it had begun
			err = nil
		}
		served <- err
	}()
	announced := make(chan error, 1)
	if spec.Registry == "" {
		close(announced)
	} else {
		settings, err := settingsOf(spec)
		if err != nil {
			return err
		}
		svc := newService(ServiceName, settings)
		defer svc.Close() //nolint:errcheck // reports nothing that matters at the end of a process
		a := svc.Registry().Announce(registry.Instance{
			Service: ServiceName, ID: spec.ID, Version: spec.Version,
			Endpoints: map[string]string{"grpc": lis.Addr().String()},
		})
		go func() { announced <- a.Run(ctx) }()
	}
	if err := say(lis.Addr().String()); err != nil {
		return err
	}
	<-ctx.Done()
	if spec.Kind == Stop {
		s.Stop()
		return errors.Join(<-announced, <-served)
	}
	err = <-announced // has left the registry
	// There is no end to a stream that nobody has told, and no bound in GracefulStop.
	cut := time.AfterFunc(3*time.Second, s.Stop)
	defer cut.Stop()
	s.GracefulStop()
	return errors.Join(err, <-served)
}
