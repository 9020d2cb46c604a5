package replicalock

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
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

// server is a store of some members.
type server struct {
	t     *testing.T
	hosts []replica.Config

	mu     sync.Mutex
	stores []*kv.Store
	stop   []func()
}

func startServer(t *testing.T, members int) *server {
	t.Helper()
	s := &server{t: t, stores: make([]*kv.Store, members), stop: make([]func(), members)}
	var peers []replica.Peer
	for i := range members {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("member-", i)
		peers = append(peers, replica.Peer{Name: name, Addr: l.Addr().String()})
		s.hosts = append(s.hosts, replica.Config{
			Name: name, Dir: t.TempDir(), Members: members, Listener: l, Election: 100 * time.Millisecond * time.Duration(members),
			Logger: slog.New(slog.DiscardHandler),
		})
	}
	for i := range s.hosts {
		if members > 1 {
			s.hosts[i].Peers = replica.Static(peers...)
		}
		s.start(i)
	}
	t.Cleanup(func() {
		for _, stop := range s.stop {
			stop()
		}
	})
	return s
}

func (s *server) start(i int) {
	s.t.Helper()
	host, err := replica.NewHost(s.hosts[i])
	if err != nil {
		s.t.Fatal(err)
	}
	s.hosts[i].Listener, s.hosts[i].Addr = nil, host.Addr().String() // the next one has to listen itself
	store, err := kv.New(host, "locks", kv.Config{})
	if err != nil {
		s.t.Fatal(errors.Join(err, host.Close()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- host.Run(ctx) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stores[i] = store
	s.stop[i] = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("stop: %v", err)
		}
	}
}

func (s *server) now(client int) *kv.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stores[client%len(s.stores)]
}

// leader returns which member leads, as the first one knows.
func (s *server) leader() int {
	for i := range s.hosts {
		if name, _ := s.now(0).Group().Leader(); name == s.hosts[i].Name {
			return i
		}
	}
	return 0
}

// engine is a store of which each client has a way of its own.
type engine struct {
	t      *testing.T
	prefix string

	mu      sync.Mutex
	server  *server
	clients int
}

// now returns the store that a client is a member of.
func (e *engine) now(client int) *kv.Store {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server.now(client)
}

func (e *engine) Open(testing.TB) (driver.Engine, locktest.Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := &link{e: e, client: e.clients, changed: make(chan struct{})}
	e.clients++
	return on(l, e.prefix), l
}

// Restart stops the leader and starts it again; one of several is missed by the others meanwhile.
func (e *engine) Restart() {
	i := e.server.leader()
	e.server.stop[i]()
	e.server.start(i)
}

// Wipe puts an empty store in the place of the one there was.
func (e *engine) Wipe() {
	empty := startServer(e.t, len(e.server.hosts))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server = empty
}

func (e *engine) EndSession(id string) {
	if _, _, err := e.now(0).Delete(e.t.Context(), on(nil, e.prefix).session(id)); err != nil {
		e.t.Error(err)
	}
}

func (e *engine) DeleteTickets(name string) {
	v, err := e.now(0).View(e.t.Context(), replica.Linearizable)
	if err != nil {
		e.t.Fatal(err)
	}
	for item := range v.Prefix(on(nil, e.prefix).queue(name)) {
		if _, _, err := e.now(0).Delete(e.t.Context(), item.Key); err != nil {
			e.t.Error(err)
		}
	}
}

// link is a store that cannot be reached at times, as a member that is cut off from the others.
type link struct {
	e      *engine
	client int

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
	return l.e.now(l.client).Do(ctx, t, opts...)
}

func (l *link) View(ctx context.Context, level replica.Level) (*kv.View, error) {
	if err := l.pass(ctx); err != nil {
		return nil, err
	}
	return l.e.now(l.client).View(ctx, level)
}

func (l *link) Watch(prefix string, after uint64) *kv.Watcher {
	return l.e.now(l.client).Watch(prefix, after)
}

func TestConformance(t *testing.T) { testConformance(t, 1, 5*time.Second) }

func testConformance(t *testing.T, members int, ttl time.Duration) {
	t.Parallel()
	shared := startServer(t, members)
	locktest.Run(t, locktest.Config{
		New: func(t *testing.T) locktest.Engine {
			e := &engine{t: t, prefix: t.Name() + "/", server: shared}
			if strings.HasSuffix(t.Name(), "/Restarted") {
				e.server = startServer(t, members)
			}
			return e
		},
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		TTL: ttl, Grants: 2 * ttl, Within: 10 * time.Second,
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
