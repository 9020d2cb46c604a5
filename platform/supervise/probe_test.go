//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// probed runs a prober whose probes answer as health says of the time since the start, for so long, and returns when
// it found what ready.
func probed(t *testing.T, listens bool, health func(since time.Duration) (map[string]string, error), serves ...string) (found []string) {
	t.Helper()
	found, _ = explained(t, listens, health, serves...)
	return found
}

// explained is probed, and returns why it was not ready, and when it said so.
func explained(t *testing.T, listens bool, health func(since time.Duration) (map[string]string, error), serves ...string) (found, whys []string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		begun := time.Now()
		p := &prober{
			addrs:   map[string]string{"grpc": "g", "http": "h"},
			serves:  serves,
			listens: func() bool { return listens },
			health: func(context.Context, map[string]string, []string) (map[string]string, error) {
				return health(time.Since(begun))
			},
			ready: func(served map[string]string) {
				found = append(found, fmt.Sprintf("%d after %s", len(served), time.Since(begun).Round(time.Second)))
			},
			unready: func(why string) {
				whys = append(whys, fmt.Sprintf("%s after %s", why, time.Since(begun).Round(time.Second)))
			},
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		p.run(ctx)
	})
	return found, whys
}

func expect(t *testing.T, found []string, want string) {
	t.Helper()
	if got := strings.Join(found, ", "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProberReady(t *testing.T) {
	one, both := map[string]string{"grpc": "g"}, map[string]string{"grpc": "g", "http": "h"}
	expect(t, probed(t, false, func(since time.Duration) (map[string]string, error) {
		if since < time.Second {
			return nil, errors.New("not serving")
		}
		return both, nil
	}), "2 after 1s")
	// The second port opens a moment later.
	expect(t, probed(t, false, func(since time.Duration) (map[string]string, error) {
		if since < 100*time.Millisecond {
			return one, nil
		}
		return both, nil
	}), "1 after 0s, 2 after 0s")
}

func TestProberQuiet(t *testing.T) {
	quietFor := func(d time.Duration) func(time.Duration) (map[string]string, error) {
		return func(since time.Duration) (map[string]string, error) {
			if since < d {
				return nil, errNotListening
			}
			return map[string]string{"grpc": "g"}, nil
		}
	}
	expect(t, probed(t, false, quietFor(time.Hour)), "0 after 2s")
	// It turns out to be slow.
	expect(t, probed(t, false, quietFor(10*time.Second)), "0 after 2s, 1 after 10s")
	// Others of the service listen, so it is not ready until it does.
	expect(t, probed(t, true, quietFor(10*time.Second)), "1 after 10s")
	expect(t, probed(t, true, quietFor(time.Hour)), "")
	// It is said to serve something.
	expect(t, probed(t, false, quietFor(6*time.Second), "grpc"), "1 after 6s")
	expect(t, probed(t, false, quietFor(time.Hour), "grpc"), "")
}

// Why a process is not ready is said once it has had its time, once for each reason, and not too often.
func TestProberSaysWhy(t *testing.T) {
	answers := func(each ...string) func(time.Duration) (map[string]string, error) {
		return func(since time.Duration) (map[string]string, error) {
			n := int(since / time.Second)
			if n >= len(each) {
				n = len(each) - 1
			}
			if each[n] == "" {
				return map[string]string{"grpc": "g", "http": "h"}, nil
			}
			return nil, errors.New(each[n])
		}
	}
	for _, tc := range []struct {
		name        string
		answers     []string // by the second
		found, whys string
	}{
		{"soon", []string{"a", "a", "a", "a", ""}, "2 after 4s", ""},
		{"never", []string{"a"}, "", "a after 5s"},
		{"late", []string{"a", "a", "a", "a", "a", "a", ""}, "2 after 6s", "a after 5s"},
		{"another reason", []string{"a", "a", "a", "b", "b", "b", "b", "b", "b", "c"}, "", "b after 5s, c after 10s"},
		{"two in turn", []string{"a", "b", "a", "b", "a", "b", "a", "b", "a", "b", "a", "b", "a"}, "", "b after 5s, a after 10s"},
	} {
		found, whys := explained(t, false, answers(tc.answers...))
		expect(t, found, tc.found)
		if got := strings.Join(whys, ", "); got != tc.whys {
			t.Errorf("%s: said %q, want %q", tc.name, got, tc.whys)
		}
	}
	// One that is ready without ports is not late, whatever is asked of it later.
	if _, whys := explained(t, false, func(time.Duration) (map[string]string, error) { return nil, errNotListening }); whys != nil {
		t.Errorf("ready, and said %q", whys)
	}
}

func TestWords(t *testing.T) {
	silent := fmt.Errorf("http 127.0.0.1:1: %w", fmt.Errorf("%w: %w", errSilent, context.DeadlineExceeded))
	foreign := fmt.Errorf("http 127.0.0.1:1: %w", fmt.Errorf("%w: read tcp 127.0.0.1:55001->127.0.0.1:1: connection reset by peer", errForeign))
	for err, want := range map[error]string{
		errors.New("/healthz answers 503 \x1b[31mno"): "/healthz answers 503 no",

		errors.New("a\nb"):                      "a",
		errors.New(strings.Repeat("x", 10_000)): strings.Repeat("x", maxWhy),
		silent:                                  "http 127.0.0.1:1: accepts connections and says nothing",
		foreign:                                 "http 127.0.0.1:1: no plaintext gRPC or HTTP", // and no port that differs each time
	} {
		if got := words(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProberForeign(t *testing.T) {
	expect(t, probed(t, false, func(time.Duration) (map[string]string, error) {
		return nil, fmt.Errorf("grpc: %w", errForeign)
	}), "2 after 5s")
	expect(t, probed(t, false, func(time.Duration) (map[string]string, error) {
		return nil, errors.New("NOT_SERVING")
	}), "")
}

func TestProbeHealth(t *testing.T) {
	server := func(register func(*grpc.Server)) string {
		l := listen(t)
		s := grpc.NewServer()
		register(s)
		go func() { _ = s.Serve(l) }()
		t.Cleanup(s.Stop)
		return l.Addr().String()
	}
	h := health.NewServer()
	withHealth := server(func(s *grpc.Server) { healthpb.RegisterHealthServer(s, h) })
	plain := server(func(*grpc.Server) {})
	status := http.StatusOK
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && r.Method != "PRI" { // the latter is how HTTP/2 begins
			t.Error("asked for", r.URL)
		}
		w.WriteHeader(status)
	}))
	defer web.Close()
	webAddr := web.Listener.Addr().String()
	closed := listen(t)
	closed.Close()
	none := closed.Addr().String()
	silent := listen(t) // accepts by its backlog, as a frozen process does
	defer silent.Close()

	within := 30 * time.Second
	var serves []string
	probe := func(grpcAddr, httpAddr string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		served, err := probeHealth(ctx, map[string]string{"grpc": grpcAddr, "http": httpAddr}, serves)
		names := ""
		for _, protocol := range []string{"grpc", "http"} {
			if served[protocol] != "" {
				names += protocol + " "
			}
		}
		return strings.TrimSpace(names), err
	}
	good := func(grpcAddr, httpAddr, want string) {
		t.Helper()
		if got, err := probe(grpcAddr, httpAddr); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	bad := func(grpcAddr, httpAddr string, want error, text string) {
		t.Helper()
		if _, err := probe(grpcAddr, httpAddr); err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	good(withHealth, webAddr, "grpc http")
	good(withHealth, none, "grpc")
	good(plain, none, "grpc")
	good(none, webAddr, "http")
	bad(none, none, errNotListening, "nothing listens at "+none+" (HOLDFAST_GRPC_ADDR) or "+none+" (HOLDFAST_HTTP_ADDR)")
	serves = []string{"http"}
	bad(none, none, errNotListening, "nothing listens at "+none+" (HOLDFAST_HTTP_ADDR)")
	bad(withHealth, none, errNotListening, "nothing listens at "+none+" (HOLDFAST_HTTP_ADDR)")
	bad(webAddr, none, errNotListening, "nothing listens at "+none+" (HOLDFAST_HTTP_ADDR)") // nor is it TLS
	good(none, webAddr, "http")
	good(withHealth, webAddr, "grpc http")
	serves = []string{"grpc", "http"}
	bad(none, webAddr, errNotListening, "nothing listens at "+none+" (HOLDFAST_GRPC_ADDR)")
	serves = nil
	bad(webAddr, none, errForeign, "")
	bad(none, plain, errForeign, "")
	within = 300 * time.Millisecond
	bad(silent.Addr().String(), none, nil, "DeadlineExceeded")
	bad(none, silent.Addr().String(), context.DeadlineExceeded, "")
	within = 30 * time.Second
	h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	bad(withHealth, webAddr, nil, "health is NOT_SERVING")
	h.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	status = http.StatusNotFound
	good(withHealth, webAddr, "grpc http")
	status = http.StatusServiceUnavailable
	bad(withHealth, webAddr, nil, "/healthz answers 503")
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
