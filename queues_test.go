package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// TestMessages: what one service publishes the others handle, each as its own group, on one of its instances.
func TestMessages(t *testing.T) {
	t.Parallel()
	registry, engine := memregistry.New(), memqueue.New(memqueue.Config{})
	t.Cleanup(func() { _ = engine.Close() })
	on := func(c *holdfast.Config) { c.Messages = engine.Connect() }
	var mu sync.Mutex
	handled := make(map[string]int)
	for _, id := range []string{"shipping-1", "shipping-2", "mail-1"} {
		name, _, _ := strings.Cut(id, "-")
		i := newInstance(t, registry, name, id, on)
		i.Consume("orders.paid", "", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			mu.Lock()
			defer mu.Unlock()
			if m.Source != "orders" || m.Group != name {
				t.Errorf("%s has %+v", id, m)
			}
			handled[fmt.Sprintf("%s %d", name, m.Value)]++
			return nil
		}), queue.SubscriptionConfig{})
		i.run(t)
	}
	orders := newInstance(t, registry, "orders", "orders-1", on).run(t)
	topic, err := queue.NewTopic[int](orders.Queue(), "orders.paid", queue.Groups("shipping", "mail"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		if err := topic.Publish(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := orders.Publish(t.Context(), "orders.paid", 50); err != nil {
		t.Fatal(err)
	}
	eventually(t, "everything is handled", func() bool { mu.Lock(); defer mu.Unlock(); return len(handled) == 102 })
	for what, n := range handled {
		if n != 1 {
			t.Errorf("%s was handled %d times", what, n)
		}
	}
}

// TestMessagesDrain: an instance that drains receives nothing more, and what it has begun it finishes while it still serves.
func TestMessagesDrain(t *testing.T) {
	t.Parallel()
	engine := memqueue.New(memqueue.Config{})
	t.Cleanup(func() { _ = engine.Close() })
	begun, finish, finished := make(chan struct{}), make(chan struct{}), make(chan struct{})
	i := newInstance(t, memregistry.New(), "orders", "orders-1", func(c *holdfast.Config) { c.Messages = engine.Connect() }).both(nil)
	i.Consume("t", "", queue.Handle(func(context.Context, queue.Message[int]) error {
		close(begun)
		<-finish
		if refusing(i.http) {
			t.Error("a server has stopped while a message was handled")
		}
		close(finished)
		return nil
	}), queue.SubscriptionConfig{Concurrency: 1, Window: 1})
	i.run(t)
	for n := range 3 {
		if err := i.Publish(t.Context(), "t", n); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	i.cancel()
	select {
	case <-i.done:
		t.Fatal("it has stopped while a message was handled")
	case <-time.After(400 * time.Millisecond): // longer than the delay of the drain
	}
	close(finish)
	<-finished
	i.stop(t)
	lag, err := queue.New(engine, queue.Config{}).Lag(t.Context(), "t", "orders")
	if err != nil || lag.Waiting != 2 || lag.Unsettled != 0 {
		t.Errorf("left are %+v, %v", lag, err)
	}
}

// TestMessagesInProcess: without a setting there is an engine in this process, and for what runs with no listener, too.
func TestMessagesInProcess(t *testing.T) {
	t.Parallel()
	var got atomic.Int64
	i := newInstance(t, memregistry.New(), "orders", "orders-1", nil)
	i.Consume("t", "own", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
		got.Add(int64(m.Value))
		return nil
	}), queue.SubscriptionConfig{})
	i.Go("publish", func(ctx context.Context) error { return i.Publish(ctx, "t", 7) })
	i.run(t)
	eventually(t, "it is handled", func() bool { return got.Load() == 7 })
}

// TestMessagesThatWouldStayInTheProcessAreRefused: where there are others to have them, "nil" would be the word of a loss.
func TestMessagesThatWouldStayInTheProcessAreRefused(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, change := range map[string]func(*holdfast.Config){
		"etcd":   func(c *holdfast.Config) { c.Settings.Registry = "etcd://127.0.0.1:1" },
		"static": func(c *holdfast.Config) { c.Settings.Registry = "static:mail=127.0.0.1:1" },
		"code":   func(c *holdfast.Config) { c.Registry = struct{ driver.Registry }{memregistry.New()} },
	} {
		i := newInstance(t, nil, "orders", "orders-1", change)
		if err := i.Publish(t.Context(), "t", 1); failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("%s: publish: %v", name, err)
		}
		var wrong *holdfast.SettingsError
		if err := i.Run(ended); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "HOLDFAST_QUEUE: is not set") {
			t.Errorf("%s: run: %v", name, err)
		}
		said := newInstance(t, nil, "orders", "orders-1", func(c *holdfast.Config) {
			change(c)
			c.Settings.Queue = "memory"
		})
		if err := said.Publish(t.Context(), "t", 1); err != nil {
			t.Errorf("%s, and memory: publish: %v", name, err)
		}
		said.Close()
	}
}

// TestMessagesWithoutEngine: a service whose engine is dead serves, is ready, publishes in vain with a clear error, and stops.
func TestMessagesWithoutEngine(t *testing.T) {
	t.Parallel()
	i := newInstance(t, memregistry.New(), "orders", "orders-1", func(c *holdfast.Config) {
		c.Settings.Queue = "nats://127.0.0.1:1"
	}).both(nil)
	i.Consume("t", "", queue.Handle(func(context.Context, queue.Message[int]) error { return nil }), queue.SubscriptionConfig{})
	i.run(t)
	eventually(t, "it serves", func() bool { return !refusing(i.http) })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := i.Publish(ctx, "t", 1)
	if code := failure.CodeOf(err); code != failure.Unavailable && code != failure.DeadlineExceeded {
		t.Errorf("publish: %v", err)
	}
	begun := time.Now()
	i.stop(t)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

// TestMessagesAreRefused: what is wrong is told by Run, all at once, and by each call.
func TestMessagesAreRefused(t *testing.T) {
	t.Parallel()
	i := newInstance(t, memregistry.New(), "orders", "orders-1", func(c *holdfast.Config) { c.Settings.Queue = "kafka://me:secret@10.0.0.1:9092" })
	h := queue.Handle(func(context.Context, queue.Message[int]) error { return nil })
	i.Consume("t", "a b", h, queue.SubscriptionConfig{})
	i.Consume("t", "g", h, queue.SubscriptionConfig{Concurrency: -1})
	err := i.Publish(t.Context(), "t", 1)
	if failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("publish: %v", err)
	}
	err = errors.Join(err, i.Run(t.Context()))
	for _, want := range []string{"HOLDFAST_QUEUE", "queue/kafkaqueue", "drivers.All()", "Concurrency", `"a b"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("a secret is in %v", err)
	}
	late := newInstance(t, memregistry.New(), "orders", "orders-2", nil)
	late.run(t)
	eventually(t, "it runs", func() bool { return strings.Contains(late.logs.String(), "without a listener") })
	late.Consume("t", "", h, queue.SubscriptionConfig{})
	if !strings.Contains(late.logs.String(), "subscribed too late") {
		t.Error("nobody was told that it was too late")
	}
}
