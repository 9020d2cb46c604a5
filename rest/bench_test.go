package rest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// BenchmarkClient compares a call with all defaults with one over a bare http.Transport to the same server, which is
// bare as well:
//
//	go test -bench Client -benchmem ./rest
func BenchmarkClient(b *testing.B) {
	s := httptest.NewServer(echo(b))
	defer s.Close()
	w := newWorld(b)
	w.add("a", s.Listener.Addr().String())
	bare := &http.Transport{MaxIdleConnsPerHost: maxIdleConns, DisableCompression: true}
	defer bare.CloseIdleConnections()
	b.Run("bare", func(b *testing.B) { calls(b, &http.Client{Transport: bare}, s.URL) })
	b.Run("holdfast", func(b *testing.B) {
		calls(b, w.client(ClientConfig{Balance: balance.Config{Policy: balance.P2C}}), "http://shop")
	})
}

// BenchmarkTransport compares a Transport with all defaults, and one with everything that can be switched on, with a bare
// http.Transport, without what an http.Client and a server allocate:
//
//	go test -bench Transport -benchmem ./rest
func BenchmarkTransport(b *testing.B) {
	s := rawServer(b, func(_ *raw, c *net.TCPConn) {
		buf := make([]byte, 4<<10)
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n" + strings.Repeat("x", 128))
		for {
			if _, err := c.Read(buf); err != nil { // one read is one request, small as they are
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	w := newWorld(b)
	w.add("a", s.addr())
	w.add("b", s.addr())
	bare := &http.Transport{MaxIdleConnsPerHost: maxIdleConns, DisableCompression: true}
	defer bare.CloseIdleConnections()
	all := ClientConfig{
		Policy: resilience.Policy{MaxInFlight: 1 << 20, Rate: 1e9, Breaker: &resilience.BreakerPolicy{}},
		Methods: map[string]policy.Method{
			"POST /orders": {Safe: policy.SafeKeyed}, "/reports/": {Timeout: time.Minute}, "GET /items/": {MaxAttempts: 2},
		},
		Policies: policy.NewLive(map[string]policy.Service{"shop": {Calls: policy.Calls{Policy: resilience.Policy{MaxAttempts: 3}}}}),
		Balance:  balance.Config{Policy: "p2c", Zone: "here"},
	}
	transport := func(cfg ClientConfig) http.RoundTripper {
		if cfg.Logger = quiet; cfg.Balance.Policy == "" {
			cfg.Balance.Policy = "p2c"
		}
		tr := NewTransport(w.reg, cfg)
		b.Cleanup(func() { _ = tr.Close() })
		return tr
	}
	for _, tt := range []struct {
		name, url string
		rt        http.RoundTripper
		ctx       context.Context
	}{
		{"bare", "http://" + s.addr() + "/items/7", bare, b.Context()},
		{"defaults", "http://shop/items/7", transport(ClientConfig{}), b.Context()},
		{"everything", "http://shop/items/7", transport(all), resilience.WithRequest(b.Context(), resilience.Request{
			Criticality: resilience.CriticalPlus, Tenant: "acme", Attempt: 1,
		})},
	} {
		b.Run(tt.name, func(b *testing.B) {
			req, err := http.NewRequestWithContext(tt.ctx, http.MethodGet, tt.url, http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				resp, err := tt.rt.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
}

// BenchmarkServer compares a wrapped handler with the bare one, without a network.
func BenchmarkServer(b *testing.B) {
	for name, h := range map[string]http.Handler{"bare": echo(b), "holdfast": Wrap(echo(b), ServerConfig{Logger: quiet})} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(context.Background())
			w := discard{header: http.Header{}}
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func echo(b *testing.B) http.Handler {
	answer := make([]byte, 128)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write(answer); err != nil {
			b.Error(err)
		}
	})
}

func calls(b *testing.B, client *http.Client, url string) {
	for name, parallel := range map[string]int{"1": 0, "64": 32} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			get := func() {
				resp, err := client.Get(url)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if parallel == 0 {
				for b.Loop() {
					get()
				}
				return
			}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					get()
				}
			})
		})
	}
}
