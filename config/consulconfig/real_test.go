//go:build real

package consulconfig_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/config/configtest"
	"github.com/holdfast-go/holdfast/config/consulconfig"
	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/consultest"
	"github.com/holdfast-go/holdfast/internal/proxytest"
)

// engine is a shared Consul agent seen through a proxy of its own: the faults of one case are not those of another.
type engine struct {
	*proxytest.Proxy
	t *testing.T

	mu     sync.Mutex
	server *consultest.Server
}

func newEngine(t *testing.T, server *consultest.Server) *engine {
	e := &engine{t: t, server: server}
	e.Proxy = proxytest.New(t, func() string {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.server.Addr()
	})
	return e
}

func (e *engine) Open(t testing.TB) driver.Store {
	t.Helper()
	d, err := consulconfig.Open(consulconfig.Config{Agents: []string{e.Addr()}, Prefix: e.t.Name()})
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

func TestRealConformance(t *testing.T) {
	server := consultest.Start(t)
	configtest.Run(t, configtest.Config{
		New: func(t *testing.T) configtest.Engine { return newEngine(t, server) },
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		RelistEvery: time.Second,
		Within:      15 * time.Second,
	})
}

// TestRealToken: with Consul's ACLs on, settings that may not be read are an error, never none.
func TestRealToken(t *testing.T) {
	t.Parallel()
	const root = "11111111-2222-3333-4444-555555555555"
	server := consultest.StartLocked(t, root)
	for token, ok := range map[string]bool{root: true, "": false, "66666666-2222-3333-4444-555555555555": false} {
		d, err := consulconfig.Open(consulconfig.Config{Agents: []string{server.Addr()}, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		_, putErr := d.Put(t.Context(), "policies/orders", []byte("x"))
		l, listErr := d.List(t.Context(), "policies/")
		found, deleteErr := d.Delete(t.Context(), "policies/none")
		for what, err := range map[string]error{"put": putErr, "list": listErr, "delete": deleteErr} {
			if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "66666666") {
				t.Errorf("token %.8s: %s: %v", token, what, err)
			}
		}
		if ok && (len(l.Entries) != 1 || found) {
			t.Errorf("listed %+v, found what is not there: %v", l, found)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRealLateWrites: what was given up, and comes to Consul after what was put or deleted since, changes nothing any more.
func TestRealLateWrites(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	target := &url.URL{Scheme: "http", Host: server.Addr()}
	var holds atomic.Bool
	late := make(chan func() error, 1)
	proxy := httputil.NewSingleHostReverseProxy(target)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || bytes.Contains(body, []byte(`"get"`)) || !holds.CompareAndSwap(true, false) {
			r.Body = io.NopCloser(bytes.NewReader(body))
			proxy.ServeHTTP(w, r)
			return
		}
		again := target.ResolveReference(&url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}).String()
		late <- func() error {
			req, err := http.NewRequestWithContext(t.Context(), r.Method, again, bytes.NewReader(body))
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if resp.StatusCode != http.StatusConflict {
				err = fmt.Errorf("answered %s", resp.Status)
			}
			return errors.Join(err, resp.Body.Close())
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer agent.Close()
	defer http.DefaultClient.CloseIdleConnections()
	d, err := consulconfig.Open(consulconfig.Config{Agents: []string{agent.Listener.Addr().String()}, Prefix: "late"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	configtest.LateWrites(t, d, func() { holds.Store(true) }, func() error { return (<-late)() })
}
