package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// ClientConfig configures a Client. The zero value is fit for production, on loopback; elsewhere it needs TLS.
type ClientConfig struct {
	// Policy is how calls are made, unless Methods says otherwise for one of them.
	Policy resilience.Policy
	// Methods holds what is known of single methods, by their full name ("/shop.Orders/Place"), or of all methods
	// of a service ("/shop.Orders/"). The full name wins.
	Methods map[string]MethodPolicy

	// TLS is the client's side of TLS. Without a ServerName in it, instances must present a certificate for the
	// service's name ("inventory"), wherever they run. nil: plaintext, which is refused to any address but loopback.
	TLS *tls.Config
	// Insecure allows plaintext beyond loopback: everyone on the way can read and change the calls.
	Insecure bool

	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Balance is how an instance is chosen for each attempt, and when one is left alone for a while.
	Balance balance.Config

	// Policies are those in force in the process. That of the called service goes over what is said here, field by
	// field, for every call that begins after it has changed. nil: there are none.
	Policies *policy.Live

	// Logger gets instances that are found to be unreachable or are ejected, and reachable or re-admitted again.
	// nil: slog.Default().
	Logger *slog.Logger

	// Observer is told of every call and its attempts, and says what they take along; package telemetry has one. nil:
	// nobody is. Probes and health checks are not told of.
	Observer resilience.Observer

	// Options are applied last and win over everything above. Interceptors among them see every attempt, not the
	// call: they run inside the attempt loop. With a service config of one's own it is grpc-go that chooses instances:
	// Balance does not count, there are no hedges, and every attempt that fails may have run, for all that is known here.
	Options []grpc.DialOption
}

// MethodPolicy is what is known of one method.
type MethodPolicy struct {
	// Safe declares that the method may run twice for one call, so that an attempt that may have run can be followed
	// by another. Methods whose protobuf idempotency_level says so, and calls with an idempotency key, need no
	// declaration. Declared wrongly, a lost answer means that something happens twice. It does not say that the two may
	// run at the same time; Hedge does.
	Safe bool
	// Timeout, AttemptTimeout and MaxAttempts replace those of the client's Policy where they are not 0.
	Timeout        time.Duration
	AttemptTimeout time.Duration
	MaxAttempts    int
	// Hedge replaces that of the client's Policy, field by field where it is not 0. Methods whose idempotency_level is
	// NO_SIDE_EFFECTS are hedged without it. Those that are IDEMPOTENT or Safe are only if a field of it is above 0: it
	// declares that two attempts at the same time do not get in each other's way, such as by one answering
	// ALREADY_EXISTS because of the other. What is safe by its idempotency key alone is never hedged.
	Hedge resilience.HedgePolicy
	// Criticality is that of calls for which nothing else was chosen. Within a request being served it can only lower what
	// the request came with.
	Criticality resilience.Criticality
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c ClientConfig) Validate() error {
	var errs []error
	if err := c.Policy.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("rpc client: %w", err))
	}
	if err := c.Balance.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("rpc client: %w", err))
	}
	for name, m := range c.Methods {
		if len(name) < 3 || name[0] != '/' || strings.Count(name, "/") != 2 || name[1] == '/' {
			errs = append(errs, fmt.Errorf("rpc client: Methods: %q is neither /package.Service/Method nor /package.Service/", name))
		}
		if err := m.apply(c.Policy).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("rpc client: Methods: %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// apply returns p as it is for the method.
func (m MethodPolicy) apply(p resilience.Policy) resilience.Policy {
	if m.Timeout != 0 {
		p.Timeout = m.Timeout
	}
	if m.AttemptTimeout != 0 {
		p.AttemptTimeout = m.AttemptTimeout
	}
	if m.MaxAttempts != 0 {
		p.MaxAttempts = m.MaxAttempts
	}
	if m.Hedge.Share != 0 {
		p.Hedge.Share = m.Hedge.Share
	}
	if m.Hedge.Delay != 0 {
		p.Hedge.Delay = m.Hedge.Delay
	}
	return p
}

// dialer is Dial as an option, for a list that goes on.
func (c ClientConfig) dialer() []grpc.DialOption {
	if c.Dial == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			return c.Dial(ctx, "unix", strings.TrimPrefix(path, "//"))
		}
		return c.Dial(ctx, "tcp", address)
	})}
}

func (c ClientConfig) defaults() ClientConfig {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
