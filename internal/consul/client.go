// Package consul is the part of Consul's HTTP API that Holdfast's drivers speak: agent, health and key-value endpoints,
// and blocking queries.
//
// It is not hashicorp/consul/api, which would bring some twenty modules along for a handful of endpoints, waits without
// a deadline where none is given, and hides which agent answered. Here every request has a deadline, every answer a
// bound, and what was asked is asked of another agent when the first does not answer.
//
// Nothing is retried beyond that, and no loop lives here: package registry and package config have those.
package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// callTimeout bounds a call whose ctx has no deadline.
	callTimeout = 3 * time.Second
	// attemptTimeout is how long one agent may take while another could be asked.
	attemptTimeout = time.Second
	// avoidFor is how long an agent that failed is asked last.
	avoidFor = 5 * time.Second
	// tokenEvery is how often the token's file is read again.
	tokenEvery = 5 * time.Second
	// maxAgents bounds a configuration.
	maxAgents = 64
)

// ErrClosed is returned by a client that was closed.
var ErrClosed = errors.New("consul client closed")

// Config says where Consul is.
type Config struct {
	// Agents are host:port of agents of one datacenter.
	Agents []string
	// TLS, when set, is how agents are spoken to. Without it, plaintext beyond loopback is refused unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Token is the ACL token, or TokenFile the file that has it, which is read again every few seconds.
	Token, TokenFile string
	// Dial makes the connections; nil is net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if len(c.Agents) == 0 || len(c.Agents) > maxAgents {
		errs = append(errs, fmt.Errorf("%d agents, not 1 to %d", len(c.Agents), maxAgents))
	}
	for _, a := range c.Agents {
		host, port, err := net.SplitHostPort(a)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		switch {
		case err != nil || host == "" || port == "0" || strings.ContainsAny(host, "/@?#% "):
			errs = append(errs, fmt.Errorf("agent %q is not HOST:PORT", a))
		case c.TLS == nil && !c.Insecure && !loopback(host):
			errs = append(errs, fmt.Errorf("agent %q: plaintext beyond loopback needs TLS, or Insecure", a))
		}
	}
	if c.Token != "" && c.TokenFile != "" {
		errs = append(errs, errors.New("a token and a file for one: use either"))
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		errs = append(errs, errors.New("the token has a space or a control character in it"))
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// dial makes connections, or gives up.
func (c Config) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	if c.Dial == nil {
		return (&net.Dialer{Timeout: attemptTimeout, KeepAlive: 5 * time.Second}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		return c.Dial(ctx, network, address)
	}
}

// Client speaks to the agents of one datacenter. Safe for concurrent use.
type Client struct {
	agents []*Agent
	http   *http.Client
	pool   *http.Transport
	token  token

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	current int // agent that answered last
	closed  bool
}

// Agent is one Consul agent.
type Agent struct {
	c    *Client
	addr string
	base string // http://HOST:PORT

	mu      sync.Mutex
	avoid   time.Time // asked last until then
	waiting map[*Query]context.CancelCauseFunc
	probing bool
}

// New checks cfg and returns a Client. It makes no connection, so that it works while Consul is dead.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	c := &Client{token: token{fixed: cfg.Token, file: cfg.TokenFile}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	scheme := "http"
	if cfg.TLS != nil {
		scheme = "https"
	}
	c.pool = &http.Transport{
		// No proxy: agents are neighbours, and a proxy for the web is not the way to them.
		DialContext:            cfg.dial(),
		TLSClientConfig:        cfg.TLS.Clone(),
		TLSHandshakeTimeout:    callTimeout,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	c.http = &http.Client{
		Transport: c.pool,
		// Consul's API redirects nowhere, and a token is not for others.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, addr := range cfg.Agents {
		c.agents = append(c.agents, &Agent{
			c: c, addr: addr, base: (&url.URL{Scheme: scheme, Host: addr}).String(), waiting: make(map[*Query]context.CancelCauseFunc),
		})
	}
	c.current = rand.IntN(len(c.agents)) // so that many processes do not all ask the same agent
	return c, nil
}

// Close ends all calls and queries. It is idempotent and returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
	c.pool.CloseIdleConnections()
	return nil
}

// spawn runs f in a goroutine that Close joins, unless Close has begun.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// Addr returns the agent's host:port.
func (a *Agent) Addr() string { return a.addr }

// Do runs f on the agent that answered last, and on the others in turn while they do not answer. f must be safe to run
// again after an attempt whose outcome is unknown.
func (c *Client) Do(ctx context.Context, f func(context.Context, *Agent) error) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var errs silence
	order := c.order()
	for i, a := range order {
		err := a.try(ctx, len(order)-i-1, f)
		switch {
		case c.ctx.Err() != nil:
			return ErrClosed
		case err == nil:
			c.prefer(a)
			return nil
		case !Unanswered(err):
			return err
		}
		a.shun()
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errs
}

// On runs f on one agent, with the bounds that Do has.
func (c *Client) On(ctx context.Context, a *Agent, f func(context.Context, *Agent) error) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	err := f(ctx, a)
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	if err != nil && Unanswered(err) {
		a.shun()
	}
	return err
}

// Others returns whether there is more than one agent.
func (c *Client) Others() bool { return len(c.agents) > 1 }

// bound gives ctx a deadline, and ends it with the client.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// try runs f on a, leaving time for the others.
func (a *Agent) try(ctx context.Context, others int, f func(context.Context, *Agent) error) error {
	if others > 0 {
		deadline, _ := ctx.Deadline()
		share := time.Until(deadline) / time.Duration(others+1)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, min(share, attemptTimeout))
		defer cancel()
	}
	return f(ctx, a)
}

// order returns the agents in the order to ask them: those that failed lately last, the current one else first.
func (c *Client) order() []*Agent {
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()
	now := time.Now()
	var good, bad []*Agent
	for i := range c.agents {
		a := c.agents[(current+i)%len(c.agents)]
		if a.shunned(now) {
			bad = append(bad, a)
		} else {
			good = append(good, a)
		}
	}
	return append(good, bad...)
}

func (c *Client) prefer(a *Agent) {
	a.mu.Lock()
	a.avoid = time.Time{}
	a.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.agents {
		if c.agents[i] == a {
			c.current = i
		}
	}
}

func (a *Agent) shun() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.avoid = time.Now().Add(avoidFor)
}

func (a *Agent) shunned(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return now.Before(a.avoid)
}

// token is what requests are authorised by.
type token struct {
	fixed, file string

	mu   sync.Mutex
	read time.Time
	last string
	err  error
}

func (t *token) get() (string, error) {
	if t.file == "" {
		return t.fixed, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); t.read.IsZero() || now.Sub(t.read) >= tokenEvery {
		b, err := os.ReadFile(t.file)
		// A file that is being replaced may be away or empty for a moment: the token it had is better than none.
		switch s := strings.TrimSpace(string(b)); {
		case err == nil && s != "":
			t.last, t.err = s, nil
		case t.last == "" && err == nil:
			t.err = fmt.Errorf("token file %s is empty", t.file)
		case t.last == "":
			t.err = fmt.Errorf("token file: %w", err)
		}
		if t.err == nil {
			t.read = now
		}
	}
	return t.last, t.err
}
