package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

type system struct {
	t      testing.TB
	engine *memregistry.Driver
	reg    *registry.Registry
	edge   *Edge
	stop   func() error
	client *http.Client
}

func newSystem(t testing.TB, cfg Config) *system {
	s := &system{t: t, engine: memregistry.New()}
	s.reg = registry.New(s.engine, registry.Config{Logger: quiet})
	t.Cleanup(func() {
		if err := errors.Join(s.reg.Close(), s.engine.Close()); err != nil {
			t.Error(err)
		}
	})
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	var err error
	s.edge, err = New(s.reg, "shop", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.stop = start(t, s.edge)
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	s.client = &http.Client{Transport: tr}
	return s
}

type component interface {
	Run(context.Context) error
	Close() error
}

func start(t testing.TB, c component) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = c.Close(); _ = stop() })
	return stop
}

func (s *system) put(inst registry.Instance) {
	inst.Service = "shop"
	if _, err := s.engine.Register(context.Background(), driver.Record{Instance: inst, Owner: inst.ID}, time.Hour, true); err != nil {
		s.t.Fatal(err)
	}
}

func (s *system) add(id, addr string) {
	s.put(registry.Instance{ID: id, Endpoints: map[string]string{"http": addr}})
}

func (s *system) serve(id string, h http.HandlerFunc) (*rest.Server, func() error) {
	server, err := rest.NewServer(h, rest.ServerConfig{Logger: quiet, MaxBodyBytes: -1})
	if err != nil {
		s.t.Fatal(err)
	}
	stop := start(s.t, server)
	s.add(id, server.Addr().String())
	return server, stop
}

func (s *system) broken(id string, end func(*net.TCPConn)) *atomic.Int64 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var requests atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					requests.Add(1)
				}
				end(c.(*net.TCPConn))
			})
		}
	})
	s.t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	s.add(id, l.Addr().String())
	return &requests
}

func killed(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }

func frozen(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }

func (s *system) url(path string) string { return "http://" + s.edge.Addr().String() + path }

type answer struct {
	*http.Response
	body string
}

func (s *system) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, s.url(path), r)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp, string(b)}
}

func (a answer) want(t *testing.T, status int, part string) {
	t.Helper()
	if a.StatusCode != status || !strings.Contains(a.body, part) {
		t.Errorf("got %d %q, want %d with %q", a.StatusCode, a.body, status, part)
	}
}
