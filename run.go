package holdfast

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rpc"
)

// Run serves until ctx is done, then drains and returns nil: marked as draining in the registry and not serving in health
// checks, leadership (Lead) given to others and no message received, serving on for the drain delay, finishing the messages that
// were begun, then what is in flight at the servers, ending the tasks, leaving the registry,
// closing clients. It also ends, with an error, when a server fails; a task that fails is restarted.
// The registry need not be there, neither at the start nor later.
//
// It listens for gRPC only if a gRPC service was registered, and for HTTP only if Handle was called; a Service
// with neither runs its tasks and is not announced. A *SettingsError is among the errors of what could not be started when
// the environment is wrong. Run may be called once.
func (s *Service) Run(ctx context.Context) error {
	if s.replicatesLocks() {
		s.locker() // which is too late when it runs
	}
	problems, err := s.begin()
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // reports nothing that matters at the end of a process
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	defer context.AfterFunc(ctx, s.drains)()
	look, err := s.openAdmin()
	if err != nil {
		return err
	}
	servers, endpoints, err := s.listen()
	if err != nil {
		look.close()
		for _, srv := range servers {
			err = errors.Join(err, srv.Close())
		}
		return err
	}
	components := s.components(servers, endpoints)
	if look != nil { // first to start, last to stop
		components = append([]lifecycle.Component{lifecycle.Named("admin", lifecycle.Func(look.run))}, components...)
	}
	err = s.cfg.Lifecycle.Run(ctx, components...)
	look.close()
	for _, srv := range servers {
		if !srv.begun.Load() { // ctx ended before its turn came
			err = errors.Join(err, srv.Close())
		}
	}
	return err
}

// drains says that the Service drains: it was told to end, or one of its components has ended by itself.
func (s *Service) drains() {
	if !s.draining.Swap(true) {
		s.moved()
	}
}

func (s *Service) begin() (problems []error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != fresh {
		return nil, fmt.Errorf("run %s: already run or closed", s.name)
	}
	s.state = running
	return s.problems, nil
}

// server is what rpc and rest have in common.
type server interface {
	lifecycle.Component
	lifecycle.Namer
	lifecycle.Readier
	lifecycle.Drainer
	Addr() net.Addr
	Close() error
}

// serving is a server of which is known whether it has been run. Otherwise it is to be closed.
type serving struct {
	server
	begun atomic.Bool
}

func (s *serving) Run(ctx context.Context) error {
	s.begun.Store(true)
	return s.server.Run(ctx)
}

// listen opens the listeners that are needed. The servers it returns are to be run or closed.
func (s *Service) listen() (servers []*serving, endpoints map[string]string, err error) {
	var errs []error
	endpoints = make(map[string]string)
	add := func(protocol string, srv server, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		servers = append(servers, &serving{server: srv})
		addr, err := advertised(srv.Addr(), s.cfg.Settings.Advertise)
		if err != nil {
			errs = append(errs, fmt.Errorf("advertise %s: %w", protocol, err))
		}
		endpoints[protocol] = addr
	}
	if len(s.services) > 0 {
		srv, err := s.newRPCServer()
		add("grpc", srv, err)
		if err == nil {
			s.watch(srv, "grpc")
			for _, r := range s.services {
				srv.RegisterService(r.desc, r.impl)
			}
		}
	}
	if s.handles {
		srv, err := s.newHTTPServer()
		add("http", srv, err)
		if err == nil {
			s.watch(srv.Handler(), "http")
		}
	}
	errs = append(errs, s.host.endpoint(endpoints, s.cfg.Settings.Advertise))
	return servers, endpoints, errors.Join(errs...)
}

func (s *Service) newRPCServer() (srv *rpc.Server, err error) {
	cfg := s.cfg.RPCServer
	if cfg.Addr, cfg.Listener, err = s.listenOn(cfg.Addr, cfg.Listener, cfg.TLS == nil && !cfg.Insecure); err != nil {
		return nil, fmt.Errorf("rpc listen: %w", err)
	}
	if cfg.Starting == nil {
		cfg.Starting = s.host.settled()
	}
	if srv, err = rpc.NewServer(cfg); err != nil {
		s.unlisten(cfg.Listener)
	}
	return srv, err
}

func (s *Service) newHTTPServer() (srv *rest.Server, err error) {
	cfg := s.cfg.HTTPServer
	if cfg.Addr, cfg.Listener, err = s.listenOn(cfg.Addr, cfg.Listener, cfg.TLS == nil && !cfg.Insecure); err != nil {
		return nil, fmt.Errorf("rest listen: %w", err)
	}
	if cfg.Starting == nil {
		cfg.Starting = s.host.settled()
	}
	handler := problems{s.mux, cmp.Or(cfg.HealthPath, rest.DefaultHealthPath)}
	if srv, err = rest.NewServer(s.failing(handler), cfg); err != nil {
		s.unlisten(cfg.Listener)
	}
	return srv, err
}

// components are in the order of the start; the stop is the reverse: leaders, subscriptions, servers, tasks, then out of the registry.
func (s *Service) components(servers []*serving, endpoints map[string]string) []lifecycle.Component {
	tasks := lifecycle.Component(s.tasks)
	var first []lifecycle.Component
	if s.policies.store != nil {
		first = append(first, following(s.followPolicies))
	} else if url := ConfigURL(s.cfg.Settings.Registry); url != "" && s.cfg.Settings.Config == "" && s.cfg.Registry == nil {
		scheme, _, _ := strings.Cut(url, ":")
		s.cfg.Logger.Info("no live settings: the registry's engine is not linked for them", "scheme", scheme)
	}
	if s.host != nil {
		first = append(first, s.host)
	}
	first = append(first, lifecycle.Named("locks", lifecycle.Func(s.giveBack)))
	if len(endpoints) == 0 {
		s.cfg.Logger.Info("running without a listener", s.adminAttr()...)
		s.readyAfter(s.host.settled())
		first = append(first, tasks)
		if subs := s.queues.component(); subs != nil {
			first = append(first, lifecycle.Named("subscriptions", lifecycle.Func(subs.Run)))
		}
		return append(first, struct { // without Drain: there is nobody to wait for
			lifecycle.Component
			lifecycle.Namer
		}{s.locks.leads, s.locks.leads})
	}
	serving, group := s.serving(servers)
	attrs := append([]any{"registry", s.cfg.registryKind()}, s.adminAttr()...)
	for _, protocol := range []string{"grpc", "http", replica.Endpoint} {
		if addr, ok := endpoints[protocol]; ok {
			attrs = append(attrs, protocol, addr)
		}
	}
	s.cfg.Logger.Info("listening", attrs...)
	for protocol, addr := range endpoints {
		if s.cfg.registryIsElsewhere() && onLoopback(addr, nil) {
			s.cfg.Logger.Warn("a loopback address is announced where others find it, and others dial themselves: set HOLDFAST_ADVERTISE, and listen there",
				"protocol", protocol, "addr", addr)
			break
		}
	}
	s.readyAfter(serving, s.host.settled())
	announcement := s.reg.Announce(registry.Instance{
		Service:   s.name,
		ID:        s.cfg.Settings.Instance,
		Endpoints: endpoints,
		Zone:      s.cfg.Settings.Zone,
		Version:   s.cfg.Settings.Version,
	})
	first = append(first, &presence{announcement, serving, s.drains}, tasks)
	if group != nil {
		first = append(first, group)
	}
	if subs := s.queues.component(); subs != nil {
		first = append(first, subs)
	}
	return append(first, s.locks.leads)
}

// serving returns the servers as one, nil if there are none, and what is closed when others can reach this instance.
func (s *Service) serving(servers []*serving) (<-chan struct{}, lifecycle.Component) {
	if len(servers) == 0 {
		return s.host.Ready(), nil
	}
	members := make([]lifecycle.Component, len(servers))
	for i, srv := range servers {
		members[i] = srv
	}
	group := lifecycle.Group("servers", members...)
	return group.(lifecycle.Readier).Ready(), group
}

// following is the watch of live policies as a component: the first to start and the last to stop.
type following func(context.Context) error

func (f following) Run(ctx context.Context) error { return f(ctx) }

// Name implements lifecycle.Namer.
func (f following) Name() string { return "policies" }

// presence is the announcement as the first component, so that it is the last to stop, which yet waits for the servers.
type presence struct {
	*registry.Announcement
	serving <-chan struct{}
	drains  func()
}

// Drain implements lifecycle.Drainer.
func (p *presence) Drain(ctx context.Context) error {
	p.drains()
	return p.Announcement.Drain(ctx)
}

func (p *presence) Run(ctx context.Context) error {
	select {
	case <-p.serving:
		return p.Announcement.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// Close ends what Dial, HTTPClient and the registry hold. Run calls it; call it only for a Service that is never run.
// It is idempotent.
func (s *Service) Close() error {
	defer s.faults.Close()   //nolint:errcheck // it has none; without s.mu, which stats wants
	defer s.closeTelemetry() // without s.mu, too
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return nil
	}
	s.state = closed
	var errs []error
	for _, c := range s.clients {
		errs = append(errs, c.Close())
	}
	if s.http != nil {
		errs = append(errs, s.http.Close())
	}
	errs = append(errs, s.queues.close(), s.host.close(), s.locks.close(),
		s.closeInTime("registry", s.reg.Close), s.closeInTime("live settings", s.policies.close))
	if s.eng != nil {
		errs = append(errs, s.eng.Close())
	}
	return errors.Join(errs...)
}

// closingTime bounds what waits for files, of which a file system that hangs makes no end.
const closingTime = 2 * time.Second

// closeInTime calls fn, which needs no mu, and leaves it behind when it takes too long: a service that is to end ends.
func (s *Service) closeInTime(what string, fn func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- fn() }()
	timeout := time.NewTimer(closingTime)
	defer timeout.Stop()
	select {
	case err := <-ended:
		return err
	case <-timeout.C:
		s.cfg.Logger.Warn("hangs while it is closed, and is left behind", "what", what, "after", closingTime)
		return nil
	}
}

// refused is a connection that could not be made: every call says why.
type refused struct{ err error }

func (r refused) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return failure.Wrap(r.err, failure.FailedPrecondition, "the connection could not be made")
}

func (r refused) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, failure.Wrap(r.err, failure.FailedPrecondition, "the connection could not be made")
}
