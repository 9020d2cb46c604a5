//go:build real && linux

package drivers_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config/consulconfig"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/internal/consultest"
)

// TestRealPolicyThroughConsul: a policy that is put into Consul is in force in a running service within a second, a wrong
// one changes nothing, and one that is removed is not in force any more.
func TestRealPolicyThroughConsul(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	svc := holdfast.New("front", holdfast.Drivers(drivers.All()...), func(c *holdfast.Config) {
		c.Settings.Registry = "consul://" + agent.Addr()
		c.Settings.DrainDelay = 0
		c.Logger = slog.New(slog.DiscardHandler)
	})
	svc.Go("run", func(ctx context.Context) error { <-ctx.Done(); return nil })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	store, err := consulconfig.Open(consulconfig.Config{Agents: []string{agent.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	inForce := func() time.Duration {
		if p, _ := svc.Policies().Service("hello"); p != nil {
			return p.Calls.Policy.Timeout
		}
		return 0
	}
	within := func(what string, want, limit time.Duration) {
		t.Helper()
		begun := time.Now()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for inForce() != want {
			if <-tick.C; time.Since(begun) > 10*time.Second {
				t.Fatalf("%s: %v is in force, want %v", what, inForce(), want)
			}
		}
		if took := time.Since(begun); took > limit {
			t.Errorf("%s took %v", what, took)
		} else {
			t.Logf("%s took %v", what, took.Round(time.Millisecond))
		}
	}
	put := func(document string) {
		t.Helper()
		if _, err := store.Put(t.Context(), "policies/hello", []byte(document)); err != nil {
			t.Fatal(err)
		}
	}
	put("calls: {timeout: 1s}")
	within("the first, with the service just starting", time.Second, 10*time.Second)
	for n := range 3 {
		timeout := time.Duration(n+2) * time.Second
		put("calls: {timeout: " + timeout.String() + "}")
		within("a change", timeout, time.Second)
	}
	put("calls: {timeout: soon}")
	put("calls: {timeout: 7s}")
	within("a change after a wrong one", 7*time.Second, time.Second)
	if _, err := store.Delete(t.Context(), "policies/hello"); err != nil {
		t.Fatal(err)
	}
	within("the removal", 0, time.Second)
}
