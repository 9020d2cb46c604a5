//go:build real

package holdfast_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
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
