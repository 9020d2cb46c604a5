package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy stands between clients and a server and fails as networks do, each direction by itself. Safe for concurrent use.
type Proxy struct {
	target      string
	listener    net.Listener
	there, back way
	ctx         context.Context // of what it carries
	cancel      context.CancelFunc
	wg          sync.WaitGroup

	mu      sync.Mutex
	refuses bool
	conns   map[net.Conn]struct{}
}

// way is one direction. While it is closed, nothing passes and nothing breaks.
type way struct {
	mu     sync.Mutex
	opened chan struct{} // not nil while closed
}

func (w *way) set(closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case closed && w.opened == nil:
		w.opened = make(chan struct{})
	case !closed && w.opened != nil:
		close(w.opened)
		w.opened = nil
	}
}

func (w *way) wait(ctx context.Context) error {
	w.mu.Lock()
	opened := w.opened
	w.mu.Unlock()
	if opened == nil {
		return nil
	}
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// NewProxy listens on addr for what goes to target.
func NewProxy(addr, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p, nil
}

// Refuse breaks all connections and takes no new ones, as when nobody listens.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = true
	for c := range p.conns {
		reset(c)
	}
}

// Silence stops forwarding what goes to the server, what comes back, or both, without breaking anything: packets vanish,
// and TCP keeps them. New connections are taken and stay silent.
func (p *Proxy) Silence(there, back bool) {
	p.there.set(there)
	p.back.set(back)
}

// Heal ends Refuse and Silence; what was sent meanwhile arrives.
func (p *Proxy) Heal() {
	p.mu.Lock()
	p.refuses = false
	p.mu.Unlock()
	p.Silence(false, false)
}

// Close ends it.
func (p *Proxy) Close() {
	p.cancel()
	_ = p.listener.Close()
	p.Refuse()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && p.keep(c) {
			p.wg.Go(func() { p.carry(c) })
		}
	}
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses || p.ctx.Err() != nil {
		reset(c)
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// reset ends a connection as a process that is not there does.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) carry(client net.Conn) {
	defer p.drop(client)
	// A server greets whoever connects to it, and would believe that a client is there.
	if p.there.wait(p.ctx) != nil {
		return
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	server, err := d.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	if !p.keep(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.pump(server, client, &p.there) })
	both.Go(func() { p.pump(client, server, &p.back) })
	both.Wait()
}

// pump forwards one direction. When either side ends, so does the other, as far as the way is open for the news.
func (p *Proxy) pump(dst, src net.Conn, w *way) {
	defer reset(dst)
	defer reset(src)
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if w.wait(p.ctx) != nil {
			return
		}
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
