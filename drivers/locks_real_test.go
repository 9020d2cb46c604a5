//go:build real && linux

package drivers_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/internal/consultest"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
)

// TestRealLeaders: of two instances whose setting names a registry one leads; when it stops, the other does at once. Where
// locks are is not said: they are where the registry is.
func TestRealLeaders(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"consul": "consul://" + consultest.Start(t).Addr() + "?prefix=shop-",
		"etcd":   "etcd://" + etcdtest.Start(t).Addr() + "/shop",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leads := make(chan string, 10)
			stops := make(map[string]func())
			for _, id := range []string{"a", "b"} {
				svc := holdfast.New("orders", holdfast.Drivers(drivers.All()...), func(c *holdfast.Config) {
					c.Settings.Registry, c.Settings.Instance = url, id
					c.Lock.Settle = -1
					c.Logger = slog.New(slog.DiscardHandler)
				})
				svc.Lead("nightly", func(ctx context.Context) error {
					leads <- id
					<-ctx.Done()
					return ctx.Err()
				})
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- svc.Run(ctx) }()
				ended := false
				stops[id] = func() {
					cancel()
					if !ended {
						ended = true
						ok(t, <-done)
					}
				}
				t.Cleanup(stops[id])
			}
			next := func() string {
				t.Helper()
				select {
				case id := <-leads:
					return id
				case <-time.After(20 * time.Second):
					t.Fatal("nobody leads")
					return ""
				}
			}
			first := next()
			begun := time.Now()
			stops[first]()
			if second := next(); second == first || time.Since(begun) > 5*time.Second {
				t.Errorf("%s leads after %s, and after %v", second, first, time.Since(begun))
			}
		})
	}
}
