package rest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/holdfast-go/holdfast/balance"
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
