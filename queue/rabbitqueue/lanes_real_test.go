//go:build real && unix

package rabbitqueue_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/rabbittest"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// order collects what instances of an ordered group receive.
type order struct {
	mu    sync.Mutex
	last  map[string]int // by key: the last number handled
	by    map[string]map[string]bool
	wrong []string
	twice int
}

func (o *order) take(instance string, m *driver.Message) {
	n, _ := strconv.Atoi(string(m.Data))
	o.mu.Lock()
	defer o.mu.Unlock()
	switch last := o.last[m.Key]; {
	case n == last+1:
		o.last[m.Key] = n
	case n <= last:
		o.twice++
	default:
		o.wrong = append(o.wrong, fmt.Sprintf("%s: %d after %d", m.Key, n, last))
	}
	if o.by[instance] == nil {
		o.by[instance] = make(map[string]bool)
	}
	o.by[instance][m.Key] = true
}

// instance receives until ctx ends, one message of a key at a time, as package queue does.
func (o *order) instance(ctx context.Context, name string, r driver.Receiver) {
	for ctx.Err() == nil {
		ds, _ := r.Receive(ctx, 16)
		for _, d := range ds {
			select {
			case <-d.Revoked:
				_ = r.Return(ctx, d, 0)
				continue
			default:
			}
			o.take(name, d.Message)
			_ = r.Ack(ctx, []*driver.Delivery{d})
		}
	}
}

// TestRealLanes: what was published before a group was subscribed to in order comes first; instances that come share the
// lanes within seconds; the lanes of one that dies go on at the others. All of that without a message out of order.
func TestRealLanes(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	p := open(t, b.Addr())
	declare(t, p, "t", "g")
	const keys = 40
	n := 0
	send := func(rounds int) {
		t.Helper()
		for range rounds {
			n++
			var ms []*driver.Message
			for k := range keys {
				ms = append(ms, message(strconv.Itoa(n), "key-"+strconv.Itoa(k)))
			}
			if err := publish(within(t, 20*time.Second), p, "t", ms...); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(20)
	o := &order{last: make(map[string]int), by: make(map[string]map[string]bool)}
	var running sync.WaitGroup
	proxies := make(map[string]func())
	start := func(name string) {
		link := b.Proxy(t)
		e := open(t, link.Addr())
		r := subscribe(t, e, driver.Subscription{Topic: "t", Group: "g", Instance: name, Ordered: true, Window: 64})
		ctx, cancel := context.WithCancel(t.Context())
		running.Go(func() { o.instance(ctx, name, r) })
		proxies[name] = func() { cancel(); link.Cut() }
	}
	caughtUp := func(what string) {
		t.Helper()
		until(t, what, 40*time.Second, func(context.Context) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			for k := range keys {
				if last := o.last["key-"+strconv.Itoa(k)]; last != n {
					return fmt.Errorf("key %d is at %d of %d; wrong: %v", k, last, n, o.wrong)
				}
			}
			return nil
		})
	}
	start("one")
	send(20)
	caughtUp("one instance")
	start("two")
	start("three")
	until(t, "all three have lanes", 60*time.Second, func(context.Context) error {
		o.mu.Lock()
		o.by = make(map[string]map[string]bool)
		o.mu.Unlock()
		send(5)
		caughtUp("three instances")
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.by) != 3 {
			return fmt.Errorf("%d of them have", len(o.by))
		}
		return nil
	})
	proxies["one"]()
	send(20)
	caughtUp("one is gone")
	for _, stop := range proxies {
		stop()
	}
	running.Wait()
	if len(o.wrong) > 0 {
		t.Errorf("out of order: %v", o.wrong)
	}
	t.Logf("%d came twice", o.twice)
}

// TestRealLanesFromTheStart: publishers that declare a group just when instances subscribe to it in order leave one way to
// each message: to its lane, not to the old queue as well.
func TestRealLanesFromTheStart(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	const topics, each = 6, 3
	var all sync.WaitGroup
	for range each {
		p, c := open(t, b.Addr()), open(t, b.Addr())
		for i := range topics {
			topic := "t" + strconv.Itoa(i)
			all.Go(func() {
				until(t, "declare", time.Minute, func(ctx context.Context) error {
					return p.Declare(ctx, driver.Topic{Name: topic, Groups: []string{"g"}})
				})
			})
			all.Go(func() {
				until(t, "subscribe", time.Minute, func(ctx context.Context) error {
					r, err := c.Subscribe(ctx, driver.Subscription{Topic: topic, Group: "g", Ordered: true, Window: 16})
					if err == nil {
						t.Cleanup(func() { r.Close() })
					}
					return err
				})
			})
		}
	}
	all.Wait()
	out, err := b.Ctl(t.Context(), "list_bindings", "--quiet", "source_name", "destination_name")
	if err != nil {
		t.Fatal(err)
	}
	lanes := 0
	for _, line := range lines(out) {
		source, queue, _ := strings.Cut(line, "\t")
		switch {
		case source == "" || source == "source_name":
		case strings.Contains(queue, ":lane-"):
			lanes++
		default:
			t.Errorf("bound: %s to %s", source, queue)
		}
	}
	if want := topics * 8 * 2; lanes != want {
		t.Errorf("%d bindings of lanes, want %d", lanes, want)
	}
}

// TestRealReplicas: what a topic says of them holds for all queues of an ordered group, and for those of what waits. Queues that are there
// already stay as they are, and nothing is refused for that.
func TestRealReplicas(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	raw(t, b, func(ch *amqp.Channel) { // as those of a version that did not say it
		for name, more := range map[string]amqp.Table{
			"lane-0": {"x-single-active-consumer": true},
			"delay-100": {
				amqp.QueueMessageTTLArg: int64(100), "x-dead-letter-exchange": "holdfast:old:g", "x-dead-letter-strategy": "at-least-once",
				amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish,
			},
		} {
			more[amqp.QueueTypeArg], more["x-delivery-limit"] = amqp.QueueTypeQuorum, int64(1<<30)
			if _, err := ch.QueueDeclare("holdfast:old:g:"+name, true, false, false, false, more); err != nil {
				t.Fatal(err)
			}
		}
	})
	e := open(t, b.Addr())
	for _, topic := range []string{"new", "old"} {
		if err := e.Declare(within(t, time.Minute), driver.Topic{Name: topic, Groups: []string{"g"}, Replicas: 5}); err != nil {
			t.Fatal(err)
		}
		r := subscribe(t, e, driver.Subscription{Topic: topic, Group: "g", Ordered: true})
		if err := publish(within(t, 20*time.Second), e, topic, message("1", "key")); err != nil {
			t.Fatal(err)
		}
		for _, after := range []time.Duration{100 * time.Millisecond, 250 * time.Millisecond, 0} {
			ds, err := r.Receive(within(t, 20*time.Second), 1)
			if err != nil {
				t.Fatal(err)
			}
			if after == 0 {
				err = r.Ack(within(t, 20*time.Second), ds)
			} else {
				err = r.Return(within(t, 20*time.Second), ds[0], after)
			}
			if err != nil {
				t.Errorf("%s: %v", topic, err)
			}
		}
	}
	out, err := b.Ctl(t.Context(), "list_queues", "--quiet", "name", "arguments")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	for _, line := range lines(out) {
		if name, arguments, _ := strings.Cut(line, "\t"); strings.Contains(arguments, "quorum") {
			said[name] = strings.Contains(arguments, `{"x-quorum-initial-group-size",5}`)
		}
	}
	kinds := []string{":dead", ":delay-100", ":delay-250"}
	for i := range 8 {
		kinds = append(kinds, ":lane-"+strconv.Itoa(i))
	}
	for _, kind := range kinds {
		if !said["holdfast:new:g"+kind] {
			t.Errorf("%s has not the replicas that its topic says: %s", kind, out)
		}
		was := kind == ":lane-0" || kind == ":delay-100"
		if said["holdfast:old:g"+kind] == was {
			t.Errorf("%s was there: %v, and has the replicas: %v", kind, was, !was)
		}
	}
}
