package rest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/registry"
)

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		close(in)
		<-out
		_, _ = io.WriteString(w, "finished")
	}, ServerConfig{})
	stop := runServer(t, s)
	_, r := dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-in
	done := make(chan error, 1)
	go func() { done <- stop() }()
	eventually(t, "the listener is closed", func() bool {
		c, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(out)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "finished" || !resp.Close {
		t.Errorf("%q, close %v", body, resp.Close)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	for name, h := range map[string]func(r *http.Request, forever <-chan struct{}){
		"notices":         func(r *http.Request, _ <-chan struct{}) { <-r.Context().Done() },
		"does not notice": func(_ *http.Request, forever <-chan struct{}) { <-forever },
	} {
		t.Run(name, func(t *testing.T) {
			in, forever := make(chan struct{}), make(chan struct{})
			defer close(forever)
			s := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
				close(in)
				h(r, forever)
			}, ServerConfig{DrainTimeout: 20 * time.Millisecond})
			stop := runServer(t, s)
			_, r := dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-in
			err := stop()
			if err == nil || !strings.Contains(err.Error(), "rest drain 127.0.0.1:") {
				t.Errorf("error %v", err)
			}
			if _, err := r.ReadByte(); err == nil {
				t.Error("an answer")
			}
		})
	}
}

func TestStopEndsStreams(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		r = Stream(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		_, _ = io.WriteString(w, "bye")
	}, ServerConfig{})
	stop := runServer(t, s)
	_, r := dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "bye" || err != nil {
		t.Errorf("%q %v", body, err)
	}
}

func TestStopDoesNotWaitForConnectionsThatNeverAsked(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, *http.Request) {}, ServerConfig{})
	stop := runServer(t, s)
	for range 3 {
		dial(t, s, "")
	}
	dial(t, s, "GET / HT")
	eventually(t, "the connections are accepted", func() bool { return connections(s) == 4 })
	begun := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// One that has said nothing has not even begun with TLS.
func TestStopDoesNotWaitForAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, _ := certificate(t, "shop")
		l := newPipes()
		s := newServer(t, func(http.ResponseWriter, *http.Request) {}, ServerConfig{Listener: l, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
		stop := runServer(t, s)
		c, err := l.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		synctest.Wait()
		if n := connections(s); n != 1 {
			t.Fatalf("%d connections", n)
		}
		begun := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 2*hushGrace { // net/http gives a handshake 5 s
			t.Errorf("took %v", took)
		}
	})
}

func connections(s *Server) (n int) {
	s.conns.Range(func(any, any) bool { n++; return true })
	return n
}

// Shutdown of net/http closes an idle connection although a request waits in its buffer.
func TestRequestThatIsOnItsWayAtTheStopIsServed(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, ServerConfig{})
	stop := runServer(t, s)
	const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
	c, r := dial(t, s, post+"x")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.Close {
		t.Fatal(resp, err)
	} else if body, err := io.ReadAll(resp.Body); string(body) != "ok" {
		t.Fatal(string(body), err)
	}
	fresh, freshR := dial(t, s, "")
	eventually(t, "both connections are known", func() bool { return connections(s) == 2 })
	done := make(chan error, 1)
	go func() { done <- stop() }()
	eventually(t, "the server stops", s.hushed.Load)
	for name, c := range map[string]struct {
		net.Conn
		*bufio.Reader
	}{"idle": {c, r}, "fresh": {fresh, freshR}} {
		_, _ = io.WriteString(c.Conn, post)
		_, _ = io.WriteString(c.Conn, "x")
		resp, err := http.ReadResponse(c.Reader, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "ok" || !resp.Close {
			t.Errorf("%s: %q %v, close %v", name, body, err, resp.Close)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCloseEndsRunWithoutAnError(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, *http.Request) {}, ServerConfig{})
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Servers are drained and stopped one after the other under requests that must not run twice, without a registry that
// would tell: only by what the servers themselves do. The time between drain and stop stands for lifecycle's 2 s.
func TestDrainUnderLoadLosesNothing(t *testing.T) {
	w := newWorld(t)
	var handled, sent atomic.Int64
	start := func(n int) (*Server, func() error, string) {
		id := fmt.Sprintf("shop-%d", n)
		s := newServer(t, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			handled.Add(1)
		}, ServerConfig{})
		stop := runServer(t, s)
		w.add(id, s.Addr().String())
		return s, stop, id
	}
	client := w.client(ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	var users sync.WaitGroup
	s, stop, id := start(0)
	for range 8 {
		users.Go(func() {
			for ctx.Err() == nil {
				if status, _, err := send(client, call{method: "POST", body: "x"}.request(t, context.Background())); err != nil || status != 200 {
					t.Errorf("%d %v", status, err)
				}
				sent.Add(1)
			}
		})
	}
	for n := range 8 {
		next, nextStop, nextID := start(n + 1)
		_ = s.Drain(ctx)
		w.put(registry.Instance{ID: id, Endpoints: map[string]string{"http": s.Addr().String()}, Draining: true})
		delay := time.NewTimer(100 * time.Millisecond)
		<-delay.C
		if err := stop(); err != nil {
			t.Error(err)
		}
		w.engine.DeleteKey("shop", id)
		s, stop, id = next, nextStop, nextID
	}
	cancel()
	users.Wait()
	if handled.Load() != sent.Load() || sent.Load() == 0 {
		t.Errorf("%d sent, %d handled", sent.Load(), handled.Load())
	}
}

// http.Server forgets a connection that was hijacked, and Shutdown does not wait for who has it.
func TestStopWaitsForAHandlerThatHasItsConnection(t *testing.T) {
	in := make(chan struct{})
	var ended atomic.Bool
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		r = Stream(w, r)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		close(in)
		<-r.Context().Done() // it is told, and has something to finish
		<-time.After(cutGrace + 200*time.Millisecond)
		ended.Store(true)
	}, ServerConfig{})
	stop := runServer(t, s)
	dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-in
	if err := stop(); err != nil || !ended.Load() {
		t.Errorf("error %v, the handler had ended: %v", err, ended.Load())
	}
}

func TestStopSaysThatAHandlerHasItsConnectionStill(t *testing.T) {
	in, forever := make(chan struct{}), make(chan struct{})
	defer close(forever)
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		close(in)
		<-forever
	}, ServerConfig{DrainTimeout: 20 * time.Millisecond})
	stop := runServer(t, s)
	dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-in
	if err := stop(); err == nil || !strings.Contains(err.Error(), "requests still running") {
		t.Errorf("error %v", err)
	}
}

// heldListener's connections hold up the first deadline that hush sets.
type heldListener struct {
	net.Listener
	server       atomic.Pointer[Server]
	asked, going chan struct{}
	once         sync.Once
}

type heldConn struct {
	net.Conn
	l *heldListener
}

func (l *heldListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return heldConn{c, l}, nil
}

func (c heldConn) SetReadDeadline(at time.Time) error {
	if s := c.l.server.Load(); s != nil && s.hushed.Load() && !at.IsZero() && time.Until(at) <= hushGrace {
		c.l.once.Do(func() {
			close(c.l.asked)
			<-c.l.going
		})
	}
	return c.Conn.SetReadDeadline(at)
}

// The deadline that ends quiet connections is not to end a request that has begun meanwhile.
func TestARequestThatBeginsWhileItsConnectionIsHushedIsServed(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &heldListener{Listener: tcp, asked: make(chan struct{}), going: make(chan struct{})}
	in := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(in)
			select {
			case <-r.Context().Done():
				return
			case <-time.After(2 * hushGrace):
			}
		}
		_, _ = io.WriteString(w, "ok")
	}, ServerConfig{Listener: l})
	l.server.Store(s)
	stop := runServer(t, s)
	conn, r := dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	<-l.asked
	if _, err := io.WriteString(conn, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-in
	close(l.going)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v %v", resp, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
