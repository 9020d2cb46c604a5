package rest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
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
	w := newWorld(t)
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
	}), ServerConfig{})
	client := w.client(ClientConfig{Policy: resilience.Policy{Timeout: 250 * time.Millisecond}})
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
