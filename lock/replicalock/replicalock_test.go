package replicalock

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/locktest"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The cases wait for sessions and compute little; more of them at once than there are processors is right.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// server is a store of one member.
type server struct {
	t   *testing.T
	dir string

	mu    sync.Mutex
	store *kv.Store
	stop  func()
}

func startServer(t *testing.T) *server {
	s := &server{t: t, dir: t.TempDir()}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *server) start() {
	s.t.Helper()
	host, err := replica.NewHost(replica.Config{
		Name: "one", Dir: s.dir, Members: 1, Addr: "127.0.0.1:0", Election: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	store, err := kv.New(host, "locks", kv.Config{})
	if err != nil {
		s.t.Fatal(errors.Join(err, host.Close()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- host.Run(ctx) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("stop: %v", err)
		}
	}
}

func (s *server) now() *kv.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store
}

// engine is a store of which each client has a way of its own.
type engine struct {
	t      *testing.T
	prefix string

	mu     sync.Mutex
	server *server
}

func (e *engine) now() *kv.Store {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server.now()
}

func (e *engine) Open(testing.TB) (driver.Engine, locktest.Link) {
	l := &link{e: e, changed: make(chan struct{})}
	return on(l, e.prefix), l
}

func (e *engine) Restart() {
	e.server.stop()
	e.server.start()
}

// Wipe puts an empty store in the place of the one there was.
func (e *engine) Wipe() {
	empty := startServer(e.t)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server = empty
}

func (e *engine) EndSession(id string) {
	if _, _, err := e.now().Delete(e.t.Context(), on(nil, e.prefix).session(id)); err != nil {
		e.t.Error(err)
	}
}

func (e *engine) DeleteTickets(name string) {
	v, err := e.now().View(e.t.Context(), replica.Linearizable)
	if err != nil {
		e.t.Fatal(err)
	}
	for item := range v.Prefix(on(nil, e.prefix).queue(name)) {
		if _, _, err := e.now().Delete(e.t.Context(), item.Key); err != nil {
			e.t.Error(err)
		}
	}
}

// link is a store that cannot be reached at times, as a member that is cut off from the others.
type link struct {
	e *engine

	mu          sync.Mutex
	cut, frozen bool
	changed     chan struct{}
}

var errCut = errors.New("cut off")

func (l *link) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) Cut()     { l.set(func() { l.cut = true }) }
func (l *link) Restore() { l.set(func() { l.cut = false }) }
func (l *link) Freeze()  { l.set(func() { l.frozen = true }) }
func (l *link) Thaw()    { l.set(func() { l.frozen = false }) }

func (l *link) pass(ctx context.Context) error {
	for {
		l.mu.Lock()
		cut, frozen, changed := l.cut, l.frozen, l.changed
		l.mu.Unlock()
		switch {
		case cut:
			return errCut
		case !frozen:
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (l *link) Do(ctx context.Context, t kv.Txn, opts ...kv.WriteOption) (kv.TxnResult, error) {
	if err := l.pass(ctx); err != nil {
		return kv.TxnResult{}, err
	}
	return l.e.now().Do(ctx, t, opts...)
}

func (l *link) View(ctx context.Context, level replica.Level) (*kv.View, error) {
	if err := l.pass(ctx); err != nil {
		return nil, err
	}
	return l.e.now().View(ctx, level)
}

func (l *link) Watch(prefix string, after uint64) *kv.Watcher { return l.e.now().Watch(prefix, after) }

func TestConformance(t *testing.T) {
	t.Parallel()
	shared := startServer(t)
	locktest.Run(t, locktest.Config{
		New: func(t *testing.T) locktest.Engine {
			e := &engine{t: t, prefix: t.Name() + "/", server: shared}
			if strings.HasSuffix(t.Name(), "/Restarted") {
				e.server = startServer(t)
			}
			return e
		},
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		TTL: 3 * time.Second, Grants: 6 * time.Second, Within: 10 * time.Second,
	})
}

// FuzzRecords: whatever stands in the store, a holder is one with a token or nobody, and a token fits where it is stored.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{"", "null", "{}", `{"token":7,"name":"a","ticket":"b"}`, `{"token":-1}`, "123", "-1", "99999999999999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r := decode(b); r.Token == 0 && r != (record{}) {
			t.Errorf("a holder without a token: %+v", r)
		}
		if token := decodeToken(b); token > 1<<63-1 {
			t.Errorf("token %d", token)
		}
		if d := lasts(kv.Item{Value: b}); d <= 0 {
			t.Errorf("a session of %v", d)
		}
	})
}
