package rest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// Defaults of ServerConfig.
const (
	DefaultAddr              = "127.0.0.1:0"
	DefaultHealthPath        = "/healthz"
	DefaultTimeout           = 10 * time.Second
	DefaultMaxBodyBytes      = 1 << 20
	DefaultMaxHeaderBytes    = 64 << 10
	DefaultReadHeaderTimeout = 5 * time.Second
	DefaultIdleTimeout       = 2 * time.Minute
	DefaultDrainTimeout      = 20 * time.Second
)

// slack is what a connection is given beyond the deadline of its request, so that the problem which
// reports the missed deadline can still be written.
const slack = 5 * time.Second

// ServerConfig is the configuration of a Server, and of a Handler made by Wrap, which uses the fields down to
// Logger only. Its zero value works.
type ServerConfig struct {
	// Timeout is the longest a handler may take, answer included; it ends the request's context. A caller may
	// ask for less with the header X-Request-Timeout-Ms, never for more. 0 means 10 s, negative none: then a
	// request without the header, or one stuck behind a slow dependency, is held for ever. A handler that streams calls Stream.
	Timeout time.Duration
	// MaxBodyBytes bounds a request's body; more is answered with 413. 0 means 1 MiB, negative no bound:
	// then one client can fill the memory of a handler that reads bodies whole.
	MaxBodyBytes int64
	// Starting, if set, is closed when this instance has what it needs, such as its part of replicated state: until then
	// HealthPath is answered with 503, although requests are served. nil: it needs nothing.
	Starting <-chan struct{}
	// HealthPath is answered by the Handler: 503 while draining, else with what the wrapped handler answers, or 200 if that
	// has nothing there (404 or 405). "" means /healthz, "-" leaves every path to the wrapped handler.
	HealthPath string
	// Admission says when requests are turned away, so that those which are begun can be finished. The zero value is on.
	// Requests for HealthPath are always let in.
	Admission admission.Config
	// MaxCriticality is the highest criticality that a caller may claim with X-Criticality; a higher one counts as this.
	// 0: Critical, which is also that of requests that claim none: browsers reach servers of HTTP, and if they could
	// say so, they would all come first. A server that only services of the same system reach can set CriticalPlus. It
	// counts with Admission off, too: the calls that handlers make inherit the criticality.
	MaxCriticality resilience.Criticality
	// Service is the name of the service that this server is an instance of, and Policies, if set, are the policies in
	// force: what that of Service says it serves takes the place of Timeout and Admission, as soon as it changes.
	Service  string
	Policies *policy.Live
	// Observer is told of every request; package telemetry has one. nil: nobody is. Requests for HealthPath are not told of.
	Observer resilience.Observer
	// Logger receives panics with their stacks. nil means slog.Default().
	Logger *slog.Logger

	// Addr is the TCP address to listen on. "" means 127.0.0.1:0, a free port on loopback.
	Addr string
	// Listener is used instead of Addr when it is not nil; the Server closes it.
	Listener net.Listener
	// TLS is the server side configuration, cloned; nil means plaintext.
	TLS *tls.Config
	// Insecure allows plaintext on addresses beyond loopback.
	Insecure bool
	// MaxHeaderBytes bounds the request line and headers; more is answered with 431. 0 means 64 KiB.
	MaxHeaderBytes int
	// ReadHeaderTimeout is how long a client may take to send the headers of a request; it is what holds off
	// clients that trickle. 0 means 5 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout is how long a connection without a request is kept. 0 means 2 min. It must be longer
	// than the clients' own (Transport: 90 s), or requests meet connections that are just being closed.
	IdleTimeout time.Duration
	// DrainTimeout is how long requests in flight may take to end once Run's context is done; connections
	// that are open then are cut. 0 means 20 s, negative cuts at once.
	DrainTimeout time.Duration
}

// Validate returns all that is wrong with the configuration, joined, or nil.
func (c ServerConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("rest config "+format, args...)) }
	if c.Addr != "" && c.Listener != nil {
		bad("Addr: %q given together with a Listener", c.Addr)
	}
	if c.MaxHeaderBytes < 0 {
		bad("MaxHeaderBytes: %d is negative", c.MaxHeaderBytes)
	}
	if c.ReadHeaderTimeout < 0 {
		bad("ReadHeaderTimeout: %v is negative: clients that trickle would hold connections for ever", c.ReadHeaderTimeout)
	}
	if c.IdleTimeout < 0 {
		bad("IdleTimeout: %v is negative", c.IdleTimeout)
	}
	if p := c.HealthPath; p != "" && p != "-" && !strings.HasPrefix(p, "/") {
		bad("HealthPath: %q does not start with /", p)
	}
	if err := c.Admission.Validate(); err != nil {
		bad("Admission: %w", err)
	}
	return errors.Join(errs...)
}

func (c ServerConfig) withDefaults() ServerConfig {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if c.HealthPath == "" {
		c.HealthPath = DefaultHealthPath
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.MaxHeaderBytes == 0 {
		c.MaxHeaderBytes = DefaultMaxHeaderBytes
	}
	if c.ReadHeaderTimeout == 0 {
		c.ReadHeaderTimeout = DefaultReadHeaderTimeout
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	return c
}
