package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

const (
	// dialTimeout is for one connection within a network; a machine that takes longer is taken for gone.
	dialTimeout = time.Second
	// clientIdleTimeout is shorter than a server's, so that it is the client that closes what is not used.
	clientIdleTimeout = 90 * time.Second
	maxIdleConns      = 128
	maxResponseHeader = 1 << 20
)

var errSealed = errors.New("rest: connection was given up")

// peer is one instance as this client reaches it. It has an http.Transport of its own, because that is the only way to
// close the idle connections of one address when its instance leaves.
type peer struct {
	id, addr  string
	node      *balance.Node
	transport *http.Transport
	connect   func(ctx context.Context, network, address string) (net.Conn, error)
	insecure  bool // plaintext beyond loopback is allowed
	secure    bool // TLS

	mu    sync.Mutex
	busy  int  // attempts between begin and end
	sweep bool // close what is idle as soon as busy is 0
	left  bool // and from then on after every attempt: there may be one that was picked just before

	gone   chan struct{}          // closed when the instance left the set
	down   atomic.Bool            // the last connection could not be made, nor one since
	reason atomic.Pointer[string] // why
}

// newPeer returns a peer that calls failed whenever a connection for a request could not be made.
func newPeer(id, addr, service string, node *balance.Node, cfg *ClientConfig, failed func(*peer, error)) *peer {
	p := &peer{id: id, addr: addr, node: node, insecure: cfg.Insecure, secure: cfg.TLS != nil, gone: make(chan struct{})}
	if p.connect = cfg.Dial; p.connect == nil {
		p.connect = (&net.Dialer{}).DialContext
	}
	p.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := p.dial(ctx)
			if err != nil && ctx.Err() == nil {
				// Here and not where the request fails: a dial outlives a request that did not wait for it.
				failed(p, err)
			}
			return c, err
		},
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdleConns,
		IdleConnTimeout:        clientIdleTimeout,
		TLSHandshakeTimeout:    2 * dialTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true, // the answer belongs to the caller, who may be a proxy
		Protocols:              new(http.Protocols),
	}
	p.transport.Protocols.SetHTTP1(true)
	if cfg.TLS != nil {
		p.transport.TLSClientConfig = cfg.TLS.Clone()
		if p.transport.TLSClientConfig.ServerName == "" {
			p.transport.TLSClientConfig.ServerName = service
		}
	}
	return p
}

// dial makes a connection to the instance, in plaintext beyond loopback only if that is allowed.
func (p *peer) dial(ctx context.Context) (net.Conn, error) {
	check := !p.secure && !p.insecure
	if check {
		if host, _, err := net.SplitHostPort(p.addr); err == nil {
			if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() {
				return nil, p.plaintext()
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := p.connect(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	if check { // a name may mean anything
		if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			_ = c.Close()
			return nil, p.plaintext()
		}
	}
	return &countedConn{Conn: c}, nil
}

func (p *peer) plaintext() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: plaintext is for loopback only: set TLS, or Insecure to allow it", p.addr)}
}

// retire is for an instance that left.
func (p *peer) retire() {
	close(p.gone)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	p.tidy()
}

// closeIdle closes the connections that no request uses, once there is no request at all: while there is one, net/http
// may count its connection as idle before it has handed over the answer, and closing loses that answer.
func (p *peer) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep = true
	p.tidy()
}

func (p *peer) tidy() {
	if (p.sweep || p.left) && p.busy == 0 {
		p.sweep = false
		p.transport.CloseIdleConnections()
	}
}

func (p *peer) begin() {
	p.node.Start()
	p.use()
}

// use holds off that idle connections are closed, until end.
func (p *peer) use() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy++
}

func (p *peer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	p.tidy()
}

// countedConn knows whether anything was ever handed to the kernel since some point, which is what makes "not sent" a
// proof: net/http's own hooks fire when a request is in a buffer.
type countedConn struct {
	net.Conn
	mu     sync.Mutex
	begun  int64 // bytes of writes that were begun, less what the kernel verifiably did not take
	sealed bool
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.sealed {
		c.mu.Unlock()
		return 0, errSealed
	}
	c.begun += int64(len(p))
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	if n == 0 && err != nil {
		c.mu.Lock()
		c.begun -= int64(len(p))
		c.mu.Unlock()
	}
	return n, err
}

// CloseWrite says that nothing more is written.
func (c *countedConn) CloseWrite() error { return closeWrite(c.Conn) }

// mark is how much was written so far.
func (c *countedConn) mark() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

// seal makes sure that nothing was written since mark, nor will be: after it returned true, a writer that comes late
// gets an error.
func (c *countedConn) seal(mark int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun != mark {
		return false
	}
	c.sealed = true
	return true
}

// counted finds the countedConn below TLS.
func counted(c net.Conn) *countedConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	found, _ := c.(*countedConn)
	return found
}
