package kafkaqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// away is the error of a broker that cannot be reached now. It passes for a timeout, because those are what the client tries
// again in all places. A refused connection it takes for a wrong address in some: the members of a group would give up
// their partitions when a lone broker restarts, within half a second.
type away struct{ err error }

func (e away) Error() string   { return e.err.Error() }
func (e away) Unwrap() error   { return e.err }
func (e away) Timeout() bool   { return true }
func (e away) Temporary() bool { return true }

// exposed refuses a connection that others could read: brokers name each other, so that an address on loopback, such as the
// end of a tunnel, may lead to others that are not.
func (c Config) exposed(address string) error {
	if c.TLS != nil || c.useTLS || c.Insecure || loopback(address) {
		return nil
	}
	return fmt.Errorf("broker %s is beyond loopback and the connection is not encrypted: use TLS (tls=true in the URL), or set Insecure", address)
}

// dial is the client's. Nothing is sent before it returns.
func (c Config) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.Dial
	switch {
	case c.TLS != nil && dial == nil:
		dial = (&tls.Dialer{Config: c.TLS}).DialContext
	case c.TLS != nil:
		dial = overTLS(dial, c.TLS)
	case dial == nil:
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := c.exposed(address); err != nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := dial(ctx, network, address)
		op := (*net.OpError)(nil)
		if err == nil || !errors.As(err, &op) || op.Op != "dial" {
			return conn, err // or what no other attempt makes better, such as a certificate
		}
		cause := op.Err
		if dns := (*net.DNSError)(nil); errors.As(cause, &dns) {
			cause = errors.New(dns.Error()) // a name that is gone while its broker restarts
		}
		return nil, &net.OpError{Op: op.Op, Net: op.Net, Source: op.Source, Addr: op.Addr, Err: away{cause}}
	}
}

// overTLS is tls.Dialer for connections that another one than net.Dialer makes.
func overTLS(dial func(ctx context.Context, network, address string) (net.Conn, error), cfg *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		cfg := cfg.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(address)
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
}
