package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
)

const (
	// DefaultMaxReplayBytes is what is kept of a request's body by default.
	DefaultMaxReplayBytes = 1 << 20
	// maxServices bounds the services of one Transport: their names may come from outside, through a proxy.
	maxServices = 1024
	// unused is how long a service must not have been called for it to give way to another one, when there are so many.
	unused = time.Minute
)

var errClosed = failure.New(failure.Unavailable, "transport is closed").WithReason("TRANSPORT_CLOSED", "holdfast")

// ClientConfig is the configuration of a Transport. Its zero value works.
type ClientConfig struct {
	// Policy rules deadlines, attempts, backoff and the retry budget of every service. The zero value means its defaults.
	Policy resilience.Policy
	// Methods is what is different for some requests, by path or by method and path: "GET /orders/7". A path that ends
	// with a slash stands for all below it ("POST /orders/", "/orders/"). The longest that fits wins; of equal ones, the
	// one with a method. It holds for all services of the Transport.
	Methods map[string]policy.Method
	// Policies are those in force for the services, if any: what that of a service says takes the place of Policy, Balance
	// and Methods, for the calls that begin after it was changed. nil: none.
	Policies *policy.Live
	// IgnoreKeys: an Idempotency-Key does not make a request repeatable, but for the Methods whose Safe says so. For
	// requests that come from outside, such as a proxy's: the key is the sender's word, and whether anybody does things
	// once per key is the service's. By default it does, since it is this program's own code that sets it.
	IgnoreKeys bool
	// TLS is the client side configuration, cloned; nil means plaintext. An empty ServerName means the name of the
	// service. With it https is spoken to the instances also for URLs that say http.
	TLS *tls.Config
	// Insecure allows plaintext to instances beyond loopback.
	Insecure bool
	// Wait is how long a call waits for an instance that can be reached before it fails with Unavailable. 0 means as long as
	// its deadline allows, so that a service of one instance can be restarted unnoticed.
	Wait time.Duration
	// Balance is how an instance of a service is chosen for each attempt, and when one is left alone for a while.
	Balance balance.Config
	// MaxReplayBytes bounds what is kept of a request's body so that it can be sent again; a longer one is sent as it
	// comes, once, unless the first bytes of it were not read yet. A request with GetBody is not kept. 0 means 1 MiB,
	// negative keeps nothing. It bounds the memory of one call. Of a request that may not run twice at most 64 KiB are
	// kept, for an instance that was too busy to begin with it.
	MaxReplayBytes int64
	// Dial makes the connections to instances, as net.Dialer.DialContext does, which it is if nil. It has a second for each.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Observer is told of every call and its attempts, and says what they take along; package telemetry has one. nil:
	// nobody is.
	Observer resilience.Observer
	// Logger receives what no request reports: instances that become unreachable or are ejected, and are back. nil means
	// slog.Default().
	Logger *slog.Logger
}

// Validate returns all that is wrong with the configuration, joined, or nil.
func (c ClientConfig) Validate() error {
	err := errors.Join(c.Policy.Validate(), c.Balance.Validate(), validateMethods(c.Policy, c.Methods))
	if c.Wait < 0 {
		err = errors.Join(err, fmt.Errorf("wait %v is negative", c.Wait))
	}
	if err != nil {
		return fmt.Errorf("rest client config: %w", err)
	}
	return nil
}

func (c ClientConfig) withDefaults() ClientConfig {
	if c.MaxReplayBytes == 0 {
		c.MaxReplayBytes = DefaultMaxReplayBytes
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Transport is an http.RoundTripper for URLs whose host is the name of a service: http://inventory/items/7. It is safe
// for concurrent use. Its errors are *resilience.CallError, inside the *url.Error of an http.Client; a response with an
// error status is a response, also when it is the last of several attempts.
//
// A call has one deadline in total: the caller's, or the Policy's if that is earlier or the only one. It covers the body
// of the response, unless that is a stream by its nature (101 Switching Protocols, text/event-stream), which
// only the caller's own context ends. The time of one attempt covers it up to the response's header, and for requests that
// may run twice also a body of at most 64 KiB: that is read whole within it, so that an instance that dies in the middle of
// it can be replaced by another. One whose length is not known is held back for 25 ms at most. An attempt at the only instance that may be picked has the time of
// the call, unless the Policy has an AttemptTimeout.
//
// The deadline travels in X-Request-Timeout-Ms, the number of the attempt in X-Attempt, and the Host is the service's name
// unless the request has one. Between services HTTP/1.1 is spoken. A response holds its instance's place in the
// balancer, and unless it is a stream that of the call among the Policy's MaxInFlight, until its body was read to the end,
// or to an error, or closed. Nobody else gives them back, so close every body.
type Transport struct {
	reg *registry.Registry
	cfg ClientConfig
	err error // of the configuration

	mu      sync.RWMutex
	targets map[string]*target
	closed  bool
	loops   sync.WaitGroup

	calls, attempts uint64 // of targets that were forgotten
}

// NewTransport returns a Transport over the services of reg. A wrong value in cfg is reported by every call: use
// cfg.Validate to know before. Close it after use.
func NewTransport(reg *registry.Registry, cfg ClientConfig) *Transport {
	return &Transport{reg: reg, cfg: cfg.withDefaults(), err: cfg.Validate(), targets: make(map[string]*target)}
}

// RoundTrip implements http.RoundTripper. It does not change req and always closes its body, maybe after it returned.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	g, err := t.target(req)
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		host := ""
		if req.URL != nil {
			host = req.URL.Host
		}
		return nil, &resilience.CallError{
			Service: host,
			Method:  methodOf(req),
			Stopped: resilience.StopFinal.String(),
			Err:     err,
		}
	}
	return newTrip(g, req).run()
}

// target finds or makes what is known of the service that req is for.
func (t *Transport) target(req *http.Request) (*target, error) {
	if t.err != nil {
		return nil, t.err
	}
	if req.URL == nil || req.Header == nil {
		return nil, failure.New(failure.InvalidArgument, "request has no URL or no Header")
	}
	service := req.URL.Host
	t.mu.RLock()
	g, closed := t.targets[service], t.closed
	t.mu.RUnlock()
	switch {
	case closed:
		return nil, errClosed
	case g != nil:
		return g, t.scheme(req)
	}
	if err := t.scheme(req); err != nil {
		return nil, err
	}
	if err := registry.ValidateService(service); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "host %.80q is not the name of a service", service)
	}
	return t.follow(service)
}

func (t *Transport) scheme(req *http.Request) error {
	switch {
	case req.URL.Scheme == "https" && t.cfg.TLS == nil:
		return failure.New(failure.InvalidArgument, "https without TLS in the ClientConfig")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return failure.New(failure.InvalidArgument, "scheme %.20q is neither http nor https", req.URL.Scheme)
	case strings.ContainsFunc(req.URL.RawQuery+req.URL.Opaque, func(c rune) bool { return c < ' ' || c == 0x7f }):
		// net/http finds out only when it writes, which costs it the connection.
		return failure.New(failure.InvalidArgument, "the URL has a control character in it")
	case req.Method == http.MethodConnect:
		return failure.New(failure.InvalidArgument, "CONNECT has no meaning for a service")
	}
	return nil
}

func (t *Transport) follow(service string) (*target, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	if g := t.targets[service]; g != nil {
		return g, nil
	}
	if len(t.targets) >= maxServices && !t.forget(time.Now()) {
		return nil, failure.New(failure.ResourceExhausted, "more than %d services in one transport", maxServices)
	}
	g := newTarget(t.reg, service, &t.cfg)
	t.targets[service] = g
	t.loops.Go(g.run)
	return g, nil
}

// forget closes the target that was not used for the longest, if that is long enough; those without an instance, which
// anybody can make up, at once. t.mu is held.
func (t *Transport) forget(now time.Time) bool {
	var oldest *target
	age := func(g *target) time.Duration {
		d := time.Duration(now.UnixNano() - g.used.Load())
		if len(g.now.Load().peers) == 0 {
			d += unused
		}
		return d
	}
	for _, g := range t.targets {
		if oldest == nil || age(g) > age(oldest) {
			oldest = g
		}
	}
	if age(oldest) < unused {
		return false
	}
	calls, attempts := oldest.terms.budget.Counts()
	t.calls, t.attempts = t.calls+calls, t.attempts+attempts
	delete(t.targets, oldest.service)
	t.loops.Go(oldest.close)
	return true
}

// Counts returns how many calls were made, and in how many attempts.
func (t *Transport) Counts() (calls, attempts uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	calls, attempts = t.calls, t.attempts
	for _, g := range t.targets {
		n, m := g.terms.budget.Counts()
		calls, attempts = calls+n, attempts+m
	}
	return calls, attempts
}

// CloseIdleConnections closes the connections that no request uses, those of an instance with requests in flight as soon as
// there is none. An http.Client's method of the same name calls it.
func (t *Transport) CloseIdleConnections() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range t.targets {
		g.closeIdle()
	}
}

// Close stops watching services and closes idle connections. Calls fail from here on; those in flight go on.
// It joins what the Transport started, and may be called more than once.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	targets := t.targets
	t.mu.Unlock()
	for _, g := range targets {
		g.close()
	}
	t.loops.Wait()
	return nil
}
