//go:build real

package consulregistry_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/consulagent"
	"github.com/holdfast-go/holdfast/internal/consultest"
	"github.com/holdfast-go/holdfast/registry"
)

// cli runs Consul's own command line.
func cli(t *testing.T, agent string, args ...string) string {
	t.Helper()
	program, err := consulagent.Program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+agent)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("consul %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestRealForeignService: a service that Consul's own command line registers, from a file as its documentation has it,
// with a check of the agent's, is discovered, followed, and gone when its check says so.
func TestRealForeignService(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	w := newRegistry(t, time.Hour, server.Addr()).Watch("web")
	defer w.Stop()
	follow(t, w, "nobody", nil, live())
	file := filepath.Join(t.TempDir(), "web.json")
	definition := `{"service": {"id": "web1", "name": "web", "address": "10.0.0.5", "port": 80, "tags": ["http"], "meta": {"zone": "z"},
		"weights": {"passing": 4, "warning": 1}, "check": {"id": "up", "ttl": "1h", "status": "passing"}}}`
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, server.Addr(), "services", "register", file)
	s := follow(t, w, "the service", nil, live("node/web1"))
	if i := s.Instances[0]; i.Endpoints["http"] != "10.0.0.5:80" || len(i.Endpoints) != 1 || i.Zone != "z" || i.Weight != 4 {
		t.Errorf("instance = %+v", i)
	}
	call(t, server.Addr(), http.MethodPut, "/v1/agent/check/warn/up", nil)
	follow(t, w, "a warning", nil, func(s registry.Set) bool { return len(s.Instances) == 1 && s.Instances[0].Weight == 1 })
	cli(t, server.Addr(), "maint", "-enable", "-service=web1")
	follow(t, w, "maintenance", nil, func(s registry.Set) bool { return len(s.Instances) == 1 && s.Instances[0].Draining })
	call(t, server.Addr(), http.MethodPut, "/v1/agent/check/fail/up", nil)
	follow(t, w, "its check failed", nil, live())
}

// TestRealOrdinaryService: to Consul's own command line an instance of ours is a service like any other, its end too.
func TestRealOrdinaryService(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	a, stop := announce(t, newRegistry(t, time.Hour, server.Addr()), instance("1"))
	if got := cli(t, server.Addr(), "catalog", "services", "-tags"); !slices.Contains(strings.Fields(got), "grpc,http") {
		t.Errorf("services:\n%s", got)
	}
	entries := health(t, server.Addr(), "orders?passing")
	if len(entries) != 1 || entries[0].Service.Address != "10.0.0.1" || entries[0].Service.Port != 1 || entries[0].Service.Meta["zone"] != "here" {
		t.Errorf("health: %+v", entries)
	}
	if err := a.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(health(t, server.Addr(), "orders?passing")); n != 0 {
		t.Error("other tools still send work to an instance that drains")
	}
	if got := cli(t, server.Addr(), "maint"); !strings.Contains(got, "orders:1") || !strings.Contains(got, "draining") {
		t.Errorf("maintenance:\n%s", got)
	}
	stop()
	if n := len(health(t, server.Addr(), "orders")); n != 0 {
		t.Error("it is still registered")
	}
}

// TestRealOddNames: an ID with every kind of character is found, kept and removed.
func TestRealOddNames(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	r := newRegistry(t, time.Hour, server.Addr())
	w := r.Watch("orders")
	defer w.Stop()
	const odd = `a b?c=d&e%2F#"quoted" \back 'single' ` + "`tick` é世 ..:"
	_, stop := announce(t, r, instance(odd))
	follow(t, w, "it", nil, live(odd))
	still(t, w, "while it is renewed", odd)
	stop()
	follow(t, w, "nobody", nil, live())
}
