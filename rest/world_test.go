package rest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/resilience"
)

// world is a registry with instances of one service, "shop", in this process.
type world struct {
	t      testing.TB
	engine *memregistry.Driver
	reg    *registry.Registry
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, engine: memregistry.New()}
	w.reg = registry.New(w.engine, registry.Config{Logger: quiet})
	t.Cleanup(func() {
		if err := errors.Join(w.reg.Close(), w.engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) put(inst registry.Instance) {
	inst.Service = "shop"
	_, err := w.engine.Register(context.Background(), driver.Record{Instance: inst, Owner: inst.ID}, time.Hour, true)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) add(id, addr string) {
	w.put(registry.Instance{ID: id, Endpoints: map[string]string{"http": addr}})
}

func (w *world) client(cfg ClientConfig) *http.Client {
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	if cfg.Balance.Policy == "" && cfg.Balance.Picker == nil {
		cfg.Balance.Picker = func() balance.Picker { return inOrder{} }
	}
	tr := NewTransport(w.reg, cfg)
	w.t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return &http.Client{Transport: tr}
}

// inOrder picks the first instance that was not tried, by id, so that a test knows where a call goes first.
type inOrder struct{}

func (inOrder) Pick(nodes []*balance.Node, c balance.Call) int {
	for i, n := range nodes {
		fresh := true
		for _, t := range c.Tried {
			fresh = fresh && t != n
		}
		if fresh {
			return i
		}
	}
	return len(nodes) - 1
}

// good starts a healthy instance that answers with its id and the request's body.
func (w *world) good(id string) *Server {
	return w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			Error(rw, r, err)
			return
		}
		rw.Header().Set("Instance", id)
		rw.Header().Set("Attempt", r.Header.Get(HeaderAttempt))
		_, _ = io.WriteString(rw, id+":"+string(body))
	}), ServerConfig{})
}

func (w *world) serve(id string, h http.Handler, cfg ServerConfig) *Server {
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	s, err := NewServer(h, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	runServer(w.t, s)
	w.add(id, s.Addr().String())
	return s
}

// runServer runs s until the test ends or the function it returns is called.
func runServer(t testing.TB, s *Server) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = s.Close(); _ = stop() })
	return stop
}

// raw is an instance that does what a program that is killed, frozen or broken does on its connections.
type raw struct {
	listener net.Listener
	requests atomic.Int64 // whose header was read
	conns    atomic.Int64 // accepted

	mu   sync.Mutex
	open []net.Conn
	wg   sync.WaitGroup
}

// rawServer calls serve with each connection. It closes them all at the end.
func rawServer(t testing.TB, serve func(*raw, *net.TCPConn)) *raw {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{listener: l}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Add(1)
			r.mu.Lock()
			r.open = append(r.open, c)
			r.mu.Unlock()
			r.wg.Go(func() { serve(r, c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(r.kill)
	return r
}

// kill is kill -9: no more accepts, and connections end as the kernel ends them.
func (r *raw) kill() {
	_ = r.listener.Close()
	r.mu.Lock()
	for _, c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *raw) addr() string { return r.listener.Addr().String() }

// dying reads the header of a request and is killed then, while unread bytes and all are lost.
func dying(r *raw, c *net.TCPConn) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		r.requests.Add(1)
	}
	_ = c.SetLinger(0)
	_ = c.Close()
}

// frozen reads and never answers.
func frozen(r *raw, c *net.TCPConn) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		r.requests.Add(1)
	}
	_, _ = io.Copy(io.Discard, c)
}

// refusedAddr is an address that nobody listens on.
func refusedAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type call struct {
	method, path, body, key string
}

func (c call) request(t testing.TB, ctx context.Context) *http.Request {
	var body io.Reader
	if c.body != "" {
		body = io.MultiReader(strings.NewReader(c.body)) // no GetBody, no length
	}
	req, err := http.NewRequestWithContext(ctx, c.method, "http://shop"+c.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if c.key != "" {
		req.Header.Set(HeaderIdempotencyKey, c.key)
	}
	return req
}

// send returns the status and body of the answer.
func send(client *http.Client, req *http.Request) (int, string, error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func callError(t testing.TB, err error) *resilience.CallError {
	t.Helper()
	var e *resilience.CallError
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a *resilience.CallError", err, err)
	}
	return e
}

// eventually polls, because what it waits for happens in another goroutine or in the kernel.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// pipes is a listener without a network, for tests in which time is not real.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Dial is as net.Dialer.DialContext; whatever the address, it is this listener's.
func (p *pipes) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }
