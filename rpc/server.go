package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/holdfast-go/holdfast/admission"
)

const (
	// stopGrace is how long handlers may take to return once their calls have been cut.
	stopGrace = time.Second
	// lastGrace is how long gRPC may take to end once they have returned.
	lastGrace = 5 * time.Second
)

// Server is a gRPC server that drains. It is a grpc.ServiceRegistrar, and a lifecycle component with Ready and Drain.
type Server struct {
	cfg    ServerConfig
	grpc   *grpc.Server
	lis    net.Listener
	health *health.Server
	ready  chan struct{}
	ending *ending
	gate   *gate
	start  sync.Once
}

// NewServer listens at once, so that Addr is known and a taken port is an error here, and serves once Run runs. The
// health service (for "" and each registered service) and reflection are registered. A server that is never run must
// be closed.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.defaults()
	lis := cfg.Listener
	if lis == nil {
		var err error
		if lis, err = listen(cfg); err != nil {
			return nil, fmt.Errorf("rpc listen: %w", err)
		}
	} else if err := checkPlaintext(cfg, lis.Addr()); err != nil {
		return nil, fmt.Errorf("rpc listen %s: %w", lis.Addr(), err)
	}
	end := newEnding()
	h := newHandling(cfg, end)
	s := &Server{
		cfg:    cfg,
		grpc:   grpc.NewServer(serverOptions(cfg, h)...),
		gate:   h.gate,
		lis:    lis,
		health: health.NewServer(),
		ready:  make(chan struct{}),
		ending: end,
	}
	// Not before Run: whoever gets an answer earlier would be told that a service is missing that is not.
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s, nil
}

func listen(cfg ServerConfig) (net.Listener, error) {
	// Resolved first: a listener that must not be there should not be there for a moment either.
	addr, err := net.ResolveTCPAddr("tcp", cfg.Addr)
	if err != nil {
		return nil, err
	}
	if err := checkPlaintext(cfg, addr); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Addr, err)
	}
	return net.ListenTCP("tcp", addr)
}

// RegisterService implements grpc.ServiceRegistrar. It must be called before Run.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
}

// GetServiceInfo returns the registered services, those of this package included.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.grpc.GetServiceInfo() }

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.lis.Addr() }

// Name returns "rpc ADDR".
func (s *Server) Name() string { return "rpc " + s.lis.Addr().String() }

// Ready is closed when Run has begun to serve.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// SetServing says in the health service whether service ("": all of this server) is able to serve. It does not change
// what is served. Run sets all services to serving, once ServerConfig.Starting is closed, and Drain to not serving.
func (s *Server) SetServing(service string, serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, status)
}

// Stats returns what is known of the load. Health checks, reflection and streams beyond their beginning are not in it.
func (s *Server) Stats() admission.Stats { return s.gate.controller.Stats() }

// Counts returns how many unary calls are being handled, and how many were, those that were turned away not counted, whether
// Admission is on or off. Health checks and reflection are not counted.
func (s *Server) Counts() (inFlight int, handled uint64) { return s.gate.load.Counts() }

// Drain answers "not serving" to health checks from now on and returns at once. Calls are served as before.
func (s *Server) Drain(context.Context) error {
	s.health.Shutdown()
	return nil
}

// Close closes the server without waiting for anything. It is for a server that is not run.
func (s *Server) Close() error {
	s.grpc.Stop()
	if err := s.lis.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("rpc close %s: %w", s.lis.Addr(), err)
	}
	return nil
}

// Run serves until ctx ends. Then clients are told to go elsewhere (GOAWAY), new connections are refused, and calls in
// flight have DrainTimeout to finish; those that have not are cut, and how many they were is the error. Streams learn
// of it by [Draining]. Run joins the handlers, except those that ignore for another second that they were cut.
func (s *Server) Run(ctx context.Context) error {
	again := true
	s.start.Do(func() { again = false })
	if again {
		return fmt.Errorf("rpc serve %s: run twice", s.lis.Addr())
	}
	served := make(chan error, 1)
	starting := s.cfg.Starting
	if starting == nil {
		s.serving() // before there can be an answer
	}
	go func() { served <- s.grpc.Serve(s.lis) }()
	close(s.ready)
	if starting != nil {
		select {
		case <-starting:
			s.serving()
		case err := <-served:
			served <- err
		case <-ctx.Done():
		}
	}
	select {
	case err := <-served:
		s.grpc.Stop()
		if err == nil {
			err = errors.New("closed")
		}
		return s.served(err)
	case <-ctx.Done():
	}
	s.health.Shutdown()
	s.ending.begin()
	return s.stop(served)
}

// serving says so to health checks, for all services.
func (s *Server) serving() {
	s.SetServing("", true)
	for service := range s.grpc.GetServiceInfo() {
		s.SetServing(service, true)
	}
}

// stop lets calls finish, then cuts them. served ends when Serve has.
func (s *Server) stop(served <-chan error) error {
	graceful := make(chan error, 1)
	go func() {
		s.grpc.GracefulStop()
		err := <-served
		if errors.Is(err, grpc.ErrServerStopped) {
			err = nil // it was told to stop before it began to accept
		}
		graceful <- err
	}()
	if s.cfg.DrainTimeout > 0 {
		timeout := time.NewTimer(s.cfg.DrainTimeout)
		defer timeout.Stop()
		select {
		case err := <-graceful:
			return s.served(err)
		case <-timeout.C:
		}
	}
	cut := s.ending.running()
	stopped := make(chan error, 1)
	go func() {
		s.grpc.Stop() // waits for handlers, and ends GracefulStop
		stopped <- <-graceful
	}()
	for begun := time.Now(); ; {
		select {
		case err := <-stopped:
			if err == nil && cut > 0 {
				return fmt.Errorf("rpc drain %s: %d calls cut after %v", s.lis.Addr(), cut, max(0, s.cfg.DrainTimeout))
			}
			return s.served(err)
		case <-time.After(stopGrace):
		}
		// Without handlers it is gRPC that ends, on a machine that is busy.
		after := time.Since(begun).Round(time.Millisecond)
		if n := s.ending.running(); n > 0 {
			return fmt.Errorf("rpc drain %s: %d handlers still run %v after they were cut", s.lis.Addr(), n, after)
		}
		if after >= lastGrace {
			return fmt.Errorf("rpc drain %s: connections are still open %v after they were cut", s.lis.Addr(), after)
		}
	}
}

func (s *Server) served(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("rpc serve %s: %w", s.lis.Addr(), err)
}

// ServerOptions returns what makes a *grpc.Server of one's own behave as a Server does while it serves; listening,
// health, reflection and draining remain with its owner. Addr and Listener are not used.
func ServerOptions(cfg ServerConfig) []grpc.ServerOption {
	cfg = cfg.defaults()
	return serverOptions(cfg, newHandling(cfg, newEnding()))
}
