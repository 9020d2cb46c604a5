package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
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
				e.Attempts[0].Sent != resilience.SentAndLost || e.Stopped != resilience.StopUnsafe.String() {
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

// What is cut off and sent again to where it came from is done twice.
func TestAnAttemptAtTheOnlyInstanceIsNotCutOff(t *testing.T) {
	w := newWorld(t)
	ice := rawServer(t, frozen)
	w.add("a", ice.addr())
	client := w.client(ClientConfig{Policy: resilience.Policy{Timeout: 500 * time.Millisecond}})
	known(t, client, 1)
	_, _, err := send(client, call{method: "GET"}.request(t, t.Context()))
	e := callError(t, err)
	if failure.CodeOf(err) != failure.DeadlineExceeded || len(e.Attempts) != 1 || e.Attempts[0].Duration < 400*time.Millisecond {
		t.Errorf("error %v", err)
	}
	if ice.requests.Load() != 1 {
		t.Errorf("%d requests", ice.requests.Load())
	}
	// Whoever wants it otherwise can say so.
	client = w.client(ClientConfig{Policy: resilience.Policy{Timeout: 500 * time.Millisecond, AttemptTimeout: 50 * time.Millisecond}})
	known(t, client, 1)
	_, _, err = send(client, call{method: "GET"}.request(t, t.Context()))
	if e := callError(t, err); len(e.Attempts) < 2 {
		t.Errorf("error %v", err)
	}
}

func TestFrozenInstanceAndARequestThatMustNotRunTwice(t *testing.T) {
	w := newWorld(t)
	ice := rawServer(t, frozen)
	w.add("a", ice.addr())
	w.good("b")
	client := w.client(ClientConfig{Policy: resilience.Policy{Timeout: time.Second, AttemptTimeout: 20 * time.Millisecond}})
	known(t, client, 2)
	_, _, err := send(client, call{method: "POST", body: "x"}.request(t, t.Context()))
	e := callError(t, err)
	if failure.CodeOf(err) != failure.DeadlineExceeded || len(e.Attempts) != 1 || e.Attempts[0].Duration < 500*time.Millisecond {
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
		Throttle:       resilience.ThrottlePolicy{K: -1},
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

// broken answers with the beginning of a body of the given length (-1: chunked), and is gone.

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

// A server that closes idle connections without a word is the worst peer for keep-alive. Whatever the timing, a request

// that must not run twice either succeeds or is reported as maybe sent; none is reported as unsent, none runs twice.

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
		_, all := g.terms.latency.of(http.MethodGet, "/")
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
