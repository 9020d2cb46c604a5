//go:build real

package consulregistry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/consultest"
	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/registry/consulregistry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/registrytest"
)

// engine is a shared Consul agent seen through a proxy of its own, with names of its own: the faults of one case are not
// those of another.
type engine struct {
	*proxytest.Proxy
	t      *testing.T
	prefix string

	mu     sync.Mutex
	server *consultest.Server
}

func newEngine(t *testing.T, server *consultest.Server) *engine {
	e := &engine{t: t, server: server}
	e.prefix = strings.Map(func(r rune) rune {
		if r == '/' || r == '_' {
			return '-'
		}
		return r
	}, t.Name()) + "-"
	e.prefix = e.prefix[max(0, len(e.prefix)-64):]
	e.Proxy = proxytest.New(t, func() string { return e.agent().Addr() })
	return e
}

func (e *engine) agent() *consultest.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server
}

func (e *engine) Open(t testing.TB) driver.Registry {
	return open(t, consulregistry.Config{Agents: []string{e.Addr()}, Prefix: e.prefix})
}

func open(t testing.TB, cfg consulregistry.Config) *consulregistry.Driver {
	t.Helper()
	d, err := consulregistry.Open(cfg)
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

func (e *engine) Down() { e.Cut() }
func (e *engine) Up()   { e.Restore() }

// Wipe puts an empty Consul in the place of the one there was, which to a client is the same as losing the disk.
func (e *engine) Wipe() {
	e.Cut()
	empty := consultest.Start(e.t)
	e.mu.Lock()
	e.server = empty
	e.mu.Unlock()
	e.Restore()
}

// ExpireLease does what the agent does with a check that has been critical for long enough.
func (e *engine) ExpireLease(service, id string) { e.DeleteKey(service, id) }

func (e *engine) DeleteKey(service, id string) {
	e.t.Helper()
	call(e.t, e.agent().Addr(), http.MethodPut, "/v1/agent/service/deregister/"+url.PathEscape(e.prefix+service+":"+id), nil)
	e.until(service, func(entries []listed) bool {
		return !has(entries, e.prefix+service+":"+id, "")
	})
}

func (e *engine) Corrupt(service, id string) {
	e.t.Helper()
	call(e.t, e.agent().Addr(), http.MethodPut, "/v1/agent/service/register", map[string]any{
		"ID": e.prefix + service + ":" + id, "Name": e.prefix + service, "Address": "10.0.0.1", "Port": 1,
		"Meta": map[string]string{"holdfast-lease": "garbage"},
	})
	e.until(service, func(entries []listed) bool {
		return has(entries, e.prefix+service+":"+id, "garbage")
	})
}

// listed is what a plain tool sees of a service.
type listed struct {
	Node    struct{ Node string }
	Checks  []struct{ CheckID, ServiceID, Status string }
	Service struct {
		ID          string
		CreateIndex uint64
		Address     string
		Port        int
		Tags        []string
		Meta        map[string]string
	}
}

func has(entries []listed, id, lease string) bool {
	for _, l := range entries {
		if l.Service.ID == id && (lease == "" || l.Service.Meta["holdfast-lease"] == lease) {
			return true
		}
	}
	return false
}

// until waits until the servers have heard of what the agent was told.
func (e *engine) until(service string, good func([]listed) bool) {
	e.t.Helper()
	poll(e.t, "news reach the servers", func() bool { return good(health(e.t, e.agent().Addr(), e.prefix+service)) })
}

func health(t testing.TB, addr, name string) (entries []listed) {
	t.Helper()
	if err := json.Unmarshal(call(t, addr, http.MethodGet, "/v1/health/service/"+name, nil), &entries); err != nil {
		t.Fatal(err)
	}
	return entries
}

func poll(t testing.TB, what string, good func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !good() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %v", what, limit)
		case <-tick.C:
		}
	}
}

const limit = 20 * time.Second

// call asks an agent, past all proxies and as any tool would.
func call(t testing.TB, addr, method, path string, body any) []byte {
	t.Helper()
	b, err := try(addr, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func try(addr, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader(string(b)))
	if err != nil {
		return nil, err
	}
	resp, err := tool.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	return b, err
}

var tool = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func TestRealConformance(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	registrytest.Run(t, registrytest.Config{
		New: func(t *testing.T) registrytest.Engine { return newEngine(t, server) },
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		TTL:         5 * time.Second,
		RelistEvery: 2 * time.Second,
		Within:      10 * time.Second,
	})
}
