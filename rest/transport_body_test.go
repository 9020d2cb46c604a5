package rest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

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
	inFlight := func() int { return g.now.Load().peers[0].node.InFlight() }
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
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := newPipes()
		w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", r.URL.Query().Get("type"))
			_, _ = io.WriteString(rw, "one")
			r = Stream(rw, r)
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-time.After(600 * time.Millisecond):
				_, _ = io.WriteString(rw, "two")
			case <-r.Context().Done():
			}
		}), ServerConfig{Listener: l})
		w.add("a", "a:80")
		client := w.client(ClientConfig{Insecure: true, Policy: resilience.Policy{Timeout: 250 * time.Millisecond}, Dial: l.Dial})
		_, body, err := send(client, call{method: "GET", path: "/?type=text/plain"}.request(t, t.Context()))
		if body != "one" || failure.CodeOf(err) != failure.DeadlineExceeded {
			t.Errorf("plain: %q %v", body, err)
		}
		callError(t, err)
		_, body, err = send(client, call{method: "GET", path: "/?type=text/event-stream%3b+charset=utf-8"}.request(t, t.Context()))
		if body != "onetwo" || err != nil {
			t.Errorf("stream: %q %v", body, err)
		}
	})
}

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
		{"chunked", -1, call{method: http.MethodGet}, true},
		{"chunked, but not to be repeated", -1, call{method: http.MethodPost, body: "x"}, false},
		{"short, but not to be repeated", 100, call{method: http.MethodPost, body: "x"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body string
			var err error
			for late := true; late; {
				w := newWorld(t)
				w.serve("a", broken(tt.length), ServerConfig{})
				w.good("b")
				client := w.client(ClientConfig{})
				known(t, client, 2)
				begun := time.Now()
				_, body, err = send(client, tt.request(t, t.Context()))
				late = tt.length < 0 && time.Since(begun) > holdFor // it may not have been held for long enough
			}
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

// What comes bit by bit is not held up, and what is too long to be held comes whole.
func TestAnswersOfUnknownLengthComeAsTheyAre(t *testing.T) {
	next := make(chan struct{})
	w := newWorld(t)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(rw)
		switch r.URL.Path {
		case "/bits":
			for _, bit := range []string{"one", "two", "three"} {
				_, _ = io.WriteString(rw, bit)
				_ = rc.Flush()
				<-next
			}
		case "/late": // nothing at all, for longer than is waited for it
			_ = rc.Flush()
			<-next
			_, _ = io.WriteString(rw, "late")
		case "/breaks":
			_, _ = io.WriteString(rw, "part")
			_ = rc.Flush()
			<-next
			panic(http.ErrAbortHandler)
		default:
			n, _ := strconv.Atoi(r.URL.Path[1:])
			out := bufio.NewWriter(rw)
			for i := range n {
				_, _ = out.Write([]byte{byte(i), byte(i >> 8)})
			}
			_ = out.Flush()
		}
	}), ServerConfig{})
	client := w.client(ClientConfig{})
	get := func(path string) *http.Response {
		t.Helper()
		resp, err := client.Do(call{method: "GET", path: path}.request(t, t.Context()))
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(path, resp, err)
		}
		return resp
	}
	for _, n := range []int{2000, 4096, 8 << 10, 20_000, 32 << 10, 32<<10 + 1, 1 << 20} { // of two bytes
		resp := get("/" + strconv.Itoa(n))
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || len(body) != 2*n {
			t.Fatalf("%d of %d bytes, %v", len(body), 2*n, err)
		}
		for i := range n {
			if body[2*i] != byte(i) || body[2*i+1] != byte(i>>8) {
				t.Fatalf("of %d bytes number %d is wrong", 2*n, 2*i)
			}
		}
	}
	bits := get("/bits")
	for _, want := range []string{"one", "two", "three"} {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(bits.Body, got); err != nil || string(got) != want {
			t.Fatalf("%q %v, want %q", got, err, want)
		}
		next <- struct{}{}
	}
	if rest, err := io.ReadAll(bits.Body); len(rest) > 0 || err != nil {
		t.Errorf("then %q %v", rest, err)
	}
	bits.Body.Close()
	late := get("/late")
	next <- struct{}{}
	if body, err := io.ReadAll(late.Body); string(body) != "late" || err != nil {
		t.Errorf("%q %v", body, err)
	}
	late.Body.Close()
	breaks := get("/breaks")
	next <- struct{}{}
	if body, err := io.ReadAll(breaks.Body); string(body) != "part" || err == nil {
		t.Errorf("%q %v", body, err)
	}
	breaks.Body.Close()
	closed := get("/late") // by a caller that has seen enough
	closed.Body.Close()
	next <- struct{}{}
}

func TestUpgradedConnectionWorksBothWays(t *testing.T) {
	resp := upgrade(t, func(conn net.Conn, buf *bufio.ReadWriter) {
		line, _ := buf.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	})
	conn, ok := resp.Body.(io.ReadWriter)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d, body %T", resp.StatusCode, resp.Body)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if got, _ := bufio.NewReader(conn).ReadString('\n'); got != "echo hello\n" {
		t.Errorf("got %q", got)
	}
}

// Whoever serves a request gives up its body when its time is over. On a busy machine that is seen before the end of that time.
func TestABodyThatDoesNotComeInTimeIsNoWrongRequest(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	for _, tt := range []struct {
		err  error
		code failure.Code
	}{
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, failure.DeadlineExceeded},
		{io.ErrUnexpectedEOF, failure.InvalidArgument},
	} {
		req := call{method: "PUT"}.request(t, t.Context())
		req.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(tt.err)))
		req.ContentLength = 8
		_, _, err := send(w.client(ClientConfig{}), req)
		if e := callError(t, err); failure.CodeOf(e.Err) != tt.code || len(e.Attempts) != 1 {
			t.Errorf("%v: %v", tt.err, err)
		}
	}
}

// A busy instance answers before it has the body, which a slow user sends on. What the attempt that is over was just reading
// then is part of what the next one sends.
func TestSlowUploadIsSentElsewhereWhole(t *testing.T) {
	w := newWorld(t)
	src := newGatedBody()
	src.rest = strings.NewReader(strings.Repeat("b", 5*maxUnwritten))
	a := rawServer(t, func(_ *raw, c *net.TCPConn) {
		defer c.Close()
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		<-src.entered // the attempt waits for more to send
		rec := httptest.NewRecorder()
		shedding(new(atomic.Int64), 0)(rec, req)
		_ = rec.Result().Write(c)
		_, _ = io.Copy(io.Discard, c)
	})
	w.add("a", a.addr())
	w.serve("b", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		close(src.goOn)
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(rw, n, " ", err)
	}), ServerConfig{})
	client := w.client(ClientConfig{})
	known(t, client, 2)
	req, err := http.NewRequest(http.MethodPost, "http://shop/", io.NopCloser(src))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 10 + 5*maxUnwritten
	status, body, err := send(client, req.WithContext(t.Context()))
	if want := fmt.Sprint(req.ContentLength, " <nil>"); status != http.StatusOK || body != want || err != nil {
		t.Errorf("%d %q %v, want %q", status, body, err, want)
	}
}

// upgrade opens a connection by Upgrade to an instance, which handles its end of it.
func upgrade(t *testing.T, handle func(conn net.Conn, buf *bufio.ReadWriter)) *http.Response {
	t.Helper()
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
		handle(conn, buf)
	}), ServerConfig{})
	req := call{method: "GET"}.request(t, t.Context())
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "parrot")
	resp, err := w.client(ClientConfig{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// readAll reads a connection to its end, and says then what it has read.
func readAll(conn net.Conn, buf *bufio.ReadWriter) {
	all, err := io.ReadAll(buf)
	_, _ = fmt.Fprintf(conn, "%s %v", all, err)
}

func TestWhoEndsItsSideOfAnUpgradedConnectionGetsTheAnswer(t *testing.T) {
	conn := upgrade(t, readAll).Body.(interface {
		io.ReadWriter
		CloseWrite() error
	})
	_, _ = io.WriteString(conn, "hello")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "hello <nil>" {
		t.Errorf("%q %v", got, err)
	}
}

// Whoever has a WebSocket reads it in one goroutine and closes it in another.
func TestAStreamThatItsCallerClosesWhileReadingIsNoFailureOfTheInstance(t *testing.T) {
	resp := upgrade(t, readAll)
	a := resp.Body.(upgradedBody).attempt
	reads, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		close(reads)
		_, _ = resp.Body.Read(make([]byte, 1))
	}()
	<-reads
	<-time.After(20 * time.Millisecond) // it is in the kernel by then, or nearly
	_ = resp.Body.Close()
	<-read
	a.trip.mu.Lock()
	defer a.trip.mu.Unlock()
	if a.outcome != resilience.OK {
		t.Errorf("the instance is blamed: %v", a.outcome)
	}
}
