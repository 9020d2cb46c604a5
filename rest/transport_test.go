package rest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
)

// quick lets a frozen instance cost little of a test's time.
var quick = resilience.Policy{AttemptTimeout: 100 * time.Millisecond}

func TestRequestReachesAnInstanceOfTheService(t *testing.T) {
	w := newWorld(t)
	var host, timeout, attempt string
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		host, timeout, attempt = r.Host, r.Header.Get(HeaderTimeout), r.Header.Get(HeaderAttempt)
		http.Redirect(rw, r, "/there", http.StatusFound)
	}), ServerConfig{})
	client := w.client(ClientConfig{})
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req := call{method: "GET", path: "/here?x=1"}.request(t, t.Context())
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if to, err := resp.Location(); err != nil || to.String() != "http://shop/there" {
		t.Errorf("location %v %v: a redirect has to lead to the service, not to the instance", to, err)
	}
	if host != "shop" || attempt != "" {
		t.Errorf("instance saw host %q, attempt %q", host, attempt)
	}
	if ms, err := strconv.Atoi(timeout); err != nil || ms <= 4000 || ms > 5000 {
		t.Errorf("instance saw timeout %q, want the policy's 5 s", timeout)
	}
	if req.URL.Host != "shop" || len(req.Header) != 0 {
		t.Errorf("the caller's request was changed: %v %v", req.URL, req.Header)
	}
}

// What may have run is repeated only if the method or the key says that this does no harm.
func TestInstanceThatDiesInTheMiddleOfARequest(t *testing.T) {
	for _, tt := range []struct {
		call
		again bool
	}{
		{call{method: "GET"}, true},
		{call{method: "HEAD"}, true},
		{call{method: "PUT", body: "x"}, true},
		{call{method: "DELETE"}, true},
		{call{method: "POST", body: "x"}, false},
		{call{method: "PATCH", body: "x"}, false},
		{call{method: "POST", body: "x", key: "k"}, true},
		{call{method: "PATCH", body: "x", key: "k"}, true},
	} {
		t.Run(fmt.Sprintf("%s key=%q", tt.method, tt.key), func(t *testing.T) {
			w := newWorld(t)
			bad := rawServer(t, dying)
			w.add("a", bad.addr())
			w.good("b")
			status, body, err := send(w.client(ClientConfig{}), tt.request(t, t.Context()))
			if bad.requests.Load() != 1 {
				t.Errorf("the dying instance got %d requests, want 1", bad.requests.Load())
			}
			if tt.again {
				want := "b:" + tt.body
				if tt.method == "HEAD" {
					want = ""
				}
				if err != nil || status != 200 || body != want {
					t.Errorf("got %d %q %v, want 200 %q", status, body, err, want)
				}
				return
			}
			e := callError(t, err)
			if len(e.Attempts) != 1 || e.Attempts[0].Instance != "a" || e.Attempts[0].Addr != bad.addr() ||
				e.Attempts[0].Sent != resilience.MaybeSent || e.Stopped != resilience.StopUnsafe.String() {
				t.Errorf("error %v", e)
			}
			if failure.CodeOf(err) != failure.Unavailable {
				t.Errorf("code %v", failure.CodeOf(err))
			}
		})
	}
}

func TestFrozenInstanceCostsAnAttemptOnly(t *testing.T) {
	for _, c := range []call{{method: "GET"}, {method: "POST", body: "x", key: "k"}} {
		t.Run(c.method, func(t *testing.T) {
			w := newWorld(t)
			w.add("a", rawServer(t, frozen).addr())
			w.good("b")
			status, body, err := send(w.client(ClientConfig{Policy: quick}), c.request(t, t.Context()))
			if err != nil || status != 200 || body != "b:"+c.body {
				t.Errorf("got %d %q %v", status, body, err)
			}
		})
	}
}

func TestFrozenInstanceAndARequestThatMustNotRunTwice(t *testing.T) {
	w := newWorld(t)
	ice := rawServer(t, frozen)
	w.add("a", ice.addr())
	w.good("b")
	client := w.client(ClientConfig{Policy: resilience.Policy{Timeout: 200 * time.Millisecond, AttemptTimeout: 20 * time.Millisecond}})
	_, _, err := send(client, call{method: "POST", body: "x"}.request(t, t.Context()))
	e := callError(t, err)
	if failure.CodeOf(err) != failure.DeadlineExceeded || len(e.Attempts) != 1 || e.Attempts[0].Duration < 150*time.Millisecond {
		t.Errorf("error %v: cutting it off earlier gains nothing", err)
	}
	if ice.requests.Load() != 1 {
		t.Errorf("%d requests", ice.requests.Load())
	}
}

func TestWhatWasNotSentGoesElsewhereWhateverItIs(t *testing.T) {
	large := strings.Repeat("0123456789", 400_000) // streamed, larger than what is kept
	for name, c := range map[string]call{
		"get":        {method: "GET"},
		"post":       {method: "POST", body: "x"},
		"large post": {method: "POST", body: large},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("a", refusedAddr(t))
			w.serve("b", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprintf(rw, "%d %v", n, err)
			}), ServerConfig{MaxBodyBytes: 8 << 20})
			status, body, err := send(w.client(ClientConfig{}), c.request(t, t.Context()))
			if want := fmt.Sprintf("%d <nil>", len(c.body)); err != nil || status != 200 || body != want {
				t.Errorf("got %d %q %v, want %q", status, body, err, want)
			}
		})
	}
}

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

func TestAnswersThatSayTheInstanceIsTheProblem(t *testing.T) {
	problem := func(err error) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) { Error(rw, r, err) }
	}
	plain := func(status int, header ...string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				rw.Header().Set(header[i], header[i+1])
			}
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, "first")
		}
	}
	unavailable := failure.New(failure.Unavailable, "not now")
	for _, tt := range []struct {
		name   string
		first  http.HandlerFunc
		method string
		status int
		body   string // a part of it
	}{
		{"503 problem", problem(unavailable), "GET", 200, "b:"},
		{"503 problem with a short Retry-After", problem(unavailable.WithRetryAfter(time.Millisecond)), "GET", 200, "b:"},
		{"503 problem with a long Retry-After", problem(unavailable.WithRetryAfter(2 * time.Second)), "GET", 503, `"retry_after_ms":2000`},
		{"503 with a long Retry-After", plain(503, "Retry-After", "7"), "GET", 503, "first"},
		{"503", plain(503), "GET", 200, "b:"},
		{"502", plain(502), "GET", 200, "b:"},
		{"504 is the end of the time for all", plain(504), "GET", 504, "first"},
		{"503 to what must not run twice", problem(unavailable), "POST", 503, "not now"},
		{"500", plain(500), "GET", 500, "first"},
		{"501", plain(501), "GET", 501, "first"},
		{"429", plain(429), "GET", 429, "first"},
		{"404", plain(404), "GET", 404, "first"},
		{"409", plain(409), "PUT", 409, "first"},
		{"given up below", problem(&resilience.CallError{Service: "x", Method: "y", Stopped: resilience.StopAttempts.String(), Err: unavailable}), "GET", 503, "retry_after_ms"},
		{"not repeated below, but repeatable here", problem(&resilience.CallError{Service: "x", Method: "y", Stopped: resilience.StopUnsafe.String(), Err: unavailable}), "GET", 200, "b:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.serve("a", tt.first, ServerConfig{})
			w.good("b")
			status, body, err := send(w.client(ClientConfig{}), call{method: tt.method}.request(t, t.Context()))
			if err != nil || status != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("got %d %q %v, want %d with %q", status, body, err, tt.status, tt.body)
			}
		})
	}
}

func TestLastAnswerIsGivenToTheCallerWhenAllFail(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("z", 200<<10) // longer than what is read ahead
	var hits atomic.Int64
	for _, id := range []string{"a", "b", "c", "d"} {
		w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			n := hits.Add(1)
			rw.Header().Set("Content-Type", failure.ProblemType)
			rw.Header().Set("N", strconv.FormatInt(n, 10))
			rw.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(rw, `{"detail":"`+long+`"}`)
		}), ServerConfig{})
	}
	resp, err := w.client(ClientConfig{}).Do(call{method: "GET"}.request(t, t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("N") != "3" || string(body) != `{"detail":"`+long+`"}` {
		t.Errorf("got %d N=%s, %d bytes, %v", resp.StatusCode, resp.Header.Get("N"), len(body), err)
	}
	if hits.Load() != 3 {
		t.Errorf("%d attempts, want 3", hits.Load())
	}
}

func TestRetriesStayWithinTheBudget(t *testing.T) {
	w := newWorld(t)
	var hits atomic.Int64
	for _, id := range []string{"a", "b"} {
		w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			hits.Add(1)
			rw.WriteHeader(http.StatusServiceUnavailable)
		}), ServerConfig{})
	}
	client := w.client(ClientConfig{Policy: resilience.Policy{
		AttemptTimeout: -1,
		Backoff:        resilience.Backoff{Base: time.Microsecond, Max: time.Microsecond},
		Budget:         resilience.BudgetPolicy{Ratio: 0.1, Floor: -1, Burst: 5},
	}})
	const calls = 200
	for range calls {
		status, _, err := send(client, call{method: "GET"}.request(t, t.Context()))
		if err != nil || status != 503 {
			t.Fatal(status, err)
		}
	}
	if most := int64(calls + calls/10 + 5); hits.Load() > most || hits.Load() < calls+calls/10 {
		t.Errorf("%d attempts for %d failing calls, want at most %d and not many fewer", hits.Load(), calls, most)
	}
}

func TestSecondAttemptSaysSo(t *testing.T) {
	w := newWorld(t)
	w.add("a", rawServer(t, dying).addr())
	w.good("b")
	resp, err := w.client(ClientConfig{}).Do(call{method: "GET"}.request(t, t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Attempt") != "1" {
		t.Errorf("attempt %q", resp.Header.Get("Attempt"))
	}
}

func TestBodyTooLargeToKeepIsSentOnce(t *testing.T) {
	w := newWorld(t)
	bad := rawServer(t, func(r *raw, c *net.TCPConn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			r.requests.Add(1)
			_, _ = io.CopyN(io.Discard, req.Body, 2000)
		}
		_ = c.SetLinger(0)
		_ = c.Close()
	})
	w.add("a", bad.addr())
	w.good("b")
	client := w.client(ClientConfig{MaxReplayBytes: 1000})
	for name, body := range map[string]string{"short": strings.Repeat("x", 1000), "long": strings.Repeat("x", 100_000)} {
		closed := make(chan struct{})
		req := call{method: "PUT"}.request(t, t.Context())
		req.Body = &closing{Reader: strings.NewReader(body), closed: closed}
		req.ContentLength = int64(len(body))
		status, got, err := send(client, req)
		if name == "short" && (err != nil || status != 200 || got != "b:"+body) {
			t.Errorf("short: %d %v", status, err)
		}
		if name == "long" {
			if e := callError(t, err); e.Stopped != resilience.StopUnsafe.String() || len(e.Attempts) != 1 {
				t.Errorf("long: %v", err)
			}
		}
		<-closed
	}
	if bad.requests.Load() != 2 {
		t.Errorf("%d requests at the bad instance", bad.requests.Load())
	}
}

type closing struct {
	io.Reader
	closed chan struct{}
}

func (c *closing) Close() error {
	close(c.closed) // panics on a second one
	return nil
}

func TestBodyWithGetBodyIsRepeatedWhateverItsSize(t *testing.T) {
	w := newWorld(t)
	w.add("a", rawServer(t, dying).addr())
	w.serve("b", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, n)
	}), ServerConfig{MaxBodyBytes: -1})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://shop/", bytes.NewReader(make([]byte, 3<<20)))
	if err != nil {
		t.Fatal(err)
	}
	status, body, err := send(w.client(ClientConfig{}), req)
	if err != nil || status != 200 || body != strconv.Itoa(3<<20) {
		t.Errorf("got %d %q %v", status, body, err)
	}
}

func TestBodyIsClosedWhenNothingIsSent(t *testing.T) {
	w := newWorld(t)
	client := w.client(ClientConfig{Policy: resilience.Policy{Timeout: 10 * time.Millisecond}})
	for _, url := range []string{"http://shop/", "http://not a service/", "ftp://shop/", "https://shop/"} {
		closed := make(chan struct{})
		req := call{method: "POST"}.request(t, t.Context())
		req.URL.Scheme, req.URL.Host, _ = strings.Cut(strings.TrimSuffix(url, "/"), "://")
		req.Body = &closing{Reader: strings.NewReader("x"), closed: closed}
		if _, _, err := send(client, req); err == nil {
			t.Errorf("%s: no error", url)
		}
		<-closed
	}
}

func TestBodyThatFailsIsTheCallersFault(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	w.good("b")
	cause := errors.New("disk on fire")
	req := call{method: "PUT"}.request(t, t.Context())
	req.Body = io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x", 50_000)), failing{cause}))
	_, _, err := send(w.client(ClientConfig{}), req)
	if e := callError(t, err); len(e.Attempts) != 1 || failure.CodeOf(err) != failure.InvalidArgument || !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestResponseHoldsItsInstanceUntilItIsReadOrClosed(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	client := w.client(ClientConfig{})
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	inFlight := func() int { return g.now.Load().nodes[0].InFlight() }
	for name, end := range map[string]func(*http.Response){
		"close":    func(r *http.Response) { _ = r.Body.Close() },
		"end":      func(r *http.Response) { _, _ = io.Copy(io.Discard, r.Body) },
		"both":     func(r *http.Response) { _, _ = io.Copy(io.Discard, r.Body); _ = r.Body.Close(); _ = r.Body.Close() },
		"no bytes": func(r *http.Response) { _, _ = r.Body.Read(make([]byte, 1)); _ = r.Body.Close() },
	} {
		resp, err := client.Do(call{method: "POST", body: "12345"}.request(t, t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if inFlight() != 1 {
			t.Errorf("%s: %d in flight with an open response", name, inFlight())
		}
		end(resp)
		_ = resp.Body.Close()
		if inFlight() != 0 {
			t.Errorf("%s: %d in flight after it", name, inFlight())
		}
	}
}

func TestDeadlineCoversTheBodyUnlessItIsAStream(t *testing.T) {
	w := newWorld(t)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(rw, "one")
		r = Stream(rw, r)
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-time.After(300 * time.Millisecond):
			_, _ = io.WriteString(rw, "two")
		case <-r.Context().Done():
		}
	}), ServerConfig{})
	client := w.client(ClientConfig{Policy: resilience.Policy{Timeout: 100 * time.Millisecond}})
	_, body, err := send(client, call{method: "GET", path: "/?type=text/plain"}.request(t, t.Context()))
	if body != "one" || failure.CodeOf(err) != failure.DeadlineExceeded {
		t.Errorf("plain: %q %v", body, err)
	}
	callError(t, err)
	_, body, err = send(client, call{method: "GET", path: "/?type=text/event-stream%3b+charset=utf-8"}.request(t, t.Context()))
	if body != "onetwo" || err != nil {
		t.Errorf("stream: %q %v", body, err)
	}
}

// broken answers with the beginning of a body of the given length (-1: chunked), and is gone.
func broken(length int) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		if length >= 0 {
			rw.Header().Set("Content-Length", strconv.Itoa(length))
		}
		_, _ = io.WriteString(rw, "part")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestAnswerThatBreaksInTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		name   string
		length int
		call
		again bool
	}{
		{"short", 100, call{method: http.MethodGet}, true},
		{"long", 1 << 20, call{method: http.MethodGet}, false},
		{"chunked", -1, call{method: http.MethodGet}, false},
		{"short, but not to be repeated", 100, call{method: http.MethodPost, body: "x"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.serve("a", broken(tt.length), ServerConfig{})
			w.good("b")
			_, body, err := send(w.client(ClientConfig{}), tt.request(t, t.Context()))
			if tt.again {
				if body != "b:" || err != nil {
					t.Errorf("%q %v", body, err)
				}
				return
			}
			// The caller has a part of it: it is too late for another attempt.
			if body != "part" || failure.CodeOf(err) != failure.Unavailable || callError(t, err).Attempts[0].Instance != "a" {
				t.Errorf("%q %v", body, err)
			}
		})
	}
}

func TestUpgradedConnectionWorksBothWays(t *testing.T) {
	w := newWorld(t)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "Upgrade")
		rw.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		rw.WriteHeader(http.StatusSwitchingProtocols)
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, _ := buf.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	}), ServerConfig{})
	req := call{method: "GET"}.request(t, t.Context())
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "parrot")
	resp, err := w.client(ClientConfig{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	conn, ok := resp.Body.(io.ReadWriter)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d, body %T", resp.StatusCode, resp.Body)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if got, _ := bufio.NewReader(conn).ReadString('\n'); got != "echo hello\n" {
		t.Errorf("got %q", got)
	}
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

func TestCallerThatGivesUpEndsTheCall(t *testing.T) {
	w := newWorld(t)
	ice := rawServer(t, frozen)
	w.add("a", ice.addr())
	w.good("b")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	client := w.client(ClientConfig{Policy: resilience.Policy{AttemptTimeout: -1}})
	go func() {
		_, _, err := send(client, call{method: "GET"}.request(t, ctx))
		done <- err
	}()
	eventually(t, "the request is there", func() bool { return ice.requests.Load() == 1 })
	cancel()
	err := <-done
	if e := callError(t, err); !errors.Is(err, context.Canceled) || e.Stopped != resilience.StopCanceled.String() {
		t.Errorf("error %v", err)
	}
}

func TestInheritedDeadlineLeavesAMargin(t *testing.T) {
	w := newWorld(t)
	var got string
	w.serve("a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get(HeaderTimeout) }), ServerConfig{})
	ctx, cancel := context.WithTimeout(resilience.WithIncoming(t.Context()), 2*time.Second)
	defer cancel()
	if _, _, err := send(w.client(ClientConfig{}), call{method: "GET"}.request(t, ctx)); err != nil {
		t.Fatal(err)
	}
	if ms, _ := strconv.Atoi(got); ms < 1000 || ms > 1950 {
		t.Errorf("timeout %q of 2 s", got)
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

// A server that closes idle connections without a word is the worst peer for keep-alive. Whatever the timing, a request
// that must not run twice either succeeds or is reported as maybe sent; none is reported as unsent, none runs twice.
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
		if e := callError(t, err); e.Attempts[len(e.Attempts)-1].Sent != resilience.MaybeSent {
			t.Fatalf("a request that was not sent was not sent again: %v", err)
		}
	}
	if n := bad.requests.Load(); n < calls-int64(failed) || n > calls {
		t.Errorf("%d calls, %d of them failed, ran %d times", calls, failed, n)
	}
	t.Logf("%d of %d met a connection that was being closed", failed, calls)
}

// What is known of the method stands in for a kind of request that was hardly seen: half of the deadline would be the
// alternative.
func TestFrozenInstanceIsFoundOutByWhatOtherRequestsTook(t *testing.T) {
	w := newWorld(t)
	w.good("b")
	client := w.client(ClientConfig{Policy: resilience.Policy{Timeout: 20 * time.Second}})
	for range 100 {
		if _, _, err := send(client, call{method: http.MethodGet, path: "/often"}.request(t, t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	ice := rawServer(t, frozen)
	w.add("a", ice.addr())
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the frozen instance is known, and the latency", func() bool {
		_, all := g.latency.of(http.MethodGet, "/")
		return len(g.now.Load().peers) == 2 && all.Summary(time.Now()).Known()
	})
	begun := time.Now()
	_, body, err := send(client, call{method: http.MethodGet, path: "/seldom"}.request(t, t.Context()))
	if err != nil || body != "b:" || ice.requests.Load() != 1 {
		t.Errorf("%q %v, %d requests at the frozen one", body, err, ice.requests.Load())
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
