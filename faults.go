package holdfast

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"os"
	"strings"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/rest"
)

// Dialer returns the function by which this Service makes its connections, which has the form of net.Dialer.DialContext.
// Give it to clients of your own, such as a database's, so that drills reach what is between the two. Outside of a
// platform it is that of a net.Dialer.
func (s *Service) Dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	if s.faults == nil {
		return (&net.Dialer{}).DialContext
	}
	return s.faults.Dial(nil)
}

// follow has the Service suffer what the platform that has started it wants it to, which drills do. Without one, s.faults is
// nil, and nothing is changed.
func (s *Service) follow() {
	c := &s.cfg
	s.faults = fault.Follow(c.Settings.Agent, fault.Hello{Service: s.name, Instance: c.Settings.Instance, PID: os.Getpid()}, fault.Saying{Stats: s.stats, State: s.condition, Moved: s.change}, c.Logger)
	if s.faults == nil {
		return
	}
	for _, dial := range []*fault.DialFunc{&c.Etcd.Dial, &c.RPCClient.Dial, &c.HTTPClient.Dial, &c.Replica.Dial} {
		*dial = s.faults.Dial(*dial)
	}
	c.wrapDial = s.faults.Dial
	if disk := c.Replica.Disk; disk == nil {
		c.Replica.Disk = s.faults.File
	}
	c.RPCServer.UnaryInterceptors = append([]grpc.UnaryServerInterceptor{s.failUnary}, c.RPCServer.UnaryInterceptors...)
	c.RPCServer.StreamInterceptors = append([]grpc.StreamServerInterceptor{s.failStream}, c.RPCServer.StreamInterceptors...)
}

// listenOn returns what a server listens on instead of what its configuration says, if drills may reach it. What a server would
// refuse is left to it: a listener for plaintext beyond loopback should not be there for a moment either.
func (s *Service) listenOn(addr string, given net.Listener, plaintext bool) (string, net.Listener, error) {
	if s.faults == nil {
		return addr, given, nil
	}
	if given == nil {
		tcp, err := net.ResolveTCPAddr("tcp", cmp.Or(addr, "127.0.0.1:0"))
		if err != nil {
			return "", nil, err
		}
		if plaintext && !tcp.IP.IsLoopback() {
			return addr, nil, nil
		}
		if given, err = net.ListenTCP("tcp", tcp); err != nil {
			return "", nil, err
		}
	}
	return "", s.faults.Listen(given), nil
}

// unlisten closes a listener of listenOn's whose server could not be made.
func (s *Service) unlisten(l net.Listener) {
	if s.faults != nil && l != nil {
		_ = l.Close()
	}
}

// failed is the answer of a call that fails on purpose, nil for one that is to be handled.
func (s *Service) failed(ctx context.Context, method, name string, exempt bool) error {
	code, ok := failure.ParseCode(s.faults.Call(ctx, method, name, exempt))
	if !ok {
		return nil
	}
	return failure.New(code, "failed on purpose, by a drill")
}

func (s *Service) failUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := s.failed(ctx, "", info.FullMethod, looksAfter(info.FullMethod)); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (s *Service) failStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := s.failed(ss.Context(), "", info.FullMethod, looksAfter(info.FullMethod)); err != nil {
		return err
	}
	return handler(srv, ss)
}

// looksAfter reports whether calls of a gRPC method look after the server.
func looksAfter(method string) bool {
	return strings.HasPrefix(method, "/grpc.health.v1.Health/") || strings.HasPrefix(method, "/grpc.reflection.")
}

// failing returns h with the requests that fail on purpose.
func (s *Service) failing(h http.Handler) http.Handler {
	if s.faults == nil {
		return h
	}
	health := cmp.Or(s.cfg.HTTPServer.HealthPath, rest.DefaultHealthPath)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.failed(r.Context(), r.Method, r.URL.Path, r.URL.Path == health); err != nil {
			rest.Error(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// watch has stats know of a server.
func (s *Service) watch(l load, protocol string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads = append(s.loads, serverLoad{l, protocol})
}

// stats is what the platform is told, from when the Service is made.
func (s *Service) stats() fault.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var st fault.Stats
	for _, l := range s.loads {
		in, handled := l.Counts()
		a := l.Stats()
		st.InFlight, st.Served = st.InFlight+in, st.Served+handled
		st.Waiting, st.Limit, st.Shed = st.Waiting+a.Waiting, st.Limit+a.Limit, st.Shed+a.Shed+a.Late+a.Quota
		st.Servers = append(st.Servers, fault.Server{Protocol: l.protocol, InFlight: in, Waiting: a.Waiting, Limit: a.Limit, Found: a.Found})
	}
	for _, c := range s.clients {
		calls, attempts := c.Counts()
		st.Calls, st.Attempts = st.Calls+calls, st.Attempts+attempts
	}
	if s.http != nil {
		calls, attempts := s.http.Counts()
		st.Calls, st.Attempts = st.Calls+calls, st.Attempts+attempts
	}
	return st
}
