package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"time"
)

// way is one direction between two members. While it is cut nothing passes, as if packets were dropped: no connection
// is told, what is under way waits.
type way struct {
	mu   sync.Mutex
	open chan struct{} // closed while it is open
	cut  bool
}

func newWay() *way {
	w := &way{open: make(chan struct{})}
	close(w.open)
	return w
}

func (w *way) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case cut && !w.cut:
		w.open = make(chan struct{})
	case !cut && w.cut:
		close(w.open)
	}
	w.cut = cut
}

func (w *way) wait(ctx context.Context) error {
	w.mu.Lock()
	open := w.open
	w.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mesh stands between the members: each reaches each other through a listener of its own, so that every direction of
// every pair can be cut by itself.
type mesh struct {
	ctx       context.Context //nolint:containedctx // the life of the mesh, not of a call
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	targets   []string // where the members listen for each other
	clients   []string
	ways      map[[2]int]*way
	listeners map[[2]int]net.Listener

	mu    sync.Mutex
	conns map[net.Conn][2]int
}

// newMesh chooses addresses for the members and listens for every pair.
func newMesh(members int) (*mesh, error) {
	targets, clients := make([]string, members), make([]string, members)
	for i := range targets {
		var errs [2]error
		targets[i], errs[0] = freeAddr()
		clients[i], errs[1] = freeAddr()
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
	}
	return meshBetween(targets, clients)
}

// meshBetween listens for every pair of those who listen at targets.
func meshBetween(targets, clients []string) (*mesh, error) {
	m := &mesh{targets: targets, clients: clients, ways: map[[2]int]*way{}, listeners: map[[2]int]net.Listener{}, conns: map[net.Conn][2]int{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for from := range targets {
		for to := range targets {
			if from == to {
				continue
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				m.Close()
				return nil, fmt.Errorf("proxy: %w", err)
			}
			m.ways[[2]int{from, to}], m.listeners[[2]int{from, to}] = newWay(), l
		}
	}
	for pair, l := range m.listeners {
		m.wg.Go(func() { m.serve(l, pair, targets[pair[1]]) })
	}
	return m, nil
}

func (m *mesh) listen(member int) (peers, clients string) {
	return m.targets[member], m.clients[member]
}

func (m *mesh) start(_ int, cmd *exec.Cmd) error { return cmd.Start() }

// disturb does nothing: there are no packets here.
func (m *mesh) disturb(float64, time.Duration) {}

// addr is where a member reaches another.
func (m *mesh) addr(from, to int) string { return m.listeners[[2]int{from, to}].Addr().String() }

func (m *mesh) serve(l net.Listener, pair [2]int, target string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		m.wg.Go(func() { m.carry(in, pair, target) })
	}
}

func (m *mesh) carry(in net.Conn, pair [2]int, target string) {
	defer in.Close()
	there, back := m.ways[pair], m.ways[[2]int{pair[1], pair[0]}]
	// A connection needs both ways before anything is carried.
	if there.wait(m.ctx) != nil || back.wait(m.ctx) != nil {
		return
	}
	var d net.Dialer
	out, err := d.DialContext(m.ctx, "tcp", target)
	if err != nil {
		m.reset(in)
		return
	}
	defer out.Close()
	if !m.keep(in, pair) || !m.keep(out, pair) {
		return
	}
	defer m.forget(in, out)
	var wg sync.WaitGroup
	wg.Go(func() { m.pipe(out, in, there) })
	wg.Go(func() { m.pipe(in, out, back) })
	wg.Wait()
}

// reset ends a connection as a process that is not there does.
func (m *mesh) reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// pipe carries one direction. When either side ends, so does the other.
func (m *mesh) pipe(to, from net.Conn, w *way) {
	defer m.reset(to)
	defer m.reset(from)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if w.wait(m.ctx) != nil {
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (m *mesh) keep(c net.Conn, pair [2]int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return false
	}
	m.conns[c] = pair
	return true
}

func (m *mesh) forget(conns ...net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range conns {
		delete(m.conns, c)
	}
}

// sever resets all connections between two members.
func (m *mesh) sever(a, b int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c, pair := range m.conns {
		if pair == [2]int{a, b} || pair == [2]int{b, a} {
			m.reset(c)
		}
	}
}

// cut closes the ways from each of a to each of b, and back unless oneWay.
func (m *mesh) cut(a, b []int, oneWay bool) {
	for _, x := range a {
		for _, y := range b {
			m.ways[[2]int{x, y}].set(true)
			if !oneWay {
				m.ways[[2]int{y, x}].set(true)
			}
		}
	}
}

// heal opens all ways.
func (m *mesh) heal() {
	for _, w := range m.ways {
		w.set(false)
	}
}

// Close ends all connections and waits for what carries them.
func (m *mesh) Close() {
	m.cancel()
	for _, l := range m.listeners {
		_ = l.Close()
	}
	m.mu.Lock()
	for c := range m.conns {
		_ = c.Close()
	}
	m.mu.Unlock()
	m.wg.Wait()
}

// freeAddr is a loopback address that nobody listens on now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// poll asks until ok says yes, at most for a time.
func poll(ctx context.Context, limit time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}
