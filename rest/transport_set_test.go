package rest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
)

func TestUnreachableInstanceIsLeftAloneUntilItIsBack(t *testing.T) {
	w := newWorld(t)
	addr := refusedAddr(t)
	w.add("a", addr)
	w.good("b")
	client := w.client(ClientConfig{})
	get := func() string {
		_, body, err := send(client, call{method: "GET"}.request(t, t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	if got := get(); got != "b:" {
		t.Fatalf("answer %q", got)
	}
	tr := client.Transport.(*Transport)
	g, _ := tr.follow("shop")
	if n := len(g.now.Load().peers); n != 1 {
		t.Errorf("%d candidates after a refused connection, want 1", n)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "back") }), ServerConfig{Listener: l})
	if err != nil {
		t.Fatal(err)
	}
	runServer(t, s)
	eventually(t, "the instance that came back is used", func() bool { return get() == "back" })
}

func TestNoInstanceIsWaitedForWithinTheDeadline(t *testing.T) {
	t.Run("comes", func(t *testing.T) {
		w := newWorld(t)
		client := w.client(ClientConfig{})
		done := make(chan error, 1)
		go func() {
			_, _, err := send(client, call{method: "POST", body: "x"}.request(t, t.Context()))
			done <- err
		}()
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		w.good("a")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("restarts", func(t *testing.T) {
		w := newWorld(t)
		addr := refusedAddr(t)
		w.add("a", addr)
		client := w.client(ClientConfig{})
		done := make(chan error, 1)
		go func() {
			_, _, err := send(client, call{method: "POST", body: "x"}.request(t, t.Context()))
			done <- err
		}()
		g, err := client.Transport.(*Transport).follow("shop")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the only instance is found unreachable", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.peers["a"] != nil && g.peers["a"].down.Load()
		})
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(http.NotFoundHandler(), ServerConfig{Listener: l})
		if err != nil {
			t.Fatal(err)
		}
		runServer(t, s)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("does not come", func(t *testing.T) {
		w := newWorld(t)
		w.add("a", refusedAddr(t))
		_, _, err := send(w.client(ClientConfig{Policy: resilience.Policy{Timeout: 100 * time.Millisecond}}), call{method: "GET", path: "/x"}.request(t, t.Context()))
		if e := callError(t, err); failure.CodeOf(e) != failure.Unavailable {
			t.Errorf("code %v", failure.CodeOf(e))
		}
		for _, want := range []string{"shop GET /x", "at a (127.0.0.1:", "not sent", "connection refused"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error lacks %q: %v", want, err)
			}
		}
	})
	t.Run("is not known", func(t *testing.T) {
		w := newWorld(t)
		_, _, err := send(w.client(ClientConfig{Policy: resilience.Policy{Timeout: 20 * time.Millisecond}}), call{method: "GET"}.request(t, t.Context()))
		if failure.CodeOf(err) != failure.Unavailable || !strings.Contains(err.Error(), "no instance") {
			t.Errorf("error %v", err)
		}
	})
}

func TestIdleConnectionsOfAnInstanceThatLeftAreClosed(t *testing.T) {
	w := newWorld(t)
	closed := make(chan struct{})
	a := rawServer(t, func(_ *raw, c *net.TCPConn) {
		buf := bufio.NewReader(c)
		if _, err := http.ReadRequest(buf); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na:")
		_, _ = io.Copy(io.Discard, buf) // until the client closes it
		close(closed)                   // once: there is one connection
	})
	w.add("a", a.addr())
	w.good("b")
	client := w.client(ClientConfig{})
	if _, body, err := send(client, call{method: "GET"}.request(t, t.Context())); err != nil || body != "a:" {
		t.Fatal(body, err)
	}
	w.engine.DeleteKey("shop", "a")
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("the connection stays open")
	}
	if _, body, err := send(client, call{method: "GET"}.request(t, t.Context())); err != nil || body != "b:" {
		t.Error(body, err)
	}
}

func TestDrainingInstanceGetsNothingWhileThereIsAnother(t *testing.T) {
	w := newWorld(t)
	a := w.good("a")
	w.put(registry.Instance{ID: "a", Endpoints: map[string]string{"http": a.Addr().String()}, Draining: true})
	client := w.client(ClientConfig{})
	if _, body, err := send(client, call{method: "GET"}.request(t, t.Context())); err != nil || body != "a:" {
		t.Errorf("the only instance, which drains: %q %v", body, err)
	}
	w.good("b")
	eventually(t, "the one that does not drain is used", func() bool {
		_, body, err := send(client, call{method: "GET"}.request(t, t.Context()))
		return err == nil && body == "b:"
	})
}

func TestInstanceWithoutHTTPIsNoCandidate(t *testing.T) {
	w := newWorld(t)
	w.put(registry.Instance{ID: "a", Endpoints: map[string]string{"grpc": refusedAddr(t)}})
	w.good("b")
	if _, body, err := send(w.client(ClientConfig{}), call{method: "GET"}.request(t, t.Context())); err != nil || body != "b:" {
		t.Error(body, err)
	}
}

func TestRequestThatIsWrongIsNotTriedTwice(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	client := w.client(ClientConfig{})
	for name, change := range map[string]func(*http.Request){
		"header":  func(r *http.Request) { r.Header["X"] = []string{"a\nb"} },
		"host":    func(r *http.Request) { r.URL.Host = "shop:80" },
		"https":   func(r *http.Request) { r.URL.Scheme = "https" },
		"scheme":  func(r *http.Request) { r.URL.Scheme = "gopher" },
		"method":  func(r *http.Request) { r.Method = "B D" },
		"connect": func(r *http.Request) { r.Method = http.MethodConnect },
	} {
		req := call{method: "GET"}.request(t, t.Context())
		change(req)
		resp, err := client.Transport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if e := callError(t, err); len(e.Attempts) > 1 || failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlaintextBeyondLoopbackIsRefused(t *testing.T) {
	w := newWorld(t)
	w.add("a", "192.0.2.1:80")
	_, _, err := send(w.client(ClientConfig{Policy: resilience.Policy{Timeout: 100 * time.Millisecond}}), call{method: "GET"}.request(t, t.Context()))
	if failure.CodeOf(err) != failure.Unavailable || !strings.Contains(err.Error(), "plaintext is for loopback only") {
		t.Errorf("error %v", err)
	}
}

func TestWrongConfigIsReportedByEveryCall(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	cfg := ClientConfig{Policy: resilience.Policy{Timeout: -1}}
	if cfg.Validate() == nil {
		t.Error("Validate finds nothing")
	}
	if _, _, err := send(w.client(cfg), call{method: "GET"}.request(t, t.Context())); err == nil || !strings.Contains(err.Error(), "Timeout") {
		t.Errorf("error %v", err)
	}
}

func TestClosedTransportFailsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	client := w.client(ClientConfig{})
	if _, _, err := send(client, call{method: "GET"}.request(t, t.Context())); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	for range 2 {
		if err := client.Transport.(*Transport).Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := send(client, call{method: "GET"}.request(t, t.Context())); !errors.Is(err, errClosed) {
		t.Errorf("error %v", err)
	}
}

func TestConnectionsClosedWhileIdle(t *testing.T) {
	w := newWorld(t)
	bad := rawServer(t, func(r *raw, c *net.TCPConn) {
		defer c.Close()
		buf := bufio.NewReader(c)
		for range 2 {
			req, err := http.ReadRequest(buf)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			r.requests.Add(1)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	w.add("a", bad.addr())
	client := w.client(ClientConfig{})
	const calls = 2000
	failed := 0
	for range calls {
		_, _, err := send(client, call{method: "POST", body: "x"}.request(t, t.Context()))
		if err == nil {
			continue
		}
		failed++
		if e := callError(t, err); e.Attempts[len(e.Attempts)-1].Sent != resilience.SentAndLost {
			t.Fatalf("a request that was not sent was not sent again: %v", err)
		}
	}
	if n := bad.requests.Load(); n < calls-int64(failed) || n > calls {
		t.Errorf("%d calls, %d of them failed, ran %d times", calls, failed, n)
	}
	t.Logf("%d of %d met a connection that was being closed", failed, calls)
}
