package rest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// A process that was frozen does not blame others for it: what ran out meanwhile has a moment more for an answer that has
// come, but not beyond its call, and not twice.
func TestAnAttemptIsSparedAfterAPause(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		name               string
		until, call, rings time.Duration
		spared             time.Duration // until, from the start; 0: it is not
	}{
		{"paused", 100 * time.Millisecond, 10 * time.Second, time.Second, time.Second + resilience.Spared},
		{"paused until shortly before the end", 100 * time.Millisecond, 1100 * time.Millisecond, time.Second, 1100 * time.Millisecond},
		{"paused beyond the end", 100 * time.Millisecond, 900 * time.Millisecond, time.Second, 0},
		{"the only attempt", 10 * time.Second, 10 * time.Second, 11 * time.Second, 0},
		{"a little late", 100 * time.Millisecond, 10 * time.Second, 300 * time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &attempt{trip: &trip{deadline: start.Add(tt.call)}, until: start.Add(tt.until)}
			if got := a.spare(start.Add(tt.rings)); got != (tt.spared > 0) {
				t.Fatalf("spared: %v", got)
			}
			if tt.spared > 0 && !a.until.Equal(start.Add(tt.spared)) {
				t.Errorf("until %v, want %v", a.until.Sub(start), tt.spared)
			}
			if tt.spared > 0 && a.spare(a.until.Add(time.Second)) {
				t.Error("spared twice")
			}
		})
	}
}

// net/http sends a request without a body again by itself when a connection breaks that was used before. What may not run
// twice is not to be, and what may is this package's to repeat, within its budget.
func TestWhatMayHaveRunIsNotSentAgainByNetHTTP(t *testing.T) {
	never := map[string]policy.Method{"/": {Safe: policy.SafeNever}}
	for _, tt := range []struct {
		name, method, key string
		cfg               ClientConfig
		most              int64
	}{
		{"a key nobody believes", http.MethodPost, "Idempotency-Key", ClientConfig{IgnoreKeys: true}, 1},
		{"an X-Idempotency-Key", http.MethodPost, "X-Idempotency-Key", ClientConfig{}, 1},
		{"a GET that may not run twice", http.MethodGet, "", ClientConfig{Methods: never}, 1},
		{"a GET", http.MethodGet, "", ClientConfig{Policy: resilience.Policy{MaxAttempts: 1}}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const warm = 4 // connections
			w := newWorld(t)
			var inside sync.WaitGroup
			inside.Add(warm)
			var came, runs atomic.Int64
			a := rawServer(t, func(_ *raw, c *net.TCPConn) {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if came.Add(1) > warm {
						runs.Add(1)
						return // as if it were killed
					}
					inside.Done()
					inside.Wait() // so that each has a connection of its own
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			w.add("a", a.addr())
			tt.cfg.Policy.Hedge.Share = -1
			client := w.client(tt.cfg)
			var idle sync.WaitGroup
			for range warm {
				idle.Go(func() {
					if status, _, err := send(client, call{method: http.MethodGet}.request(t, t.Context())); status != http.StatusOK {
						t.Error(status, err)
					}
				})
			}
			idle.Wait()
			req := call{method: tt.method, path: "/"}.request(t, t.Context())
			if tt.key != "" {
				req.Header.Set(tt.key, "k")
			}
			status, _, err := send(client, req)
			if err == nil {
				t.Fatalf("answered %d", status)
			}
			e := callError(t, err)
			if len(e.Attempts) != 1 || e.Attempts[0].Sent != resilience.SentAndLost {
				t.Errorf("attempts %+v", e.Attempts)
			}
			if n := runs.Load(); n < 1 || n > tt.most {
				t.Errorf("ran %d times, want %d", n, tt.most)
			}
		})
	}
}
