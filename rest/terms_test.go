package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

func TestLongestPathThatFitsRulesARequest(t *testing.T) {
	methods := map[string]policy.Method{
		"/":                  {MaxAttempts: 1},
		"/orders/":           {MaxAttempts: 2},
		"POST /orders/":      {MaxAttempts: 3},
		"GET /orders/export": {MaxAttempts: 4},
		"/orders/export/":    {MaxAttempts: 5},
	}
	if err := (ClientConfig{Methods: methods}).Validate(); err != nil {
		t.Fatal(err)
	}
	rules := newRuleSet(resilience.Policy{}, false, methods)
	for request, want := range map[string]int{
		"GET /":                   1,
		"GET /ordersx":            1,
		"GET /orders/7":           2,
		"POST /orders/7":          3,
		"GET /orders/export":      4,
		" /orders/export":         4, // no method is GET
		"PUT /orders/export":      2,
		"GET /orders/export/2026": 5,
		"GET ":                    1, // is sent as /
	} {
		verb, path, _ := strings.Cut(request, " ")
		if got := rules.of(verb, path).policy.MaxAttempts; got != want {
			t.Errorf("%s: rule %d, want %d", request, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { rules.of("GET", "/orders/7") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMethodsThatAreWrongAreAllReported(t *testing.T) {
	err := ClientConfig{Methods: map[string]policy.Method{
		"orders":       {},
		"get /orders":  {},
		"GET /a?b=c":   {},
		"GET  /orders": {},
		"/slow/":       {Timeout: -1},
	}}.Validate()
	for _, want := range []string{`"orders"`, `"get /orders"`, `"GET /a?b=c"`, `"GET  /orders"`, "/slow/", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
}

func TestWhatMayRunTwice(t *testing.T) {
	for _, tt := range []struct {
		method, key string
		ignore      bool
		safe        policy.Safe
		want        bool
	}{
		{"GET", "", false, policy.SafeDefault, true},
		{"", "", true, policy.SafeDefault, true},
		{"PUT", "", true, policy.SafeDefault, true},
		{"POST", "", false, policy.SafeDefault, false},
		{"POST", "k", false, policy.SafeDefault, true},
		{"POST", "k", true, policy.SafeDefault, false},
		{"POST", "k", true, policy.SafeKeyed, true},
		{"POST", "", true, policy.SafeKeyed, false},
		{"POST", "", true, policy.SafeAlways, true},
		{"GET", "k", false, policy.SafeNever, false},
	} {
		rules := newRuleSet(resilience.Policy{}, tt.ignore, map[string]policy.Method{"/": {Safe: tt.safe}})
		req := call{method: tt.method, path: "/x", key: tt.key}.request(t, t.Context())
		if got := rules.of(req.Method, req.URL.Path).repeatable(req); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// A policy rules the calls that begin after it was set, and none after it was taken away.
func TestLivePolicyTakesEffectAtOnce(t *testing.T) {
	w := newWorld(t)
	var hits atomic.Int64
	for _, id := range []string{"a", "b", "c"} {
		w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			hits.Add(1)
			rw.WriteHeader(http.StatusServiceUnavailable)
		}), ServerConfig{})
	}
	live := policy.NewLive(nil)
	var log strings.Builder
	client := w.client(ClientConfig{
		Policies: live,
		Policy:   resilience.Policy{Backoff: resilience.Backoff{Base: time.Microsecond, Max: time.Microsecond}},
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
	})
	attempts := func(method string, want int64) {
		t.Helper()
		hits.Store(0)
		if _, _, err := send(client, call{method: method, path: "/x/y"}.request(t, t.Context())); err != nil {
			t.Fatal(err)
		}
		if hits.Load() != want {
			t.Errorf("%s: %d attempts, want %d", method, hits.Load(), want)
		}
	}
	attempts("GET", 3)
	live.Set("shop", policy.Service{Calls: policy.Calls{
		Policy:  resilience.Policy{MaxAttempts: 2},
		Methods: map[string]policy.Method{"DELETE /x/": {Safe: policy.SafeNever}, "POST /x/": {Safe: policy.SafeAlways, MaxAttempts: 3}},
	}})
	attempts("GET", 2)
	attempts("DELETE", 1)
	attempts("POST", 3)
	live.Set("other", policy.Service{Calls: policy.Calls{Policy: resilience.Policy{MaxAttempts: 1}}})
	attempts("GET", 2)
	live.Set("shop", policy.Service{Calls: policy.Calls{Policy: resilience.Policy{MaxAttempts: -1}}})
	attempts("GET", 2)
	if !strings.Contains(log.String(), "MaxAttempts") {
		t.Errorf("nobody is told of a policy that cannot be: %s", log.String())
	}
	live.Delete("shop")
	attempts("GET", 3)
	live.Set("shop", policy.Service{Calls: policy.Calls{Policy: resilience.Policy{Rate: 1e-9, Burst: 1}}})
	attempts("POST", 1)
	if _, _, err := send(client, call{method: "POST"}.request(t, t.Context())); reasonOf(err) != failure.ReasonRateLimit {
		t.Errorf("error %v", err)
	}
}

// reasonOf is the reason of the error that a call ended with.
func reasonOf(err error) string {
	var e *failure.Error
	if !errors.As(err, &e) || !e.Local() {
		return ""
	}
	return e.Reason
}

// known waits until the client knows that many instances.
func known(t *testing.T, client *http.Client, instances int) {
	t.Helper()
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all instances are known", func() bool { return len(g.now.Load().peers) == instances })
}

// shedding answers as a server does that has not begun with a request.
func shedding(hits *atomic.Int64, retryAfter time.Duration) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		refuse(rw, r, failure.New(failure.ResourceExhausted, "too busy").
			WithReason(failure.ReasonShed, failure.Domain).WithRetryAfter(retryAfter))
	}
}

func TestShedRequestIsTriedOnceElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name       string
		retryAfter time.Duration
		instances  string // x sheds, o works, q is over its quota
		call       call
		hits       int64
		status     int
	}{
		{"post", 0, "xoo", call{method: "POST", body: "x"}, 1, 200},
		{"post, soon", 20 * time.Millisecond, "xoo", call{method: "POST", body: "x"}, 1, 200},
		{"get", 0, "xoo", call{method: "GET"}, 1, 200},
		{"once only", 0, "xxo", call{method: "GET"}, 2, 503},
		{"nobody else", 0, "x", call{method: "GET"}, 1, 503},
		{"the service as a whole", 5 * time.Second, "xoo", call{method: "GET"}, 1, 503},
		{"a body that is not kept", 0, "xoo", call{method: "POST", body: strings.Repeat("x", 2*maxUnsafe)}, 1, 503},
		{"quota", 0, "qoo", call{method: "GET"}, 1, 429},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var hits atomic.Int64
			for i, kind := range tt.instances {
				id := string(rune('a' + i))
				switch kind {
				case 'o':
					w.good(id)
				case 'x':
					shed := shedding(&hits, tt.retryAfter)
					w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						shed(rw, r)
					}), ServerConfig{})
				case 'q':
					w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						hits.Add(1)
						refuse(rw, r, failure.New(failure.ResourceExhausted, "enough").WithReason(failure.ReasonQuota, failure.Domain))
					}), ServerConfig{})
				}
			}
			client := w.client(ClientConfig{})
			known(t, client, len(tt.instances))
			status, body, err := send(client, tt.call.request(t, t.Context()))
			if err != nil || status != tt.status || hits.Load() != tt.hits {
				t.Errorf("%d %.100q %v after %d refusals, want %d after %d", status, body, err, hits.Load(), tt.status, tt.hits)
			}
		})
	}
}

// An answer is worth more than our own word that there was no time, or no leave, for another attempt.
func TestAnswerIsKeptUntilThereIsAnother(t *testing.T) {
	w := newWorld(t)
	var hits atomic.Int64
	w.serve("a", shedding(&hits, 0), ServerConfig{})
	w.good("b")
	client := w.client(ClientConfig{Policy: resilience.Policy{Rate: 1e-9, Burst: 1}})
	known(t, client, 2)
	resp, err := client.Do(call{method: "GET"}.request(t, t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), failure.ReasonShed) || err != nil {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
	if n := inFlight(t, client); n != 0 {
		t.Errorf("%d attempts are counted as under way", n)
	}
}

func TestWhatIsRefusedHereSaysWhy(t *testing.T) {
	hold := make(chan struct{})
	for _, tt := range []struct {
		name   string
		policy resilience.Policy
		before int // calls
		reason string
	}{
		{"bulkhead", resilience.Policy{MaxInFlight: 1}, -1, failure.ReasonBulkhead},
		{"rate limit", resilience.Policy{Rate: 1e-9, Burst: 2, MaxAttempts: 1}, 2, failure.ReasonRateLimit},
		{"breaker", resilience.Policy{Breaker: &resilience.BreakerPolicy{Calls: 5, Open: time.Hour}, MaxAttempts: 1}, 5, failure.ReasonBreaker},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var hits, held atomic.Int64
			w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				hits.Add(1)
				if r.URL.Path == "/hold" {
					held.Add(1)
					<-hold
				}
				rw.WriteHeader(http.StatusServiceUnavailable)
			}), ServerConfig{})
			client := w.client(ClientConfig{Policy: tt.policy})
			known(t, client, 1)
			done := make(chan struct{})
			close(done)
			if tt.before < 0 {
				done = make(chan struct{})
				go func() {
					defer close(done)
					_, _, _ = send(client, call{method: "POST", path: "/hold"}.request(t, t.Context()))
				}()
				eventually(t, "a call is under way", func() bool { return held.Load() == 1 })
			}
			for range tt.before {
				if _, _, err := send(client, call{method: "POST"}.request(t, t.Context())); err != nil {
					t.Fatal(err)
				}
			}
			before := hits.Load()
			_, _, err := send(client, call{method: "GET"}.request(t, t.Context()))
			if reasonOf(err) != tt.reason || hits.Load() != before {
				t.Errorf("%v, %d more requests", err, hits.Load()-before)
			}
			if by := callError(t, err).RefusedBy; by != tt.name {
				t.Errorf("refused by %q", by)
			}
			if tt.before < 0 {
				close(hold)
			}
			<-done
		})
	}
}

// A call that waits for an instance is under way: without a bound a service that is gone takes all of its clients.
func TestBulkheadCountsCallsThatWaitForAnInstance(t *testing.T) {
	w := newWorld(t)
	client := w.client(ClientConfig{Policy: resilience.Policy{MaxInFlight: 1}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := send(client, call{method: "GET"}.request(t, ctx))
		done <- err
	}()
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it waits", func() bool { return g.terms.guard.InFlight() == 1 })
	if _, _, err := send(client, call{method: "GET"}.request(t, t.Context())); reasonOf(err) != failure.ReasonBulkhead {
		t.Errorf("error %v", err)
	}
	cancel()
	if err := <-done; failure.CodeOf(err) != failure.Canceled {
		t.Errorf("error %v", err)
	}
	if n := g.terms.guard.InFlight(); n != 0 {
		t.Errorf("%d under way after it", n)
	}
}

// A body that trickles is a call under way, of which a slow service can have as many as of those without an answer yet.
func TestBulkheadCountsCallsWhoseAnswerIsBeingRead(t *testing.T) {
	w := newWorld(t)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/none":
			rw.WriteHeader(http.StatusNoContent)
			return
		case "/refused":
			rw.WriteHeader(http.StatusServiceUnavailable)
		case "/events":
			rw.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = io.WriteString(rw, "begun")
		_ = http.NewResponseController(rw).Flush()
		if r.URL.Path == "/broken" {
			panic(http.ErrAbortHandler)
		}
	}), ServerConfig{})
	client := w.client(ClientConfig{Policy: resilience.Policy{MaxInFlight: 1, MaxAttempts: 1}})
	known(t, client, 1)
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	under := g.terms.guard.InFlight
	read := func(r *http.Response) { _, _ = io.Copy(io.Discard, r.Body) }
	shut := func(r *http.Response) { _ = r.Body.Close() }
	for _, tt := range []struct {
		path string
		end  func(*http.Response)
	}{
		{"/", read},
		{"/", shut},
		{"/", func(r *http.Response) { read(r); shut(r); shut(r) }},
		{"/refused", read},
		{"/broken", read},
		{"/broken", func(r *http.Response) { read(r); read(r); shut(r) }},
	} {
		resp, err := client.Do(call{method: "POST", path: tt.path}.request(t, t.Context())) // of a GET it would be read ahead
		if err != nil {
			t.Fatal(tt.path, err)
		}
		if _, _, err := send(client, call{method: "GET", path: "/"}.request(t, t.Context())); under() != 1 || reasonOf(err) != failure.ReasonBulkhead {
			t.Errorf("%s: %d under way while the answer is read; error %v", tt.path, under(), err)
		}
		tt.end(resp)
		if n := under(); n != 0 {
			t.Errorf("%s: %d under way after it", tt.path, n)
		}
		shut(resp)
	}
	resp, err := client.Do(call{method: "GET", path: "/none"}.request(t, t.Context()))
	if err != nil || under() != 0 {
		t.Errorf("%v, %d under way after an answer without a body", err, under())
	}
	shut(resp)
	resp, err = client.Do(call{method: "GET", path: "/events"}.request(t, t.Context()))
	if err != nil || under() != 0 {
		t.Errorf("%v, %d under way with a stream", err, under())
	}
	shut(resp)
	if n := under(); n != 0 {
		t.Errorf("%d under way in the end", n)
	}
}

func TestServiceThatRefusesMostIsSparedUntilItRecovers(t *testing.T) {
	w := newWorld(t)
	var hits atomic.Int64
	w.serve("a", shedding(&hits, 0), ServerConfig{})
	client := w.client(ClientConfig{})
	throttled := 0
	const calls = 300
	for range calls {
		_, _, err := send(client, call{method: "GET"}.request(t, t.Context()))
		if err != nil {
			if reasonOf(err) != failure.ReasonThrottled {
				t.Fatal(err)
			}
			throttled++
		}
	}
	if throttled < calls/2 || hits.Load()+int64(throttled) != calls {
		t.Errorf("%d of %d were held back, %d sent", throttled, calls, hits.Load())
	}
	// What is shed for being sheddable says nothing about the rest.
	ctx := resilience.WithCriticality(t.Context(), resilience.CriticalPlus)
	if status, _, err := send(client, call{method: "GET"}.request(t, ctx)); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("%d %v", status, err)
	}
}

func TestRequestTakesItsFactsAlong(t *testing.T) {
	w := newWorld(t)
	var got http.Header
	w.serve("a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }), ServerConfig{})
	low := resilience.SheddablePlus
	client := w.client(ClientConfig{Methods: map[string]policy.Method{"GET /low": {Criticality: &low}}})
	for _, tt := range []struct {
		name string
		path string
		ctx  context.Context
		want string // criticality, tenant, attempt
	}{
		{"nothing", "/", t.Context(), ",,"},
		{"declared", "/low", t.Context(), "sheddable_plus,,"},
		{"chosen", "/low", resilience.WithCriticality(t.Context(), resilience.CriticalPlus), "critical_plus,,"},
		{"inherited", "/", resilience.WithRequest(t.Context(), resilience.Request{Criticality: resilience.Sheddable, Tenant: "acme", Attempt: 2}), "sheddable,acme,2"},
		{"inherited and declared", "/low", resilience.WithRequest(t.Context(), resilience.Request{Tenant: "acme"}), "sheddable_plus,acme,"},
	} {
		req := call{method: "GET", path: tt.path}.request(t, tt.ctx)
		req.Header.Set(HeaderCriticality, "critical_plus") // the context counts
		req.Header.Set(HeaderTenant, "somebody")
		req.Header.Set(HeaderAttempt, "9")
		if _, _, err := send(client, req); err != nil {
			t.Fatal(err)
		}
		if s := fmt.Sprintf("%s,%s,%s", got.Get(HeaderCriticality), got.Get(HeaderTenant), got.Get(HeaderAttempt)); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
		if req.Header.Get(HeaderTenant) != "somebody" {
			t.Errorf("the caller's header was changed: %v", req.Header)
		}
	}
}
