package telemetry_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/telemetry"
)

// serveHTTP starts an instance of service that answers at /orders/{id}.
func (w *world) serveHTTP(service, id string, p *process, h http.HandlerFunc) {
	w.t.Helper()
	lis, err := w.net.Listen("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/orders/{id}", h)
	s, err := rest.NewServer(mux, rest.ServerConfig{Listener: lis, Logger: quiet, Observer: p.Observer()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.run(s.Run)
	said := w.reg.Announce(registry.Instance{Service: service, ID: id, Endpoints: map[string]string{"http": lis.Addr().String()}})
	w.run(said.Run)
	<-said.Registered()
}

// client returns an HTTP client of the services.
func (w *world) client(p *process, change ...func(*rest.ClientConfig)) *http.Client {
	cfg := rest.ClientConfig{Logger: quiet, Observer: p.Observer(), Dial: func(ctx context.Context, _, addr string) (net.Conn, error) { return w.net.Dial(ctx, addr) }}
	for _, c := range change {
		c(&cfg)
	}
	tr := rest.NewTransport(w.reg, cfg)
	w.t.Cleanup(func() { tr.Close() })
	return &http.Client{Transport: tr}
}

func get(ctx context.Context, c *http.Client, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// warm makes a first request, which has to wait for the instances, and forgets what was seen of it.
func warm(t *testing.T, c *http.Client, url string, all ...*process) {
	t.Helper()
	if _, err := get(t.Context(), c, url); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		p.forget(t)
	}
}

func TestAPlainRequestLeavesNoSpan(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		w.serveHTTP("callee", "callee-1", callee, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })
		c := w.client(caller)
		warm(t, c, "http://callee/orders/1")
		for range 10 {
			if status, err := get(t.Context(), c, "http://callee/orders/17"); err != nil || status != 200 {
				t.Fatal(status, err)
			}
		}
		if got := append(caller.spans(t), callee.spans(t)...); len(got) > 0 {
			t.Errorf("%v", got.names())
		}
	})
}

func TestAChosenRequestIsSeenOnBothSides(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{Ratio: 1}), w.open("callee", telemetry.Config{})
		w.serveHTTP("callee", "callee-1", callee, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })
		c := w.client(caller)
		warm(t, c, "http://callee/orders/1", caller, callee)
		if _, err := get(t.Context(), c, "http://callee/orders/17?secret=1"); err != nil {
			t.Fatal(err)
		}
		all := append(caller.spans(t), callee.spans(t)...)
		if len(all) != 3 {
			t.Fatalf("%v", all.names())
		}
		whole, attempt, served := all.of(trace.SpanKindInternal)[0], all.of(trace.SpanKindClient)[0], all.of(trace.SpanKindServer)[0]
		below(t, attempt, whole)
		below(t, served, attempt)
		if whole.Name() != "GET /orders/17" || served.Name() != "GET /orders/{id}" {
			t.Errorf("%q, %q", whole.Name(), served.Name())
		}
		want(t, whole, map[string]any{
			"http.request.method": "GET", "url.path": "/orders/17", "http.response.status_code": int64(200), "server.address": "callee",
			"holdfast.call": true, "holdfast.call.attempts": int64(1), "holdfast.keep": "sampled",
		})
		want(t, attempt, map[string]any{"holdfast.attempt.outcome": "ok", "holdfast.peer.instance": "callee-1"})
		want(t, served, map[string]any{"http.route": "/orders/{id}", "holdfast.admission": "admitted", "http.response.status_code": int64(200)})
	})
}

// The callee says in its header that it keeps what it has seen, though the request was repeated and went well.
func TestAFailedRequestIsKeptUpToWhereItCameIn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first, second, third := w.open("first", telemetry.Config{}), w.open("second", telemetry.Config{}), w.open("third", telemetry.Config{})
		w.serveHTTP("third", "third-1", third, func(rw http.ResponseWriter, r *http.Request) {
			rest.Error(rw, r, failure.New(failure.FailedPrecondition, "out of stock"))
		})
		onwards := w.client(second)
		w.serveHTTP("second", "second-1", second, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = get(r.Context(), onwards, "http://third/orders/1")
			_, _ = io.WriteString(rw, "ok all the same")
		})
		c := w.client(first)
		warm(t, c, "http://second/orders/1", first, second, third)
		if status, err := get(t.Context(), c, "http://second/orders/1"); err != nil || status != 200 {
			t.Fatal(status, err)
		}
		all := append(append(first.spans(t), second.spans(t)...), third.spans(t)...)
		if len(all) != 6 {
			t.Fatalf("%v", all.names())
		}
		for _, s := range all[1:] {
			if s.SpanContext().TraceID() != all[0].SpanContext().TraceID() {
				t.Errorf("%s is in another trace", s.Name())
			}
		}
		want(t, first.spans(t).of(trace.SpanKindInternal)[0], map[string]any{"holdfast.keep": "error", "http.response.status_code": int64(200)})
		want(t, third.spans(t)[0], map[string]any{
			"holdfast.keep": "error", "error.type": "409", "exception.message": "out of stock",
		})
		below(t, third.spans(t)[0], second.spans(t).of(trace.SpanKindClient)[0])
		below(t, second.spans(t).of(trace.SpanKindInternal)[0], second.spans(t).of(trace.SpanKindServer)[0])
		below(t, second.spans(t).of(trace.SpanKindServer)[0], first.spans(t).of(trace.SpanKindClient)[0])
	})
}

func TestARepeatedAndAHedgedRequestShowEachAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		var busy, slow atomic.Bool
		h := func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case busy.Swap(false):
				rest.Error(rw, r, failure.New(failure.Unavailable, "not now"))
			case slow.Swap(false):
				select {
				case <-time.After(3 * time.Second):
				case <-r.Context().Done():
				}
			default:
				<-time.After(time.Millisecond)
				_, _ = io.WriteString(rw, "ok")
			}
		}
		w.serveHTTP("callee", "callee-1", callee, h)
		w.serveHTTP("callee", "callee-2", callee, h)
		c := w.client(caller, func(cfg *rest.ClientConfig) {
			cfg.Methods = map[string]policy.Method{"GET /orders/": {Hedge: resilience.HedgePolicy{Share: 0.5, Delay: 20 * time.Millisecond}}}
		})
		for range 100 {
			if _, err := get(t.Context(), c, "http://callee/orders/1"); err != nil {
				t.Fatal(err)
			}
		}
		busy.Store(true)
		if _, err := get(t.Context(), c, "http://callee/orders/1"); err != nil {
			t.Fatal(err)
		}
		slow.Store(true)
		if _, err := get(t.Context(), c, "http://callee/orders/1"); err != nil {
			t.Fatal(err)
		}
		mine := caller.spans(t)
		whole, attempts := mine.of(trace.SpanKindInternal), mine.of(trace.SpanKindClient)
		if len(whole) != 2 || len(attempts) != 4 {
			t.Fatalf("%v", mine.names())
		}
		want(t, whole[0], map[string]any{"holdfast.keep": "retried", "holdfast.call.attempts": int64(2)})
		want(t, attempts[0], map[string]any{"holdfast.attempt.outcome": "unavailable", "http.response.status_code": int64(503)})
		want(t, attempts[1], map[string]any{"holdfast.attempt.outcome": "ok", "http.response.status_code": int64(200)})
		want(t, whole[1], map[string]any{"holdfast.keep": "hedged", "holdfast.call.hedged": true})
		want(t, attempts[2], map[string]any{"holdfast.attempt.lost": true, "holdfast.attempt.outcome": "lost"})
		want(t, attempts[3], map[string]any{"holdfast.attempt.hedge": true, "holdfast.attempt.outcome": "ok"})
	})
}
