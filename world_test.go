package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/registry/driver"
)

// TestMain is also the main function of the processes that tests of Main start: see main_test.go.
func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		serveAsProcess()
		return
	}
	goleak.VerifyTestMain(m)
}

const patience = 10 * time.Second

// eventually polls until ok, and fails the test when it is never so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// logs keeps what a Service logs, and shows it when the test fails.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// instance is a Service that runs in this process, on listeners of the test.
type instance struct {
	*holdfast.Service
	logs       *logs
	grpc, http string // addresses, whether or not they are served
	cancel     context.CancelFunc
	done       chan struct{}
	err        error
}

// newInstance makes a Service on engine. Change may be nil.
func newInstance(t *testing.T, engine driver.Registry, name, id string, change func(*holdfast.Config)) *instance {
	t.Helper()
	i := &instance{logs: &logs{}, done: make(chan struct{})}
	g, h := listener(t), listener(t)
	i.grpc, i.http = g.Addr().String(), h.Addr().String()
	i.Service = holdfast.New(name, func(c *holdfast.Config) {
		c.Settings.Instance = id
		c.Settings.DrainDelay = 300 * time.Millisecond
		c.Registry = engine
		c.RPCServer.Listener, c.HTTPServer.Listener = g, h
		c.Logger = slog.New(slog.NewTextHandler(i.logs, nil)).With("service", name, "instance", id)
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", id, i.logs)
		}
	})
	return i
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// run runs it until stop or the end of the test.
func (i *instance) run(t *testing.T) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	i.cancel = cancel
	go func() {
		defer close(i.done)
		i.err = i.Run(ctx)
	}()
	t.Cleanup(func() { i.stop(t) })
	return i
}

// stop ends it as SIGTERM does, and waits.
func (i *instance) stop(t *testing.T) {
	t.Helper()
	i.cancel()
	select {
	case <-i.done:
	case <-time.After(30 * time.Second):
		t.Fatal("Run does not return")
	}
	if i.err != nil {
		t.Errorf("Run: %v", i.err)
	}
}

// server answers UnaryCall with the name of its instance.
type server struct {
	grpc_testing.UnimplementedTestServiceServer
	id   string
	call func(context.Context) error
}

func (s *server) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	if s.call != nil {
		if err := s.call(ctx); err != nil {
			return nil, err
		}
	}
	return &grpc_testing.SimpleResponse{Hostname: s.id}, nil
}

// both registers a gRPC service and a handler that answer with the instance's id.
func (i *instance) both(call func(context.Context) error) *instance {
	id := i.Settings().Instance
	grpc_testing.RegisterTestServiceServer(i, &server{id: id, call: call})
	i.HandleFunc("GET /id", func(w http.ResponseWriter, r *http.Request) {
		if call != nil {
			if err := call(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		fmt.Fprint(w, id)
	})
	return i
}

func callGRPC(ctx context.Context, conn grpc.ClientConnInterface) (string, error) {
	r, err := grpc_testing.NewTestServiceClient(conn).UnaryCall(ctx, &grpc_testing.SimpleRequest{})
	return r.GetHostname(), err
}

// get returns the body of a 200.
func get(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// plain is a client without Holdfast and without connections that outlive their request.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
