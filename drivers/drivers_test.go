package drivers_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

// TestAll: a service whose setting names any engine starts, without that engine.
func TestAll(t *testing.T) {
	for _, url := range []string{"consul://127.0.0.1:1", "etcd://127.0.0.1:1", "static:orders=127.0.0.1:1"} {
		t.Setenv("HOLDFAST_REGISTRY", url)
		svc := holdfast.New("alpha", holdfast.Drivers(drivers.All()...))
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := svc.Run(ctx); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestAllQueues: a service that consumes starts, whatever engine its setting names.
func TestAllQueues(t *testing.T) {
	for _, url := range []string{"kafka://127.0.0.1:1", "amqp://127.0.0.1:1", "amqps://127.0.0.1:1", "nats://127.0.0.1:1", "memory"} {
		t.Setenv("HOLDFAST_QUEUE", url)
		svc := holdfast.New("alpha", holdfast.Drivers(drivers.All()...))
		svc.Consume("orders", "", queue.Handle(func(context.Context, queue.Message[int]) error { return nil }), queue.SubscriptionConfig{})
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := svc.Run(ctx); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestEveryQueueTakesWhatAnOutboxTakes: what an outbox has taken and an engine never does would hold up its key for ever.
func TestEveryQueueTakesWhatAnOutboxTakes(t *testing.T) {
	openers := map[string]driver.Opener{"nats://127.0.0.1:1": natsqueue.Opener{}} // in each program anyway
	for _, d := range drivers.All() {
		if o, ok := d.(driver.Opener); ok {
			openers[o.Scheme()+"://127.0.0.1:1"] = o
		}
	}
	if len(openers) < 4 {
		t.Fatalf("%d openers", len(openers))
	}
	engines := map[string]driver.Engine{"memory": memqueue.New(memqueue.Config{})}
	for url, o := range openers {
		e, err := o.OpenQueue(url, driver.OpenOptions{})
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		engines[url] = e
	}
	for name, e := range engines {
		if n := e.Capabilities().MaxMessage; n < sqlstore.DefaultMaxMessage {
			t.Errorf("%s takes %d bytes, an outbox %d", name, n, sqlstore.DefaultMaxMessage)
		}
		_ = e.Close()
	}
}

// TestUnusedIsNotLinked: what a program does not name it does not carry.
func TestUnusedIsNotLinked(t *testing.T) {
	for pkg, linked := range map[string]bool{"..": false, ".": true} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, engine := range []string{"/consulregistry", "/kafkaqueue", "/rabbitqueue"} {
			if got := strings.Contains(string(out), engine); got != linked {
				t.Errorf("%s depends on %s: %v", pkg, engine, got)
			}
		}
	}
}
