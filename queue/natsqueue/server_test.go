package natsqueue_test

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/internal/ports"
	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/platform/embed"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
	"github.com/holdfast-go/holdfast/queue/queuetest"
)

// TestMain is also a server of the real tests, if the environment says so.
func TestMain(m *testing.M) {
	if os.Getenv(childConfig) != "" {
		runChild()
	}
	flag.Parse()
	// The cases wait and compute little; more of them at once than there are processors is right.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	childConfig = "NATSQUEUE_TEST_SERVER"
	token       = "secret"
)

// soon bounds whatever a test waits for; it is only reached when the test fails.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freeAddrs are free ones, which no other test takes while nobody listens.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	r, err := ports.Reserve(n)
	check(t, err)
	t.Cleanup(r.Release)
	var addrs []string
	for i := range n {
		addrs = append(addrs, r.Addr(i))
	}
	return addrs
}

// server is one in this process, as the platform runs it.
type server struct {
	t   testing.TB
	cfg embed.NATSConfig

	mu     sync.Mutex
	cancel context.CancelFunc
	ended  chan error
}

func startServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, cfg: embed.NATSConfig{Name: "one", DataDir: t.TempDir(), ClientAddr: freeAddrs(t, 1)[0], Token: token}}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// dial is a connection of somebody else's.
func (s *server) dial() *nats.Conn {
	s.t.Helper()
	conn, err := nats.Connect(s.cfg.ClientAddr, nats.Token(token))
	check(s.t, err)
	s.t.Cleanup(conn.Close)
	return conn
}

func (s *server) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := embed.NewNATS(s.cfg)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() { s.ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
	case err := <-s.ended:
		s.t.Fatal(err)
	}
}

func (s *server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel()
	if err := <-s.ended; err != nil {
		s.t.Error(err)
	}
	s.ended <- nil
}

// engine implements queuetest.Engine.
type engine struct {
	t testing.TB
	s *server
}

func (e *engine) Open(t testing.TB) (driver.Engine, queuetest.Link) {
	t.Helper()
	p := proxytest.New(t, func() string { return e.s.cfg.ClientAddr })
	d, err := natsqueue.Open(natsqueue.Config{Servers: []string{p.Addr()}, Token: token, Name: t.Name(), AckWait: 500 * time.Millisecond})
	check(t, err)
	return d, p
}

func (e *engine) Restart() {
	e.s.stop()
	e.s.start()
}

func TestConformance(t *testing.T) {
	shared := &engine{t, startServer(t)}
	queuetest.Run(t, queuetest.Config{
		New: func(t *testing.T) queuetest.Engine {
			if queuetest.Restarts(t.Name()) {
				return &engine{t, startServer(t)}
			}
			return shared
		},
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		Hold: 5 * time.Second, Within: 20 * time.Second, Messages: 2000,
	})
}

func open(t testing.TB, change func(*natsqueue.Config), servers ...string) *natsqueue.Engine {
	t.Helper()
	cfg := natsqueue.Config{Servers: servers, Token: token, Name: t.Name()}
	if change != nil {
		change(&cfg)
	}
	e, err := natsqueue.Open(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	return e
}

// refusals count the connections that the server refused, or that had no token, by what is logged of them.
type refusals chan struct{}

func (r refusals) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, nil))
}

func (r refusals) Write(line []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(line), []byte("authorization violation")) || bytes.Contains(line, []byte("read the token")) {
		select {
		case r <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

// wait waits for n more.
func (r refusals) wait(t testing.TB, n int) {
	t.Helper()
	ctx := soon(t)
	for len(r) > 0 {
		<-r
	}
	for range n {
		select {
		case <-r:
		case <-ctx.Done():
			t.Fatal("not refused any more")
		}
	}
}
