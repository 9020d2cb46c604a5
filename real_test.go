//go:build real

package holdfast_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config/etcdconfig"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/internal/stopwatch"
)

// By the environment alone, as a process gets it from the platform: two services on etcd, which dies and comes back
// empty while they run.
func TestRealEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	t.Setenv("HOLDFAST_REGISTRY", "etcd://"+etcd.Addr())
	t.Setenv("HOLDFAST_DATA_DIR", t.TempDir())
	t.Setenv("HOLDFAST_DRAIN_DELAY", "200ms")
	start := func(name string, n int) *instance {
		t.Setenv("HOLDFAST_INSTANCE", fmt.Sprintf("%s-%d", name, n))
		i := &instance{logs: &logs{}, done: make(chan struct{})}
		i.Service = holdfast.New(name, func(c *holdfast.Config) { c.Logger = slog.New(slog.NewTextHandler(i.logs, nil)) })
		return i.both(nil).run(t)
	}
	a, b := start("alpha", 1), start("beta", 1)
	if got := a.Settings().EtcdEndpoints; len(got) != 1 || got[0] != etcd.Addr() {
		t.Errorf("endpoints are %v", got)
	}
	both := func() {
		t.Helper()
		if got, err := callGRPC(t.Context(), b.Dial("alpha")); err != nil || !strings.HasPrefix(got, "alpha-") {
			t.Fatalf("gRPC: %q, %v", got, err)
		}
		if got, err := get(t.Context(), a.HTTPClient(), "http://beta/id"); err != nil || got != "beta-1" {
			t.Fatalf("HTTP: %q, %v", got, err)
		}
	}
	both()
	etcd.Stop()
	both()
	second := start("alpha", 2) // boots without its registry
	both()
	etcd.RestartEmpty()
	eventually(t, "the one that booted without etcd is found", func() bool {
		got, err := callGRPC(t.Context(), b.Dial("alpha"))
		if err != nil {
			t.Fatal(err)
		}
		return got == "alpha-2"
	})
	a.stop(t)
	eventually(t, "the other serves alone", func() bool {
		got, err := callGRPC(t.Context(), b.Dial("alpha"))
		if err != nil {
			t.Fatal(err)
		}
		return got == "alpha-2"
	})
	second.stop(t)
	b.stop(t)
}

// A policy that is put into etcd is in force in running processes within a second, a wrong one is refused, and neither a
// dead etcd nor an empty one takes it away.
func TestRealPolicies(t *testing.T) {
	etcd := etcdtest.Start(t)
	t.Setenv("HOLDFAST_REGISTRY", "etcd://"+etcd.Addr()+"/shop")
	t.Setenv("HOLDFAST_DATA_DIR", t.TempDir())
	t.Setenv("HOLDFAST_DRAIN_DELAY", "50ms")
	var running []*instance
	for _, id := range []string{"alpha-1", "alpha-2", "beta-1"} {
		name, _, _ := strings.Cut(id, "-")
		t.Setenv("HOLDFAST_INSTANCE", id)
		i := &instance{logs: &logs{}, done: make(chan struct{})}
		i.Service = holdfast.New(name, func(c *holdfast.Config) { c.Logger = slog.New(slog.NewTextHandler(i.logs, nil)) })
		running = append(running, i.both(nil).run(t))
	}
	d, err := etcdconfig.Open(etcdconfig.Config{Endpoints: []string{etcd.Addr()}, Prefix: "shop-config"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	everywhere := func(want time.Duration) func() bool {
		return func() bool {
			return !slices.ContainsFunc(running, func(i *instance) bool { return timeoutOf(i.Service, "beta") != want })
		}
	}
	now := stopwatch.Start(t)
	for n := range 5 {
		timeout := time.Duration(n+1) * time.Second
		if _, err := d.Put(t.Context(), "policies/beta", []byte("calls: {timeout: "+timeout.String()+"}")); err != nil {
			t.Fatal(err)
		}
		begun := now()
		eventually(t, "in force in all processes", everywhere(timeout))
		if took := now() - begun; took > time.Second {
			t.Errorf("change %d was in force after %v, want within 1 s", n, took)
		} else {
			t.Logf("change %d was in force in all after %v", n, took.Round(time.Millisecond))
		}
	}
	if _, err := d.Put(t.Context(), "policies/beta", []byte("calls: {timeout: 7}")); err != nil {
		t.Fatal(err)
	}
	for _, i := range running {
		eventually(t, "the refusal in the log", func() bool { return strings.Contains(i.logs.String(), "write the unit") })
	}
	etcd.Stop()
	for _, i := range running {
		eventually(t, "the log of the outage", func() bool { return strings.Contains(i.logs.String(), "settings: the engine does not answer") })
	}
	etcd.RestartEmpty()
	for _, i := range running {
		eventually(t, "the log of the wipe", func() bool { return strings.Contains(i.logs.String(), "stays in force until that is sure") })
	}
	if !everywhere(5 * time.Second)() {
		t.Error("an empty etcd took the policy away")
	}
	if _, err := d.Put(t.Context(), "policies/beta", []byte("calls: {timeout: 9s}")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a change after all that", everywhere(9*time.Second))
	if _, err := d.Delete(t.Context(), "policies/beta"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its removal", everywhere(0))
	for _, i := range running {
		i.stop(t)
	}
}
