package edge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
)

func TestForwardsRequestAndAnswer(t *testing.T) {
	s := newSystem(t, Config{})
	var got *http.Request
	s.serve("a", func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Keep-Alive", "timeout=5")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), body)
	})
	a := s.do("POST", "/a%2Fb?q=1&x", "hello", "X-Attempt", "7", "X-Forwarded-For", "6.6.6.6", "X-Real-Ip", "6.6.6.6", "X-Forwarded-Port", "666", "X-Forwarded-Prefix", "//evil.example",
		"Connection", "X-Hop", "X-Hop", "1", "Cookie", "c=1")
	a.want(t, 201, "POST /a%2Fb?q=1&x hello")
	if a.Header.Get("Etag") != `"1"` || a.Header.Get("Keep-Alive") != "" {
		t.Errorf("answer's header %v", a.Header)
	}
	edge := s.edge.Addr().String()
	for h, want := range map[string]string{
		"X-Attempt": "", "X-Hop": "", "X-Real-Ip": "", "X-Forwarded-Port": "", "X-Forwarded-Prefix": "", "Cookie": "c=1",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": edge, "X-Forwarded-Proto": "http",
	} {
		if v := strings.Join(got.Header.Values(h), ","); v != want {
			t.Errorf("instance saw %s: %q, want %q", h, v, want)
		}
	}
	if got.Host != edge {
		t.Errorf("instance saw host %q", got.Host)
	}
}

// Connections to instances are made by Dial, and what is counted is what was sent through them.
func TestDialAndLoad(t *testing.T) {
	var dials atomic.Int32
	s := newSystem(t, Config{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == 1 {
			return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}})
	s.serve("a", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, s.edge.Load().InFlight)
	})
	s.do("GET", "/", "").want(t, 200, "1")
	if dials.Load() < 2 {
		t.Error("it dials by itself")
	}
	if l := s.edge.Load(); l.Calls != 1 || l.Attempts < 1 || l.InFlight+int(l.Served) != 1 {
		t.Errorf("%+v", l)
	}
}

// A part that is left out makes another request of it: the whole list instead of a search, and with a 200.
func TestQueryThatIsWrittenWronglyReachesTheService(t *testing.T) {
	s := newSystem(t, Config{})
	s.serve("a", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.RawQuery) })
	for _, q := range []string{"query=100%", "a;b=1&c=2", "x=%zz", "q=a+b&q=%2B"} {
		s.do("GET", "/?"+q, "").want(t, 200, q)
	}
}

func TestTrustedProxyInFrontIsBelieved(t *testing.T) {
	s := newSystem(t, Config{TrustForwarded: true})
	var got http.Header
	s.serve("a", func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	s.do("GET", "/", "", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https")
	if got.Get("X-Forwarded-For") != "6.6.6.6, 127.0.0.1" || got.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("instance saw %v", got)
	}
}

func TestDyingInstanceIsNotNoticed(t *testing.T) {
	for _, r := range [][]string{{"GET", ""}, {"PUT", "x"}, {"POST", "x", "Idempotency-Key", "k"}} {
		s := newSystem(t, Config{Idempotency: true})
		s.serve("b", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		hits := s.broken("a", killed)
		for range 20 { // until the dying one was met
			s.do(r[0], "/", r[1], r[2:]...).want(t, 200, r[1])
		}
		if hits.Load() == 0 {
			t.Errorf("%s: the dying instance was never asked", r[0])
		}
	}
}

// Anybody can write an Idempotency-Key. Whether anything is done once per key is the service's to say.
func TestKeyOfAUserIsBelievedOnlyWhereTheServiceIsDeclaredToKeepIt(t *testing.T) {
	for _, tt := range []struct {
		cfg   Config
		path  string
		again bool
	}{
		{Config{}, "/orders", false},
		{Config{Idempotency: true}, "/orders", true},
		{Config{Methods: map[string]policy.Method{"POST /orders": {Safe: policy.SafeKeyed}}}, "/orders", true},
		{Config{Methods: map[string]policy.Method{"POST /orders": {Safe: policy.SafeKeyed}}}, "/carts", false},
		{Config{Idempotency: true, Methods: map[string]policy.Method{"/carts/": {Safe: policy.SafeNever}}}, "/carts/7", false},
		{Config{Policies: policy.NewLive(map[string]policy.Service{
			"shop": {Calls: policy.Calls{Methods: map[string]policy.Method{"/": {Safe: policy.SafeKeyed}}}},
		})}, "/orders", true},
	} {
		s := newSystem(t, tt.cfg)
		hits := s.broken("a", killed)
		s.do("POST", tt.path, "x", "Idempotency-Key", "k").want(t, 502, "")
		if n := hits.Load(); (n > 1) != tt.again {
			t.Errorf("%s: sent %d times", tt.path, n)
		}
	}
}

// That a key is not believed holds for net/http as well, which goes by it when a connection breaks that was used before.
func TestRequestWithAKeyNobodyBelievesRunsOnceOnAConnectionThatBreaks(t *testing.T) {
	s := newSystem(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var orders atomic.Int64
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil || r.Method == http.MethodPost && orders.Add(1) == 1 {
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = s.edge.Close() // and with it the connections
		_ = l.Close()
		conns.Wait()
	})
	s.add("a", l.Addr().String())
	s.do("GET", "/", "").want(t, 200, "")
	s.do("POST", "/orders", "", "Idempotency-Key", "k").want(t, 502, "may have been carried out")
	if n := orders.Load(); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func TestRequestThatMayHaveRunIsA502(t *testing.T) {
	s := newSystem(t, Config{})
	hits := s.broken("a", killed)
	a := s.do("POST", "/", "x")
	a.want(t, 502, "may have been carried out")
	if a.Header.Get("Retry-After") != "" || a.Header.Get("Content-Type") != failure.ProblemType || hits.Load() != 1 {
		t.Errorf("%v, %d requests", a.Header, hits.Load())
	}
	if strings.Contains(a.body, "127.0.0.1") {
		t.Errorf("the user learns addresses: %s", a.body)
	}
}

func TestFrozenInstanceIsNotNoticed(t *testing.T) {
	s := newSystem(t, Config{Policy: resilience.Policy{AttemptTimeout: time.Second}})
	s.serve("b", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "b") })
	hits := s.broken("a", frozen)
	for range 20 {
		s.do("GET", "/", "").want(t, 200, "b")
	}
	if hits.Load() == 0 {
		t.Error("the frozen instance was never asked")
	}
}

// A client that ends its side of the connection and reads on is taken for one that has gone. It is not told that its request
// went well, which was given up.
func TestClientThatHalfClosesIsNotToldOfSuccess(t *testing.T) {
	s := newSystem(t, Config{})
	s.serve("a", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http looks for the end of the client only after that of the body
		<-r.Context().Done()
	})
	c, err := net.Dial("tcp", s.edge.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	answer{resp, string(body)}.want(t, 499, "CANCELLED")
	if err != nil {
		t.Error(err)
	}
}

func TestNoInstanceIsA503WithRetryAfter(t *testing.T) {
	s := newSystem(t, Config{Wait: 10 * time.Millisecond})
	a := s.do("POST", "/", "x")
	a.want(t, 503, "cannot be reached")
	if a.Header.Get("Retry-After") != "1" || a.Header.Get("Content-Type") != failure.ProblemType {
		t.Errorf("%v", a.Header)
	}
	s.serve("a", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up") })
	deadline := time.Now().Add(5 * time.Second)
	for s.do("GET", "/", "").StatusCode != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("the instance that came is never used")
		}
	}
}

func TestInstanceThatIsRestartedIsWaitedFor(t *testing.T) {
	s := newSystem(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	s.add("a", addr)
	done := make(chan answer, 1)
	go func() { done <- s.do("POST", "/", "x") }()
	select {
	case a := <-done:
		t.Fatalf("did not wait: %d %s", a.StatusCode, a.body)
	case <-time.After(50 * time.Millisecond):
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	server, err := rest.NewServer(http.NotFoundHandler(), rest.ServerConfig{Listener: l, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	start(t, server)
	(<-done).want(t, 404, "")
}

func TestNoAnswerInTimeIsA504(t *testing.T) {
	s := newSystem(t, Config{Timeout: 150 * time.Millisecond})
	s.broken("a", frozen)
	s.do("POST", "/", "x").want(t, 504, "did not answer in time")
	s.do("GET", "/", "", rest.HeaderTimeout, "20").want(t, 504, "")
}

func TestAnswersOfTheServiceAreTheUsers(t *testing.T) {
	s := newSystem(t, Config{})
	s.serve("a", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			_, _ = io.WriteString(w, "my health")
		case "/busy":
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "busy")
		case "/gone":
			rest.Error(w, r, failure.New(failure.NotFound, "no such product"))
		}
	})
	s.do("GET", "/healthz", "").want(t, 200, "my health")
	s.do("GET", "/gone", "").want(t, 404, "no such product")
	a := s.do("GET", "/busy", "")
	a.want(t, 503, "busy")
	if a.Header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
}

func TestBodyOverTheLimitIs413AndMemoryStaysBounded(t *testing.T) {
	s := newSystem(t, Config{})
	var most atomic.Uint64
	s.serve("a", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for name, length := range map[string]int64{"announced": 100 << 20, "chunked": -1} {
		zero := &zeros{left: 100 << 20, most: &most}
		req, err := http.NewRequest(http.MethodPost, s.url("/"), io.NopCloser(zero))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		resp, err := s.client.Do(req)
		if err != nil {
			continue // the connection was closed under the upload, and the answer lost with it: TCP allows no more
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
	if most.Load() > 64<<20 {
		t.Errorf("heap grew to %d MiB", most.Load()>>20)
	}
	s.do("POST", "/", strings.Repeat("x", 5<<20)).want(t, 200, "")
}

// zeros is a long body that looks at the heap as it is read.

type zeros struct {
	left  int64
	reads int
	most  *atomic.Uint64
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.left <= 0 {
		return 0, io.EOF
	}
	if z.reads++; z.reads%64 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		z.most.Store(max(z.most.Load(), m.HeapAlloc))
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

func TestUserThatGoesAwayEndsTheWork(t *testing.T) {
	s := newSystem(t, Config{})
	started, ended := make(chan struct{}), make(chan struct{})
	s.serve("a", func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url("/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := s.client.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("an answer")
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the instance works on")
	}
}

func TestTakenPortAndOtherMistakesAreErrorsOfNew(t *testing.T) {
	s := newSystem(t, Config{})
	for _, tt := range []struct {
		service, addr string
		cfg           Config
		want          string
	}{
		{"shop", s.edge.Addr().String(), Config{}, "address already in use"},
		{"shop", "0.0.0.0:0", Config{}, "plaintext is for loopback only"},
		{"no such/name", "127.0.0.1:0", Config{}, "service name"},
		{"shop", "127.0.0.1:0", Config{Timeout: -1}, "Timeout"},
		{"shop", "nonsense", Config{}, "nonsense"},
	} {
		e, err := New(s.reg, tt.service, tt.addr, tt.cfg)
		if err == nil {
			_ = e.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "edge") {
			t.Errorf("%s %s: %v, want %q", tt.service, tt.addr, err, tt.want)
		}
	}
}

func TestGarbageGetsAnAnswerAndHarmsNothing(t *testing.T) {
	s := newSystem(t, Config{})
	s.serve("a", func(http.ResponseWriter, *http.Request) {})
	for _, garbage := range [][]byte{
		[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"),
		[]byte("GET\r\n\r\n"),
		[]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
		[]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		bytes.Repeat([]byte{0}, 200_000),
	} {
		conn, err := net.Dial("tcp", s.edge.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(garbage)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	s.do("GET", "/", "").want(t, 200, "")
}

// Every instance is replaced, one after the other, while users post what must not run twice. None of them notices.

func TestRollingReplacementUnderLoadLosesNothing(t *testing.T) {
	s := newSystem(t, Config{})
	var handled, sent atomic.Int64
	work := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		handled.Add(1)
		w.WriteHeader(http.StatusCreated)
	}
	type instance struct {
		id     string
		server *rest.Server
		stop   func() error
	}
	var running []instance
	next := 0
	add := func() {
		next++
		id := fmt.Sprintf("shop-%d", next)
		server, stop := s.serve(id, work)
		running = append(running, instance{id, server, stop})
	}
	for range 3 {
		add()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for ctx.Err() == nil {
				if a := s.do("POST", "/", "x"); a.StatusCode != http.StatusCreated {
					t.Errorf("%d %s", a.StatusCode, a.body)
				}
				sent.Add(1)
			}
		})
	}
	for range 6 {
		add()
		old := running[0]
		running = running[1:]
		s.put(registry.Instance{ID: old.id, Endpoints: map[string]string{"http": old.server.Addr().String()}, Draining: true})
		_ = old.server.Drain(ctx)
		delay := time.NewTimer(100 * time.Millisecond) // stands for lifecycle's 2 s
		<-delay.C
		if err := old.stop(); err != nil {
			t.Error(err)
		}
		s.engine.DeleteKey("shop", old.id)
	}
	cancel()
	users.Wait()
	if handled.Load() != sent.Load() || sent.Load() == 0 {
		t.Errorf("%d sent, %d handled", sent.Load(), handled.Load())
	}
	t.Logf("%d requests", sent.Load())
}
