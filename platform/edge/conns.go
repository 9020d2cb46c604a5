package edge

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// crowdedShare is the share of the connections from which on none is kept open after its answer, so that those who
	// have nothing to ask do not keep out those who have.
	crowdedShare = 0.75
	// lingerTime is how long somebody who is turned away may take to read why, and maxLinger how many may at once.
	lingerTime = time.Second
	maxLinger  = 64
	// maxUnread is how much of a request that is turned away is read, so that its sender gets to read at all.
	maxUnread = 64 << 10
	// networkBits is what one client has of IPv6: providers give whole networks.
	networkBits = 64
)

// full is what a client reads that is turned away.
const full = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// gate is a listener that bounds the connections, in all and of one client.
type gate struct {
	net.Listener
	max, each int  // 0: no bound
	plain     bool // without TLS, so that whoever is turned away can be told

	mu      sync.Mutex
	total   int
	clients map[netip.Addr]int // never more than total; nil without each

	turned sync.WaitGroup
	linger chan struct{}
}

func newGate(l net.Listener, maxConns, each int, plain bool) *gate {
	g := &gate{Listener: l, max: max(0, maxConns), each: max(0, each), plain: plain, linger: make(chan struct{}, maxLinger)}
	if g.each > 0 {
		g.clients = make(map[netip.Addr]int)
	}
	return g
}

// Accept implements net.Listener. It returns connections that were let in.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := clientOf(c.RemoteAddr())
		if !g.enter(client) {
			g.turnAway(c)
			continue
		}
		return &guest{Conn: c, leave: sync.OnceFunc(func() { g.leave(client) })}, nil
	}
}

func (g *gate) enter(client netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.max > 0 && g.total >= g.max {
		return false
	}
	if g.counts(client) {
		if g.clients[client] >= g.each {
			return false
		}
		g.clients[client]++
	}
	g.total++
	return true
}

func (g *gate) leave(client netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.counts(client) {
		if g.clients[client]--; g.clients[client] == 0 {
			delete(g.clients, client)
		}
	}
}

// counts reports whether the connections of the client are counted. This machine's own are not: a proxy, a load test.
func (g *gate) counts(client netip.Addr) bool {
	return g.each > 0 && client.IsValid() && !client.IsLoopback()
}

// crowded reports whether there is little room left.
func (g *gate) crowded() bool {
	if g.max == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return float64(g.total) > crowdedShare*float64(g.max)
}

// turnAway says why, if that costs little, and closes c.
func (g *gate) turnAway(c net.Conn) {
	select {
	case g.linger <- struct{}{}:
	default:
		_ = c.Close()
		return
	}
	g.turned.Go(func() {
		defer func() { <-g.linger }()
		defer c.Close()
		if !g.plain {
			return
		}
		_ = c.SetDeadline(time.Now().Add(lingerTime))
		if _, err := io.WriteString(c, full); err != nil {
			return
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_, _ = io.CopyN(io.Discard, c, maxUnread)
	})
}

// wait joins those who are being turned away, a second at most.
func (g *gate) wait() { g.turned.Wait() }

// clientOf is whom a connection counts for; not valid if that is not to be known.
func clientOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		if network, err := ip.Prefix(networkBits); err == nil {
			return network.Addr()
		}
	}
	return ip
}

// guest is a connection that was let in.
type guest struct {
	net.Conn
	leave func()
}

// CloseWrite ends what is written, so that a client gets to read an answer that came before the end of its request.
func (c *guest) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *guest) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}
