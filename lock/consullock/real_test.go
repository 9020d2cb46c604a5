//go:build real

package consullock_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/consulagent"
	"github.com/holdfast-go/holdfast/internal/consultest"
	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/consullock"
	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/locktest"
)

const ttl = 5 * time.Second

// start runs an agent whose sessions may be as short as the suite wants them.
func start(t *testing.T, servers int) *consulagent.Agent {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := consulagent.Start(ctx, consulagent.Config{Dir: t.TempDir(), Servers: servers, HCL: `session_ttl_min = "1s"`})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// engine is a Consul of which each client has a way of its own.
type engine struct {
	t      *testing.T
	prefix string

	mu    sync.Mutex
	agent *consulagent.Agent
	links []*proxytest.Proxy
}

func (e *engine) addr() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.agent.Addr()
}

func (e *engine) Open(t testing.TB) (driver.Engine, locktest.Link) {
	t.Helper()
	link := proxytest.New(t, e.addr)
	e.mu.Lock()
	e.links = append(e.links, link)
	e.mu.Unlock()
	return open(t, consullock.Config{Agents: []string{link.Addr()}, Prefix: e.prefix, MinTTL: time.Second}), link
}

func open(t testing.TB, cfg consullock.Config) *consullock.Driver {
	t.Helper()
	d, err := consullock.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close driver: %v", err)
		}
	})
	return d
}

func (e *engine) each(f func(*proxytest.Proxy)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.links {
		f(l)
	}
}

func (e *engine) Restart() {
	e.t.Helper()
	e.agent.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.agent.Start(ctx); err != nil {
		e.t.Fatal(err)
	}
}

// Wipe puts an empty Consul in the place of the one there was, which to a client is the same as losing the disk.
func (e *engine) Wipe() {
	empty := start(e.t, 0)
	e.each((*proxytest.Proxy).Cut)
	e.mu.Lock()
	e.agent = empty
	e.mu.Unlock()
	e.each((*proxytest.Proxy).Restore)
}

func (e *engine) EndSession(id string) { e.admin(http.MethodPut, "/v1/session/destroy/"+id) }

func (e *engine) DeleteTickets(name string) {
	e.admin(http.MethodDelete, "/v1/kv/"+e.prefix+"/locks/"+name+"/?recurse=true")
}

// admin does something to Consul past the links.
func (e *engine) admin(method, path string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, "http://"+e.addr()+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		e.t.Errorf("%s %s: %s", method, path, resp.Status)
	}
}

func TestRealConformance(t *testing.T) {
	t.Parallel()
	shared := start(t, 0)
	locktest.Run(t, locktest.Config{
		New: func(t *testing.T) locktest.Engine {
			e := &engine{t: t, prefix: t.Name(), agent: shared}
			if strings.HasSuffix(t.Name(), "/Restarted") {
				e.agent = start(t, 1)
			}
			return e
		},
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		// Consul ends a session after twice its TTL, and delays its locks for another one.
		TTL: ttl, Grants: 4 * ttl, Within: 15 * time.Second,
	})
}

// TestRealSessionEndedEarly: when somebody ends the session of a holder, Consul's lock-delay keeps others away until the
// holder's context has ended.
func TestRealSessionEndedEarly(t *testing.T) {
	t.Parallel()
	e := &engine{t: t, prefix: "locks", agent: start(t, 0)}
	sessions := &watched{Driver: open(t, consullock.Config{Agents: []string{e.addr()}, MinTTL: time.Second})}
	a := lock.New(sessions, lock.Config{TTL: ttl, Settle: -1, Logger: slog.New(slog.DiscardHandler)})
	defer a.Close()
	b := lock.New(open(t, consullock.Config{Agents: []string{e.addr()}, MinTTL: time.Second}), lock.Config{TTL: ttl, Settle: -1})
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		old, err := a.Mutex("l").Lock(ctx)
		if err != nil {
			t.Fatal(err)
		}
		e.EndSession(sessions.last.ID())
		next, err := b.Mutex("l").Lock(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if old.Context().Err() == nil {
			t.Error("two hold the lock")
		}
		if next.Token() <= old.Token() {
			t.Errorf("token %d after %d", next.Token(), old.Token())
		}
		if err := next.Unlock(ctx); err != nil {
			t.Error(err)
		}
	}
}

// watched remembers the last session.
type watched struct {
	*consullock.Driver
	last driver.Session
}

func (w *watched) Open(ctx context.Context, ttl time.Duration, holder string) (s driver.Session, err error) {
	s, err = w.Driver.Open(ctx, ttl, holder)
	w.last = s
	return s, err
}

// TestRealToken: with Consul's ACLs on, who may do nothing is told so, and never that it holds or that nobody does.
func TestRealToken(t *testing.T) {
	t.Parallel()
	const root = "11111111-2222-3333-4444-555555555555"
	server := consultest.StartLocked(t, root)
	for token, ok := range map[string]bool{root: true, "": false, "66666666-2222-3333-4444-555555555555": false} {
		l := lock.New(open(t, consullock.Config{Agents: []string{server.Addr()}, Token: token}), lock.Config{Settle: -1, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := l.Mutex("l").Lock(ctx)
		_, held, holderErr := l.Mutex("l").Holder(ctx)
		cancel()
		if (err == nil) != ok || held != ok || (holderErr == nil) != ok {
			t.Errorf("token %.8s: Lock = %v; holder %v, %v", token, err, held, holderErr)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
