package kafkaqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// away is the error of a broker that cannot be reached now. It passes for a timeout, because those are what the client tries
// again in all places. A refused connection it takes for a wrong address in some: the members of a group would give up
// their partitions when a lone broker restarts, within half a second.
type away struct{ err error }

func (e away) Error() string   { return e.err.Error() }
func (e away) Unwrap() error   { return e.err }
func (e away) Timeout() bool   { return true }
func (e away) Temporary() bool { return true }

// dial is the client's.
func (c Config) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.Dial
	switch {
	case c.TLS != nil:
		dial = (&tls.Dialer{Config: c.TLS}).DialContext
	case dial == nil:
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
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
