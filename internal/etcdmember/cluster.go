// Package etcdmember asks the members of an etcd cluster, one after another while they do not answer, and watches keys on
// them. The client library's own retry, keepalive and watch loops are not used: they hide what its users here have to
// know (a connection that was lost, a lease that is gone), and one of them spins while etcd is down.
package etcdmember

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxMessage bounds one answer of etcd.
const maxMessage = 64 << 20

// ErrClosed is returned by what is called after Close.
var ErrClosed = errors.New("etcd client closed")

// Config says where etcd is. Endpoints or Client is required.
type Config struct {
	// Endpoints are host:port or http(s)://host:port of the members.
	Endpoints []string
	// TLS for the connections to the members. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Username and Password, when etcd's authentication is on.
	Username, Password string
	// Dial makes the connections; nil is net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Client, when set, is used for its endpoints, TLS, credentials and dial options instead of the fields above. Own
	// connections are made, one per member. Close leaves the client alone.
	Client *clientv3.Client
	// Probe is a key that the credentials allow to read, to find out whether a member with watches answers.
	Probe string
}

// Validate reports everything that is wrong with c; what names its user in the messages, such as "etcd registry".
func (c Config) Validate(what string) error {
	if c.Client != nil {
		return nil
	}
	var errs []error
	if len(c.Endpoints) == 0 {
		errs = append(errs, errors.New(what+": no endpoints"))
	}
	for _, ep := range c.Endpoints {
		if err := c.validateEndpoint(ep); err != nil {
			errs = append(errs, fmt.Errorf("%s endpoint %q: %w", what, ep, err))
		}
	}
	if (c.Username == "") != (c.Password == "") {
		errs = append(errs, errors.New(what+": username and password go together"))
	}
	return errors.Join(errs...)
}

func (c Config) validateEndpoint(ep string) error {
	scheme, addr, ok := strings.Cut(ep, "://")
	if !ok {
		scheme, addr = "", ep
	}
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil || host == "" || port == "":
		return errors.New("not host:port or http(s)://host:port")
	case scheme != "" && scheme != "http" && scheme != "https":
		return fmt.Errorf("scheme %q", scheme)
	case scheme == "http" && c.TLS != nil:
		return errors.New("http, but TLS is configured")
	case c.TLS == nil && scheme != "https" && !c.Insecure && !loopback(host):
		return errors.New("plaintext beyond loopback needs Insecure")
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Cluster is the members. Safe for concurrent use.
type Cluster struct {
	probe   string
	members []*member

	ctx    context.Context // ends with Close; the parent of streams, which outlive the call that opens them
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	current int // member that answered last
	closed  bool
}

// Open returns a Cluster of a Config that is valid. It makes no connection, so that it works while etcd is dead.
func Open(cfg Config) (*Cluster, error) {
	endpoints := cfg.Endpoints
	if cfg.Client != nil {
		endpoints = cfg.Client.Endpoints()
	}
	if len(endpoints) == 0 {
		return nil, errors.New("client without endpoints")
	}
	c := &Cluster{probe: cfg.Probe}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, ep := range endpoints {
		c.members = append(c.members, newMember(c, ep, cfg))
	}
	c.current = rand.IntN(len(c.members)) // so that many processes do not all ask the same member
	return c, nil
}

// Close ends all watches and streams and joins their goroutines. It is idempotent.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
	var errs []error
	for _, m := range c.members {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}

// Context ends with Close: the parent of streams that outlive the call which opens them.
func (c *Cluster) Context() context.Context { return c.ctx }

// spawn runs f in a goroutine that Close joins, unless Close has begun.
func (c *Cluster) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}
