package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// The defaults of a ServerConfig.
const (
	DefaultServerTimeout        = 10 * time.Second
	DefaultDrainTimeout         = 20 * time.Second
	DefaultMaxRecvBytes         = 4 << 20
	DefaultMaxConcurrentStreams = 1000
)

// ServerConfig configures a Server. The zero value listens on a free loopback port without TLS.
type ServerConfig struct {
	// Addr is the host:port to listen on. "": 127.0.0.1:0, a free port on loopback.
	Addr string
	// Listener is used instead of Addr, if set. The server closes it.
	Listener net.Listener

	// TLS is the server's side of TLS. nil: plaintext, which is refused on any address but loopback.
	TLS *tls.Config
	// Insecure allows plaintext beyond loopback: everyone on the way can read and change the calls.
	Insecure bool

	// Logger gets panics, and the causes of errors that are not sent to callers. nil: slog.Default().
	Logger *slog.Logger

	// Starting, if set, is closed when this instance has what it needs, such as its part of replicated state: until then health
	// checks are answered NOT_SERVING, although calls are served. nil: it needs nothing.
	Starting <-chan struct{}

	// Timeout is the deadline of a unary call whose caller sent none. 0: 10 s. Negative: none, so that a handler
	// that hangs holds its resources for ever. Streams have no default deadline.
	Timeout time.Duration

	// DrainTimeout bounds how long Run waits, after its context ends, for calls in flight. 0: 20 s. Negative: they
	// are cut at once. Longer than what stops the process (lifecycle's StopTimeout, 25 s) has no effect.
	DrainTimeout time.Duration

	// Admission says when calls are turned away, so that those which are begun can be finished. The zero value is on.
	// Health checks and reflection are always answered.
	Admission admission.Config
	// Untrusted says that strangers reach this server: none of their calls counts as more than Critical, whatever it
	// claims, or they would all come first. Otherwise callers are taken to be services of the same system, which inherit
	// what the edge has let in. It counts with Admission off, too: the calls that handlers make inherit the criticality.
	Untrusted bool

	// Service is the name of the service that this server is an instance of, and Policies, if set, are the policies in
	// force: what that of Service says it serves takes the place of Timeout and Admission, as soon as it changes.
	Service  string
	Policies *policy.Live

	// Observer is told of every call; package telemetry has one. nil: nobody is. Health checks and reflection are not told
	// of.
	Observer resilience.Observer

	// MaxRecvBytes bounds a received message. 0: 4 MiB. A larger message is answered RESOURCE_EXHAUSTED.
	MaxRecvBytes int
	// MaxConcurrentStreams bounds the calls in flight on one connection. 0: 1000. A client's further calls wait.
	MaxConcurrentStreams uint32

	// MaxConnectionAge closes connections older than this, gracefully, ±10 %. 0: none; Holdfast's clients spread
	// their load over all instances without it. It helps behind a balancer that spreads connections.
	MaxConnectionAge time.Duration

	// UnaryInterceptors and StreamInterceptors run inside this package's own, so they see a context with a
	// deadline, and their panics are contained and their errors answered as a handler's.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor

	// Options are applied last and win over everything above.
	Options []grpc.ServerOption
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c ServerConfig) Validate() error {
	var errs []error
	if c.Listener != nil && c.Addr != "" {
		errs = append(errs, fmt.Errorf("rpc server: Addr %q and Listener %s are both set", c.Addr, c.Listener.Addr()))
	}
	if c.MaxRecvBytes < 0 {
		errs = append(errs, fmt.Errorf("rpc server: MaxRecvBytes %d is negative", c.MaxRecvBytes))
	}
	if err := c.Admission.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("rpc server: %w", err))
	}
	if c.MaxConnectionAge < 0 {
		errs = append(errs, fmt.Errorf("rpc server: MaxConnectionAge %v is negative", c.MaxConnectionAge))
	}
	return errors.Join(errs...)
}

func (c ServerConfig) defaults() ServerConfig {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultServerTimeout
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	if c.MaxRecvBytes == 0 {
		c.MaxRecvBytes = DefaultMaxRecvBytes
	}
	if c.MaxConcurrentStreams == 0 {
		c.MaxConcurrentStreams = DefaultMaxConcurrentStreams
	}
	return c
}
