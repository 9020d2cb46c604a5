package drivers_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	configdriver "github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/drivers"
	lockdriver "github.com/holdfast-go/holdfast/lock/driver"
	queuedriver "github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
	registrydriver "github.com/holdfast-go/holdfast/registry/driver"
)

// TestEveryEngineConnectsByWhatItIsGiven: what does not would be out of the reach of drills.
func TestEveryEngineConnectsByWhatItIsGiven(t *testing.T) {
	kinds := make(map[string]int)
	for _, d := range append(drivers.All(), natsqueue.Opener{}) {
		dialled := make(chan string, 100)
		dial := func(_ context.Context, network, address string) (net.Conn, error) {
			select {
			case dialled <- network + " " + address:
			default:
			}
			return nil, errors.New("no network")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		url := d.Scheme() + "://127.0.0.1:1"
		kind := ""
		var use func() error // until it has dialled
		var err error
		switch o := d.(type) {
		case registrydriver.Opener:
			kind = "registry"
			var e registrydriver.Registry
			if e, err = o.OpenRegistry(url, registrydriver.OpenOptions{Dial: dial}); err == nil {
				defer e.Close()
				use = func() error { _, err := e.List(ctx, "orders"); return err }
			}
		case configdriver.Opener:
			kind = "config"
			var e configdriver.Store
			if e, err = o.OpenStore(url, configdriver.OpenOptions{Dial: dial}); err == nil {
				defer e.Close()
				use = func() error { _, err := e.List(ctx, "x"); return err }
			}
		case lockdriver.Opener:
			kind = "lock"
			var e lockdriver.Engine
			if e, err = o.OpenLocks(url, lockdriver.OpenOptions{Dial: dial}); err == nil {
				defer e.Close()
				use = func() error { _, _, err := e.Holder(ctx, "x"); return err }
			}
		case queuedriver.Opener:
			kind = "queue"
			var e queuedriver.Engine
			if e, err = o.OpenQueue(url, queuedriver.OpenOptions{Dial: dial}); err == nil {
				defer e.Close()
				use = func() error { _, err := e.Groups(ctx); return err }
			}
		default:
			t.Fatalf("%T is an opener of nothing known", d)
		}
		if err != nil {
			t.Fatalf("%s of %s: %v", kind, url, err)
		}
		kinds[kind]++
		done := make(chan error, 1)
		go func() { done <- use() }()
		select {
		case got := <-dialled:
			if got != "tcp 127.0.0.1:1" {
				t.Errorf("%s of %s: dialled %q", kind, url, got)
			}
		case <-ctx.Done():
			t.Errorf("%s of %s: not dialled", kind, url)
		}
		cancel()
		if err := <-done; err == nil {
			t.Errorf("%s of %s: an answer without a network", kind, url)
		}
	}
	for _, kind := range []string{"registry", "config", "lock", "queue"} {
		if kinds[kind] == 0 {
			t.Errorf("no engine of kind %s", kind)
		}
	}
}
