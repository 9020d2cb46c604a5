// Package memnet is a network inside the process, for tests: listeners and connections by address, whose ends can be
// cut, frozen and slowed. It has no goroutines and waits on channels and timers only, so it works in a
// testing/synctest bubble, where a frozen second costs nothing.
package memnet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// backlog is how many connections a listener holds that were not accepted yet.
const backlog = 128

// Network is a set of hosts. Safe for concurrent use.
type Network struct {
	mu    sync.Mutex
	hosts map[string]*host
	ports int
}

// host is what listens, or has listened, at an address. Its knobs outlive the listener.
type host struct {
	addr  *net.TCPAddr
	lis   *listener
	links map[*link]struct{}

	cut    bool
	frozen bool
	delay  time.Duration
	dials  int
}

// New returns an empty network.
func New() *Network { return &Network{hosts: make(map[string]*host)} }

// Listen listens on addr, an IP and a port; port 0 chooses one.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	if port == "0" {
		n.ports++
		port = strconv.Itoa(40000 + n.ports)
	}
	h, err := n.host(net.JoinHostPort(name, port))
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	if h.lis != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: h.addr, Err: syscall.EADDRINUSE}
	}
	h.lis = &listener{n: n, host: h, changed: make(chan struct{})}
	return h.lis, nil
}

// Dial connects to addr. It has the signature that grpc.WithContextDialer and http.Transport want. A frozen host is
// connected to, as a stopped process still is by its kernel; a cut one, or one where nobody listens, refuses.
func (n *Network) Dial(_ context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, err := n.host(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	h.dials++
	if h.cut || h.lis == nil || len(h.lis.queue) >= backlog {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: h.addr, Err: syscall.ECONNREFUSED}
	}
	n.ports++
	l := newLink(h, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 20000 + n.ports})
	l.set(h.frozen, h.delay)
	l.gone = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(h.links, l)
	}
	h.links[l] = struct{}{}
	h.lis.queue = append(h.lis.queue, l.server())
	h.lis.wake()
	return l.client(), nil
}

// Cut breaks all connections of the host at addr, both ends seeing a reset, and refuses new ones until Restore.
func (n *Network) Cut(addr string) {
	for _, l := range n.change(addr, func(h *host) { h.cut = true }) {
		l.reset()
	}
}

// Restore ends Cut, Freeze and Slow.
func (n *Network) Restore(addr string) {
	for _, l := range n.change(addr, func(h *host) { h.cut, h.frozen, h.delay = false, false, 0 }) {
		l.set(false, 0)
	}
}

// Freeze holds back every byte to and from the host, and what it would accept, as if its process were stopped; a
// sender's bytes are taken until its window is full. Restore lets go.
func (n *Network) Freeze(addr string) {
	for _, l := range n.change(addr, func(h *host) { h.frozen = true }) {
		l.freeze()
	}
}

// Slow delays every byte to and from the host by d, each way.
func (n *Network) Slow(addr string, d time.Duration) {
	var frozen bool
	for _, l := range n.change(addr, func(h *host) { h.delay, frozen = d, h.frozen }) {
		l.set(frozen, d)
	}
}

// Conns returns the number of connections to the host at addr that the other side has not closed.
func (n *Network) Conns(addr string) (open int) {
	for _, l := range n.change(addr, func(*host) {}) {
		if l.dialled() {
			open++
		}
	}
	return open
}

// Dials returns how often somebody has tried to connect to addr.
func (n *Network) Dials(addr string) (dials int) {
	n.change(addr, func(h *host) { dials = h.dials })
	return dials
}

// change changes a host under the lock and returns its links.
func (n *Network) change(addr string, f func(*host)) []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, err := n.host(addr)
	if err != nil {
		return nil
	}
	f(h)
	links := make([]*link, 0, len(h.links))
	for l := range h.links {
		links = append(links, l)
	}
	if h.lis != nil {
		h.lis.wake()
	}
	return links
}

func (n *Network) host(addr string) (*host, error) {
	name, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(name)
	port, err := strconv.Atoi(service)
	if ip == nil || err != nil {
		return nil, fmt.Errorf("address %s: no IP and port", addr)
	}
	h := n.hosts[addr]
	if h == nil {
		h = &host{addr: &net.TCPAddr{IP: ip, Port: port}, links: make(map[*link]struct{})}
		n.hosts[addr] = h
	}
	return h, nil
}

// listener is guarded by its network's mutex.
type listener struct {
	n       *Network
	host    *host
	queue   []net.Conn
	closed  bool
	changed chan struct{} // closed and replaced at every change
}

func (l *listener) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.n.mu.Lock()
		if l.closed {
			l.n.mu.Unlock()
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.host.addr, Err: net.ErrClosed}
		}
		if len(l.queue) > 0 && !l.host.frozen {
			c := l.queue[0]
			l.queue = l.queue[1:]
			l.n.mu.Unlock()
			return c, nil
		}
		changed := l.changed
		l.n.mu.Unlock()
		<-changed
	}
}

func (l *listener) Close() error {
	l.n.mu.Lock()
	if l.closed {
		l.n.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	l.host.lis = nil
	queue := l.queue
	l.queue = nil
	l.wake()
	l.n.mu.Unlock()
	for _, c := range queue {
		c.(*conn).l.reset()
	}
	return nil
}

func (l *listener) Addr() net.Addr { return l.host.addr }
