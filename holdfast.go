package holdfast

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/config"
	configdriver "github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/lock"
	lockdriver "github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/queue"
	queuedriver "github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/etcdregistry"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rpc"
	"github.com/holdfast-go/holdfast/telemetry"
)

// Config is everything about a Service that has a default. New fills Settings from the environment, then calls its
// options with the Config, and looks at nothing afterwards. All other fields start as zero values, which work.
type Config struct {
	// Settings are those of the environment.
	Settings Settings

	// Registry is the registry's engine, used instead of Settings.Registry. The caller closes it after the Service.
	Registry driver.Registry
	// Etcd says how etcd is reached (TLS, credentials, prefix) when Settings.Registry is etcd's. Endpoints are those
	// of Settings.
	Etcd etcdregistry.Config
	// Drivers are the engines that Settings may name beside etcd and static addresses; see the function Drivers.
	Drivers []Driver
	// Discovery tunes the registry's client. CacheDir is below Settings.DataDir unless it is set.
	Discovery registry.Config

	// RPCServer, RPCClient, HTTPServer and HTTPClient configure what the Service makes: TLS, limits, policies.
	// Addresses are those of Settings unless they are set here.
	RPCServer  rpc.ServerConfig
	RPCClient  rpc.ClientConfig
	HTTPServer rest.ServerConfig
	HTTPClient rest.ClientConfig

	// Policies are those of services, of the called ones and of this one, by name. Settings.Policies and the live ones go
	// over them, key by key.
	Policies map[string]policy.Service
	// Store is the engine of live settings, used instead of Settings.Config. The caller closes it after the Service.
	Store configdriver.Store
	// Live tunes the client of live settings. CacheDir is below Settings.DataDir unless it is set.
	Live config.Config

	// Locks is the engine of locks, used instead of Settings.Lock. The caller closes it after the Service.
	Locks lockdriver.Engine
	// Lock tunes the client of locks. Name is Settings.Instance unless it is set.
	Lock lock.Config

	// Messages is the engine of messages, used instead of Settings.Queue. The caller closes it after the Service.
	Messages queuedriver.Engine
	// Queue tunes the client of messages. Source is the Service's name, Instance is Settings.Instance, unless they are set.
	Queue queue.Config

	// Tasks says how functions given to Go and Lead are restarted.
	Tasks lifecycle.SupervisorConfig
	// Lifecycle bounds start and stop. DrainDelay is that of Settings unless it is set.
	Lifecycle lifecycle.Config

	// Replica tunes the host that Replicate opens: TLS, elections, replacement. Name, Dir, Peers, Addr and Members are
	// those of Settings unless they are set.
	Replica replica.Config

	// Telemetry tunes what the Service says about itself, and where to. Service, Instance, Version and Zone are its own unless
	// they are set. The environment's OTEL_* settings go over it; without any, nothing is sent. What asks package otel for a provider
	// gets that of the first Service in the process, unless somebody has set one before New.
	Telemetry telemetry.Config
	// Admin is the listener where people and Prometheus look at the process. Addr is that of Settings unless it is set.
	Admin AdminConfig

	wrapDial func(next fault.DialFunc) fault.DialFunc // of drivers; nil changes nothing

	// Logger is used by everything above that has none of its own. Default: as Settings say, to standard error, with
	// the names of service and instance as OpenTelemetry calls them, since "service" and "instance" are those of others; and
	// what is logged with the context of a request has trace_id and span_id, which telemetry.Telemetry.Handler adds to a logger of
	// one's own.
	Logger *slog.Logger
}

// Option changes a Config before a Service is made of it.
type Option func(*Config)

// Service is one instance of a service: what it serves, whom it calls, what it does in the background. Make it with New,
// register, then run it once, with Run or Main. Methods are safe for concurrent use.
type Service struct {
	name string
	cfg  Config
	reg  *registry.Registry
	eng  driver.Registry // nil if it is the caller's
	mux  *http.ServeMux

	faults    *fault.Injector      // nil outside of a platform
	telemetry *telemetry.Telemetry // nil if it is turned off
	seen      messagesSeen
	change    chan struct{} // has something when the state is another one
	admin     atomic.Pointer[admin]
	draining  atomic.Bool
	read      Settings        // as the environment had them
	given     map[string]bool // the variables that the environment had
	tasks     *lifecycle.Supervisor
	policies  *policies
	locks     locks
	queues    queues

	mu       sync.Mutex
	problems []error // why it cannot run; collected until then
	services map[string]registration
	handles  bool
	clients  map[string]*rpc.Client
	http     *rest.Transport
	loads    []serverLoad
	state    state
	ready    []<-chan struct{} // what /readyz waits for
	began    time.Time         // since when it does
	madeUp   bool              // Settings.Instance is of this process alone
	host     *replicating      // nil before Replicate
}

// maxClients bounds what Dial keeps, should somebody take names from outside.
const maxClients = 1024

// load is of what can be told how much it does.
type load interface {
	Counts() (inFlight int, handled uint64)
	Stats() admission.Stats
}

// serverLoad is that of a server.
type serverLoad struct {
	load
	protocol string
}

type registration struct {
	desc *grpc.ServiceDesc
	impl any
}

type state int

const (
	fresh state = iota
	running
	closed
)

// New returns a Service of that name, which is how others find it: letters, digits, '-', '_' and '.'. It reads the
// environment and opens nothing that could fail or wait: problems are reported by Run, all at once.
func New(name string, options ...Option) *Service {
	settings, err := ReadSettings(os.LookupEnv)
	s := &Service{
		name:     name,
		cfg:      Config{Settings: settings},
		mux:      http.NewServeMux(),
		services: make(map[string]registration),
		clients:  make(map[string]*rpc.Client),
		change:   make(chan struct{}, 1),
		read:     settings,
		given:    givenVariables(os.LookupEnv),
	}
	s.seen.moved = s.moved
	s.problem(err)
	s.problem(registry.ValidateService(name))
	for _, o := range options {
		o(&s.cfg)
	}
	s.defaults()
	s.openTelemetry()
	s.follow()
	s.open()
	s.tasks = lifecycle.NewSupervisor(s.cfg.Tasks)
	s.locks.leads = newLeaders(s.cfg.Tasks)
	return s
}

// defaults passes on what is said once.
func (s *Service) defaults() {
	c, set := &s.cfg, &s.cfg.Settings
	if set.Instance == "" {
		set.Instance, s.madeUp = newInstance(s.name), true
	}
	if c.Logger == nil {
		c.Logger = traced(set.logger(os.Stderr)).With("service.name", s.name, "service.instance.id", set.Instance)
	}
	for _, log := range []**slog.Logger{
		&c.Discovery.Logger, &c.RPCServer.Logger, &c.RPCClient.Logger, &c.HTTPServer.Logger, &c.HTTPClient.Logger,
		&c.Live.Logger, &c.Replica.Logger, &c.Lock.Logger, &c.Queue.Logger, &c.Tasks.Logger, &c.Lifecycle.Logger,
	} {
		if *log == nil {
			*log = c.Logger
		}
	}
	if set.Insecure {
		c.Etcd.Insecure, c.RPCServer.Insecure, c.RPCClient.Insecure = true, true, true
		c.HTTPServer.Insecure, c.HTTPClient.Insecure, c.Replica.Insecure = true, true, true
		c.Admin.Insecure = true
	}
	if bugDrain {
		c.Lifecycle.DrainDelay, c.RPCServer.DrainTimeout, c.HTTPServer.DrainTimeout = -1, -1, -1
	}
	if c.RPCServer.Addr == "" && c.RPCServer.Listener == nil {
		c.RPCServer.Addr = set.GRPCAddr
	}
	if c.HTTPServer.Addr == "" && c.HTTPServer.Listener == nil {
		c.HTTPServer.Addr = set.HTTPAddr
	}
	if c.Admin.Addr == "" && c.Admin.Listener == nil {
		c.Admin.Addr = set.AdminAddr
	}
	if c.Discovery.CacheDir == "" && set.DataDir != "" {
		c.Discovery.CacheDir = filepath.Join(set.DataDir, "registry")
	}
	if c.Live.CacheDir == "" && set.DataDir != "" {
		c.Live.CacheDir = filepath.Join(set.DataDir, "config")
	}
	if c.Lock.Name == "" {
		c.Lock.Name = set.Instance
	}
	if c.Queue.Source == "" {
		c.Queue.Source = s.name
	}
	if c.Queue.Instance == "" {
		c.Queue.Instance = set.Instance
	}
	if c.Lifecycle.DrainDelay == 0 {
		c.Lifecycle.DrainDelay = set.DrainDelay
		if set.DrainDelay == 0 {
			c.Lifecycle.DrainDelay = -1 // 0 is lifecycle's default, and somebody asked for none
		}
	}
}

// newInstance makes an ID that no other instance has: the machine's name is for people.
func newInstance(service string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	host, _, _ = strings.Cut(host, ".")
	return fmt.Sprintf("%s-%s-%s", service, host, strings.ToLower(rand.Text()[:6]))
}

// open makes the registry. A Service that has a problem gets one in memory, so that its methods work until Run tells.
func (s *Service) open() {
	engine, registered := s.cfg.Registry, true
	if engine == nil {
		var err error
		if engine, err = openRegistry(&s.cfg); err != nil {
			s.problem(err)
			registered = false
			engine = inMemory()
		}
		s.eng = engine
	}
	s.problem(s.cfg.Discovery.Validate())
	s.problem(s.cfg.RPCClient.Validate())
	s.problem(s.cfg.HTTPClient.Validate())
	s.problem(s.cfg.Lock.Validate())
	s.problem(s.cfg.Queue.Validate())
	s.reg = registry.New(engine, s.cfg.Discovery)
	s.openPolicies(registered)
}

func (s *Service) problem(err error) {
	if err != nil {
		s.problems = append(s.problems, err)
	}
}

// Name returns the name given to New.
func (s *Service) Name() string { return s.name }

// Settings returns what the Service goes by: the environment, the options, and an Instance in any case.
func (s *Service) Settings() Settings { return s.cfg.Settings }

// Logger returns the Service's logger.
func (s *Service) Logger() *slog.Logger { return s.cfg.Logger }

// Registry returns the registry, for clients of one's own: rpc.Dial(svc.Registry(), "catalog", cfg). It is closed with
// the Service.
func (s *Service) Registry() *registry.Registry { return s.reg }

// RegisterService makes the Service serve a gRPC service; generated code calls it. It must be called before Run.
func (s *Service) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != fresh {
		s.cfg.Logger.Error("gRPC service registered too late, it is not served", "grpc_service", desc.ServiceName)
		return
	}
	if _, twice := s.services[desc.ServiceName]; twice {
		s.problem(fmt.Errorf("register %s: registered twice", desc.ServiceName))
		return
	}
	s.services[desc.ServiceName] = registration{desc, impl}
}

// Handle makes the Service serve HTTP: handler answers what matches pattern, in the form that http.ServeMux
// documents ("/", "GET /items/{id}"). It must be called before Run. A wrong pattern is a problem that Run reports.
//
// GET /healthz (rest.ServerConfig.HealthPath) says how this instance is, unless a pattern names that path, or a handler that is no
// http.HandlerFunc, such as a router, has something there.
func (s *Service) Handle(pattern string, handler http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != fresh {
		s.cfg.Logger.Error("handler registered too late, it is not served", "pattern", pattern)
		return
	}
	s.handles = true
	// The mux panics on patterns that are wrong or clash: for one that is told of all problems at once it is another one.
	err := lifecycle.Recover(func() error { s.mux.Handle(pattern, handler); return nil })
	var p *lifecycle.PanicError
	if errors.As(err, &p) {
		s.problem(fmt.Errorf("handle %q: %v", pattern, p.Value))
	}
}

// HandleFunc is Handle for a function.
func (s *Service) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	s.Handle(pattern, http.HandlerFunc(handler))
}

// Dial returns a connection to a service for any generated client: catalogpb.NewCatalogClient(svc.Dial("catalog")).
// It does not wait, neither for an instance of that service nor for the registry; package rpc documents what a call does.
// There is one for each service, also when Dial is called again, and it is closed with the Service.
// What is wrong with the name is reported by Run, and by every call.
func (s *Service) Dial(service string) grpc.ClientConnInterface {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[service]; ok {
		return c
	}
	c, err := s.dial(service)
	if err != nil {
		err = fmt.Errorf("dial %q: %w", service, err)
		if s.state == fresh {
			s.problem(err)
		}
		return refused{err}
	}
	s.clients[service] = c
	return c
}

// dial needs mu.
func (s *Service) dial(service string) (*rpc.Client, error) {
	switch {
	case s.state == closed:
		return nil, fmt.Errorf("service %s is closed", s.name)
	case len(s.clients) >= maxClients:
		return nil, fmt.Errorf("there are connections to %d services already", maxClients)
	}
	return rpc.Dial(s.reg, service, s.cfg.RPCClient)
}

// HTTPClient returns a client for services by their names: svc.HTTPClient().Get("http://catalog/items/7"). Package rest
// documents what a request does. The connections are shared by all clients this returns, and closed with the Service.
// A redirect is followed within the service that was asked, and is the answer when it leads elsewhere: a service does not
// get to choose whom its callers call.
func (s *Service) HTTPClient() *http.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		s.http = rest.NewTransport(s.reg, s.cfg.HTTPClient)
		if s.state == closed {
			_ = s.http.Close() // so that its requests say that it is closed
		}
	}
	return &http.Client{Transport: s.http, CheckRedirect: withinService}
}

// withinService is a CheckRedirect. Ten redirects are the bound that net/http has.
func withinService(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 || req.URL.Scheme != via[0].URL.Scheme || req.URL.Host != via[0].URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// Go runs fn in the background for as long as the Service runs: restarted with backoff when it fails or panics,
// joined on stop. lifecycle.Supervisor documents the details.
func (s *Service) Go(name string, fn func(ctx context.Context) error) { s.tasks.Go(name, fn) }

// Tasks returns the state of what Go was given and is not done.
func (s *Service) Tasks() []lifecycle.TaskState { return s.tasks.States() }
