package rest

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// The caller may look at the trailers at any time, as a proxy does before it reads, and what is read ahead may bring them
// meanwhile. The caller has them once it has read the end.
func TestTrailersComeWithTheEndOfAnAnswerThatWasHeld(t *testing.T) {
	for _, tt := range []struct {
		announced bool
		body      string // comes before the end, by itself
	}{{false, ""}, {true, ""}, {false, "late"}, {true, "late"}} {
		w := newWorld(t)
		goOn := make(chan struct{})
		w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			name := http.TrailerPrefix + "X-Sum"
			if tt.announced {
				name = "X-Sum"
				rw.Header().Set("Trailer", name)
			}
			_ = http.NewResponseController(rw).Flush()
			<-goOn
			if tt.body != "" {
				_, _ = io.WriteString(rw, tt.body)
				_ = http.NewResponseController(rw).Flush()
				<-goOn
			}
			rw.Header().Set(name, "42")
		}), ServerConfig{})
		client := w.client(ClientConfig{})
		resp, err := client.Do(call{method: http.MethodGet}.request(t, t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		goOn <- struct{}{}
		held := resp.Body.(*responseBody).body.(*heldBody)
		for over := false; !over; {
			select {
			case <-held.filled:
				over = true
			default:
			}
			for name, values := range resp.Trailer {
				if name != "X-Sum" || len(values) > 0 {
					t.Errorf("trailers before the end: %v", resp.Trailer)
				}
			}
			if _, ok := resp.Trailer["X-Sum"]; ok != tt.announced {
				t.Errorf("announced: %v, want %v", ok, tt.announced)
			}
		}
		close(goOn)
		if body, err := io.ReadAll(resp.Body); string(body) != tt.body || err != nil {
			t.Errorf("%q %v", body, err)
		}
		if got := resp.Trailer.Get("X-Sum"); got != "42" {
			t.Errorf("%+v: trailer %q", tt, got)
		}
	}
}

// An answer that has begun in time is not lost to the time for which it is held back.
func TestAnAnswerIsNotHeldUntilItsAttemptIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var requests atomic.Int64
		slow := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			<-time.After(85 * time.Millisecond)
			_ = http.NewResponseController(rw).Flush()
			<-time.After(200 * time.Millisecond)
			_, _ = io.WriteString(rw, "x")
		})
		instances := map[string]*pipes{"a:80": newPipes(), "b:80": newPipes()}
		for addr, l := range instances {
			w.serve(addr[:1], slow, ServerConfig{Listener: l})
			w.add(addr[:1], addr)
		}
		client := w.client(ClientConfig{
			Insecure: true,
			Policy:   resilience.Policy{AttemptTimeout: 100 * time.Millisecond, Hedge: resilience.HedgePolicy{Share: -1}},
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return instances[addr].Dial(ctx, network, addr)
			},
		})
		known(t, client, 2)
		if status, body, err := send(client, call{method: http.MethodGet}.request(t, t.Context())); status != http.StatusOK || body != "x" || err != nil {
			t.Errorf("%d %q %v", status, body, err)
		}
		if n := requests.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}
