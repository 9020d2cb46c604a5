package rpc

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/holdfast-go/holdfast/registry"
)

// Scheme is that of targets whose instances come from a registry: holdfast:///inventory.
const Scheme = "holdfast"

// Client calls one service. It is a grpc.ClientConnInterface, so any generated stub takes it. Safe for concurrent use.
//
// Every unary call has a deadline: the caller's, or 5 s. An attempt that provably did not reach an instance is always
// followed by another, one that an instance was too busy for by one more; one that may have run only if the method is
// safe ([MethodPolicy.Safe], protobuf's idempotency_level, [WithIdempotencyKey]). A call without side effects (so says the
// idempotency_level, or else [MethodPolicy.Hedge]) that takes longer than 95 % of them do is made a second time at another
// instance, and the first answer counts; these hedges are at most 4 % of the calls. All further attempts together are at
// most 10 % of the calls and 3 a second, beyond what was saved up (resilience.BudgetPolicy). Of a service that refuses most
// calls, most are held back here.
// Errors are of type *resilience.CallError, which names the instances that were tried and what has refused the call;
// status.FromError, failure.CodeOf and errors.Is see through it to the last instance's answer.
//
// Calls take along how critical they are, on whose behalf they are made and how often they were tried
// (resilience.WithCriticality, WithTenant); within a request being served they inherit that.
//
// While no instance is reachable, calls wait for one, and answer UNAVAILABLE shortly before their deadline.
//
// Of a reply only what the call that returns has got is in it, but while Invoke runs two attempts may read the request:
// it must not be changed. Only replies that are protobuf messages are hedged. Call options that are told of the end
// (grpc.OnFinish) are told once, of the call's.
//
// A stream is set up like a call, without hedges, and is then the user's: it is neither retried nor given a deadline.
type Client struct {
	service string
	conn    *grpc.ClientConn
	dialer  *dialer
}

// Dial returns a client of service, whose instances it follows in reg. It begins to connect and does not wait: the
// service need not have an instance, nor the registry be up. The error is of the configuration. The caller keeps reg
// and closes the Client before it.
func Dial(reg *registry.Registry, service string, cfg ClientConfig) (*Client, error) {
	if err := registry.ValidateService(service); err != nil {
		return nil, fmt.Errorf("rpc dial: %w", err)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("rpc dial %s: %w", service, err)
	}
	d := &dialer{cfg: cfg.defaults()}
	conn, err := grpc.NewClient(Scheme+":///"+service, d.options(reg)...)
	if err != nil {
		return nil, fmt.Errorf("rpc dial %s: %w", service, err)
	}
	conn.Connect()
	return &Client{service: service, conn: conn, dialer: d}, nil
}

// Invoke performs a unary call. Generated stubs call it.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream begins a stream. Generated stubs call it.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.conn.NewStream(ctx, desc, method, opts...)
}

// Service returns the name of the service.
func (c *Client) Service() string { return c.service }

// Counts returns how many calls were made, and in how many attempts. Probes and health checks are not counted.
func (c *Client) Counts() (calls, attempts uint64) {
	c.dialer.targets.Range(func(_, t any) bool {
		n, m := t.(*target).budget.Counts()
		calls, attempts = calls+n, attempts+m
		return true
	})
	return calls, attempts
}

// Conn returns the connection underneath, with the same behaviour, for what wants a *grpc.ClientConn.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Close closes all connections. Calls in flight end with CANCELED.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("rpc close %s: %w", c.service, err)
	}
	return nil
}

// DialOptions returns what makes a *grpc.ClientConn of one's own a Client:
//
//	conn, err := grpc.NewClient("holdfast:///inventory", rpc.DialOptions(reg, cfg)...)
//
// Targets of other schemes get the deadline and the retries, and all attempts go where grpc-go sends them.
// Call it once for each grpc.NewClient. What cannot be in cfg, such as a negative time, is replaced by its default; use
// cfg.Validate to know.
func DialOptions(reg *registry.Registry, cfg ClientConfig) []grpc.DialOption {
	return (&dialer{cfg: cfg.defaults()}).options(reg)
}

func (d *dialer) options(reg *registry.Registry) []grpc.DialOption {
	cfg := d.cfg
	creds := newLoopbackCredentials()
	switch {
	case cfg.TLS != nil:
		creds = credentials.NewTLS(cfg.TLS)
	case cfg.Insecure:
		creds = insecure.NewCredentials()
	}
	opts := []grpc.DialOption{
		grpc.WithResolvers(&resolverBuilder{reg: reg, dialer: d}),
		grpc.WithTransportCredentials(creds),
		grpc.WithChainUnaryInterceptor(d.unary),
		grpc.WithChainStreamInterceptor(d.stream),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(),
		// One layer retries. What remains is grpc-go's transparent retry of what no server has seen.
		grpc.WithDisableRetry(),
		// Idle would close resolver and balancer, and the first call after it would pay for that.
		grpc.WithIdleTimeout(0),
		// An instance that is back should have calls at once; grpc-go's default lets it wait for up to 2 minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		// A connection whose other side is gone without a word is otherwise noticed after a quarter of an hour.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		// Addresses come from the registry, and are those of machines that are reached directly.
		grpc.WithNoProxy(),
	}
	return append(append(opts, d.cfg.dialer()...), d.cfg.Options...)
}
