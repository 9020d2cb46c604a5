// Package edge is where a service's users come in: it listens on the public HTTP address of a service and forwards every
// request to an instance of that service, so that an instance which dies, freezes or is replaced is not noticed.
//
// It is a reverse proxy over the Transport of package rest, with the same rules about what is tried again: safe and
// idempotent methods, and whatever was not sent. Requests with an Idempotency-Key are if the service is declared to do
// things once per key; the header alone is only the user's word. Every path is forwarded, /healthz as well: it is the
// service that is healthy or not.
//
// # What comes from outside
//
// What users say of themselves is bounded here, since everything behind believes it: the criticality of a request is at most
// Config.MaxCriticality; the tenant, the trace, the number of an attempt and the question for an instance's load are dropped,
// and so are the instance's answer to the latter and why it keeps what it saw. The number of connections is bounded, in all and of one client.
//
// The edge turns no request away for its own sake. The services do, each by what it measures itself, and their 503 with its
// Retry-After reaches the user after it was tried once more elsewhere.
//
// # Whose retry
//
// The edge retries, and so do the services behind it. That the two do not multiply is due to three things: each has its
// own budget of about 10 % over its traffic; a service that gave up on a call of its own says so with a
// Retry-After, which the edge passes on to the user instead of trying again; and the edge gives an attempt at least a
// second, so that a service has the time to recover from a failure below it. The number of the attempt travels in
// X-Attempt, and what a client sent under that name is dropped. It does not switch off the retries of the services
// below: when a gateway and a service behind it freeze together, both layers are needed.
package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
)

const (
	defaultTimeout      = 10 * time.Second
	defaultMaxBodyBytes = 10 << 20
	defaultWait         = 5 * time.Second
	attemptFloor        = time.Second
	copyBuffer          = 32 << 10
	defaultMaxConns     = 10_000
	defaultClients      = 10 // who fill the edge together, if each of them takes what one may
)

// Config is the configuration of an Edge. Its zero value works.
type Config struct {
	// TLS is what users meet, ClientTLS what the edge uses towards the instances; nil means plaintext.
	TLS, ClientTLS *tls.Config
	// Insecure allows plaintext on addresses beyond loopback, on both sides.
	Insecure bool
	// Timeout is the longest a request may take in total; a client can ask for less with X-Request-Timeout-Ms. It ends
	// neither server-sent events nor upgraded connections (WebSocket). 0 means 10 s.
	Timeout time.Duration
	// Wait is how long a request waits for an instance that can be reached, within Timeout. Then it is answered with 503.
	// 0 means 5 s: long enough for a process that was killed to be started again.
	Wait time.Duration
	// MaxBodyBytes bounds a request's body; more is answered with 413. 0 means 10 MiB, negative no bound. Bodies pass
	// through: what is kept of one is at most 1 MiB, to send it again, and 64 KiB if it may not run twice.
	MaxBodyBytes int64
	// DrainTimeout is how long requests in flight may take to end once Run's context is done. 0 means 20 s.
	DrainTimeout time.Duration
	// TrustForwarded keeps the X-Forwarded-* headers of the client. Only for an edge that is reached through another proxy
	// alone: otherwise clients could claim any address.
	TrustForwarded bool
	// MaxCriticality is the highest criticality that a user may claim with X-Criticality; a higher one counts as this one.
	// 0 is Critical, which is also that of requests which claim none.
	MaxCriticality resilience.Criticality
	// TrustTenant hands on the X-Tenant of the client. Only where something in front has made sure that it is true:
	// otherwise anybody uses up anybody's quota.
	TrustTenant bool
	// TrustTrace believes the trace that a request says it belongs to (traceparent, tracestate, baggage), and tells the
	// client why it was kept. Only for an edge that is reached by services of one's own alone: otherwise anybody decides
	// what everything behind keeps. Without it every request begins a trace of its own.
	TrustTrace bool
	// Idempotency declares that the service does things once per Idempotency-Key, so that requests with one are repeated
	// whatever their method. Declared wrongly, an answer that is lost means that something happens twice.
	Idempotency bool
	// Methods is what is different for some requests; see rest.ClientConfig.
	Methods map[string]policy.Method
	// Policies are those in force; that of the service rules the attempts as soon as it changes. nil: none.
	Policies *policy.Live
	// MaxConns bounds the connections of users; who comes then is answered 503 and closed. From three quarters of it on no
	// connection is kept open after its answer. 0 means 10,000, negative no bound: then whoever likes uses up the
	// process's file descriptors.
	MaxConns int
	// MaxConnsPerClient bounds those of one IP address (IPv6: of a /64), this machine's own excepted. 0 means a tenth of
	// MaxConns, negative no bound. With TrustForwarded there is none: they are all the proxy's.
	MaxConnsPerClient int
	// Dial makes the connections to instances, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Policy rules the attempts. The zero value means the defaults of package resilience, with at least 1 s for an attempt.
	// Its Timeout is not used: there is the one above.
	Policy resilience.Policy
	// OnEject is told when an instance gets no requests for a while, and when it gets them again. It must not block.
	OnEject func(balance.Event)
	// Observer is told of the requests, and of what becomes of them among the instances. nil: nobody is.
	Observer resilience.Observer
	// Logger receives the requests that could not be forwarded. nil means slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Wait == 0 {
		c.Wait = defaultWait
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = defaultMaxBodyBytes
	}
	if c.MaxConns == 0 {
		c.MaxConns = defaultMaxConns
	}
	if c.MaxConnsPerClient == 0 {
		c.MaxConnsPerClient = (c.MaxConns + defaultClients - 1) / defaultClients
	}
	if c.TrustForwarded {
		c.MaxConnsPerClient = -1
	}
	if c.Policy.AttemptFloor == 0 {
		c.Policy.AttemptFloor = attemptFloor
	}
	c.Policy.Timeout = c.Timeout
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Edge forwards the HTTP requests of one address to the instances of one service. It is a lifecycle component.
type Edge struct {
	service   string
	cfg       Config
	gate      *gate
	server    *rest.Server
	transport *rest.Transport
	proxy     *httputil.ReverseProxy
}

// New listens on addr at once, so that a taken port is an error here, and forwards to the instances that reg knows of
// service, once Run is called. Without TLS the address must be on loopback unless cfg.Insecure is set. An Edge
// that is never run must be closed.
func New(reg *registry.Registry, service, addr string, cfg Config) (*Edge, error) {
	if err := registry.ValidateService(service); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	cfg = cfg.withDefaults()
	client := rest.ClientConfig{
		Policy:     cfg.Policy,
		Methods:    cfg.Methods,
		Policies:   cfg.Policies,
		IgnoreKeys: !cfg.Idempotency,
		TLS:        cfg.ClientTLS,
		Insecure:   cfg.Insecure,
		Wait:       cfg.Wait,
		Dial:       cfg.Dial,
		Balance:    balance.Config{OnEject: cfg.OnEject},
		Observer:   cfg.Observer,
		Logger:     cfg.Logger,
	}
	if err := client.Validate(); err != nil {
		return nil, fmt.Errorf("edge %s: %w", service, err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("edge %s: listen: %w", service, err)
	}
	e := &Edge{service: service, cfg: cfg, gate: newGate(l, cfg.MaxConns, cfg.MaxConnsPerClient, cfg.TLS == nil)}
	observer := cfg.Observer
	if observer != nil && !cfg.TrustTrace {
		observer = outside{observer}
	}
	server, err := rest.NewServer(http.HandlerFunc(e.forward), rest.ServerConfig{
		Listener:     e.gate,
		TLS:          cfg.TLS,
		Insecure:     cfg.Insecure,
		Timeout:      cfg.Timeout,
		MaxBodyBytes: cfg.MaxBodyBytes,
		DrainTimeout: cfg.DrainTimeout,
		HealthPath:   "-",
		Admission:    admission.Config{Off: true},
		Observer:     observer,
		Logger:       cfg.Logger,
	})
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("edge %s: %w", service, err)
	}
	e.server = server
	e.transport = rest.NewTransport(reg, client)
	e.proxy = &httputil.ReverseProxy{
		Rewrite:        e.rewrite,
		Transport:      e.transport,
		ModifyResponse: answered,
		ErrorHandler:   e.failed,
		ErrorLog:       slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug), // clients that go away in the middle
		BufferPool:     &buffers{},
	}
	return e, nil
}

// Addr returns the address the edge listens on.
func (e *Edge) Addr() net.Addr { return e.server.Addr() }

// Service returns the name of the service.
func (e *Edge) Service() string { return e.service }

// Instances returns what the edge knows of its service's instances, by ID; nothing before the first request. It is the caller's.
func (e *Edge) Instances() []balance.Instance { return e.transport.Instances()[e.service] }

// Load is what an Edge has to do, and has done.
type Load struct {
	// InFlight is how many requests are being forwarded, Served how many have been, whatever the answer was.
	InFlight int
	Served   uint64
	// Calls is how many of them were sent to instances, and Attempts how often.
	Calls, Attempts uint64
}

// Load returns the load of the edge, since New.
func (e *Edge) Load() Load {
	var l Load
	l.InFlight, l.Served = e.server.Handler().Counts()
	l.Calls, l.Attempts = e.transport.Counts()
	return l
}

// Name implements lifecycle.Namer.
func (e *Edge) Name() string { return "edge " + e.service + " " + e.Addr().String() }

// Ready returns a channel that is closed when the edge accepts requests; whether an instance is there does not matter to
// it.
func (e *Edge) Ready() <-chan struct{} { return e.server.Ready() }

// Drain makes every answer carry "Connection: close"; requests are served as before.
func (e *Edge) Drain(ctx context.Context) error { return e.server.Drain(ctx) }

// Run forwards until ctx is done and then ends like rest.Server.Run.
func (e *Edge) Run(ctx context.Context) error {
	err := e.server.Run(ctx)
	e.gate.wait()
	if cerr := e.transport.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("edge %s: %w", e.service, err)
	}
	return nil
}

// Close closes the listener, the connections and the watch at once. It may be called more than once.
func (e *Edge) Close() error {
	err := e.server.Close()
	e.gate.wait()
	if cerr := e.transport.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("edge %s: %w", e.service, err)
	}
	return nil
}

// buffers keeps the buffers that bodies are copied with.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, copyBuffer)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
