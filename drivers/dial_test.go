package drivers_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config/consulconfig"
	configdriver "github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/lock/consullock"
	lockdriver "github.com/holdfast-go/holdfast/lock/driver"
	queuedriver "github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
	"github.com/holdfast-go/holdfast/queue/rabbitqueue"
	"github.com/holdfast-go/holdfast/registry/consulregistry"
	registrydriver "github.com/holdfast-go/holdfast/registry/driver"
)

// TestEveryEngineConnectsByWhatItIsGiven: what does not would be out of the reach of drills. What the program has given to the
// Opener remains in use below.
func TestEveryEngineConnectsByWhatItIsGiven(t *testing.T) {
	kinds := make(map[string]int)
	for _, d := range append(drivers.All(), natsqueue.Opener{}) {
		dialled := make(chan string, 100)
		own := func(_ context.Context, network, address string) (net.Conn, error) {
			select {
			case dialled <- network + " " + address:
			default:
			}
			return nil, errors.New("no network")
		}
		var wrapped atomic.Bool
		wrap := func(next fault.DialFunc) fault.DialFunc {
			return func(ctx context.Context, network, address string) (net.Conn, error) {
				wrapped.Store(true)
				return next(ctx, network, address)
			}
		}
		d := by(t, d, own)
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
			if e, err = o.OpenRegistry(url, registrydriver.OpenOptions{WrapDial: wrap}); err == nil {
				defer e.Close()
				use = func() error { _, err := e.List(ctx, "orders"); return err }
			}
		case configdriver.Opener:
			kind = "config"
			var e configdriver.Store
			if e, err = o.OpenStore(url, configdriver.OpenOptions{WrapDial: wrap}); err == nil {
				defer e.Close()
				use = func() error { _, err := e.List(ctx, "x"); return err }
			}
		case lockdriver.Opener:
			kind = "lock"
			var e lockdriver.Engine
			if e, err = o.OpenLocks(url, lockdriver.OpenOptions{WrapDial: wrap}); err == nil {
				defer e.Close()
				use = func() error { _, _, err := e.Holder(ctx, "x"); return err }
			}
		case queuedriver.Opener:
			kind = "queue"
			var e queuedriver.Engine
			if e, err = o.OpenQueue(url, queuedriver.OpenOptions{WrapDial: wrap}); err == nil {
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
		if !wrapped.Load() {
			t.Errorf("%s of %s: dialled past what drills reach", kind, url)
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

// by is an Opener of the same engine that connects by dial.
func by(t *testing.T, d holdfast.Driver, dial fault.DialFunc) holdfast.Driver {
	t.Helper()
	switch o := d.(type) {
	case consulregistry.Opener:
		o.Config.Dial = dial
		return o
	case consulconfig.Opener:
		o.Config.Dial = dial
		return o
	case consullock.Opener:
		o.Config.Dial = dial
		return o
	case kafkaqueue.Opener:
		o.Config.Dial = dial
		return o
	case rabbitqueue.Opener:
		o.Config.Dial = dial
		return o
	case natsqueue.Opener:
		o.Config.Dial = dial
		return o
	}
	t.Fatalf("%T is unknown here", d)
	return nil
}
