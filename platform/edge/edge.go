// Package edge is where a service's users come in: it listens on the public HTTP address of a service and
// forwards every request to an instance of that service, so that an instance which dies, freezes or is replaced is not noticed.
package edge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
)

// Config is the configuration of an Edge. Its zero value works.
type Config struct {
	// TLS is what users meet, ClientTLS what the edge uses towards the instances; nil means plaintext.
	TLS, ClientTLS *tls.Config
	// Insecure allows plaintext on addresses beyond loopback, on both sides.
	Insecure bool
	// Timeout is the longest a request may take in total, waiting for an instance included. 0 means 10 s.
	Timeout time.Duration
	// MaxBodyBytes bounds a request's body; more is answered with 413. 0 means 10 MiB.
	MaxBodyBytes int64
	// DrainTimeout is how long requests in flight may take to end once Run's context is done. 0 means 20 s.
	DrainTimeout time.Duration
	// TrustForwarded keeps the X-Forwarded-* headers of the client, to be used behind another proxy only. Else they are replaced.
	TrustForwarded bool
	// Policy rules the attempts. The zero value means the defaults of package resilience, with Timeout as the total.
	Policy resilience.Policy
	// Logger receives forwarding errors. nil means slog.Default().
	Logger *slog.Logger
}

// Edge forwards the HTTP requests of one address to the instances of one service. It is a lifecycle component.
type Edge struct {
}

// New listens on addr at once, so that a taken port is an error here, and forwards to the instances that reg
// knows of service, once Run is called. An Edge that is never run must be closed.
func New(reg *registry.Registry, service, addr string, cfg Config) (*Edge, error) { return nil, nil }

// Addr returns the address the edge listens on.
func (e *Edge) Addr() net.Addr { return nil }

// Name implements lifecycle.Namer.
func (e *Edge) Name() string { return "" }

// Ready returns a channel that is closed when the edge accepts requests; whether an instance is there yet does not matter to it.
func (e *Edge) Ready() <-chan struct{} { return nil }

// Drain makes every answer carry "Connection: close"; requests are served as before.
func (e *Edge) Drain(ctx context.Context) error { return nil }

// Run forwards until ctx is done and then ends like rest.Server.Run.
func (e *Edge) Run(ctx context.Context) error { return nil }

// Close closes the listener, the connections and the watch at once. It may be called more than once.
func (e *Edge) Close() error { return nil }
