package kafkaqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/queuetest"
)

// engine is a broker, fake or real.
type engine interface {
	Open(t testing.TB) (driver.Engine, queuetest.Link)
}

// client is one of the engine, and its way to it.
type client struct {
	driver.Engine
	queuetest.Link
	t testing.TB
}

func open(t testing.TB, e engine) *client {
	t.Helper()
	d, link := e.Open(t)
	t.Cleanup(func() {
		link.Thaw()
		link.Restore()
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &client{d, link, t}
}

func (c *client) declare(topic string, groups ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Declare(ctx, driver.Topic{Name: topic, Groups: groups, Replicas: 1, Partitions: 6}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) subscribe(topic, instance string, window int) driver.Receiver {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := c.Subscribe(ctx, driver.Subscription{Topic: topic, Group: "g", Instance: instance, Ordered: true, Window: window, Hold: 5 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = r.Close() })
	return r
}

// nothingWaits says so of group g of topic t.
func (c *client) nothingWaits() {
	c.t.Helper()
	if lag, err := c.Lag(context.Background(), "t", "g"); err != nil || lag.Waiting != 0 || lag.Unsettled != 0 {
		c.t.Errorf("lag %+v, %v", lag, err)
	}
}

// publish tries until it is confirmed.
func (c *client) publish(topic string, ms ...*driver.Message) {
	c.t.Helper()
	for begun := time.Now(); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := errors.Join(c.Publish(ctx, topic, ms)...)
		cancel()
		if err == nil {
			return
		}
		if time.Since(begun) > time.Minute {
			c.t.Fatal(err)
		}
		pause(100 * time.Millisecond)
	}
}

// again declares until it is done: a broker that was wiped a moment ago may say no.
func (c *client) again(topic string) {
	c.t.Helper()
	for begun := time.Now(); ; pause(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := c.Declare(ctx, driver.Topic{Name: topic, Groups: []string{"g"}, Replicas: 1, Partitions: 6})
		cancel()
		if err == nil {
			return
		}
		if time.Since(begun) > time.Minute {
			c.t.Fatal(err)
		}
	}
}

// message is number n of a key.
func message(key string, n int) *driver.Message {
	return &driver.Message{ID: fmt.Sprintf("%s/%d", key, n), Source: "test", Type: "t", Key: key, Time: time.Now(), Data: fmt.Append(nil, n)}
}

// receive returns n deliveries, or those that came in time.
func receive(t testing.TB, r driver.Receiver, n int, within time.Duration) []*driver.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var out []*driver.Delivery
	for len(out) < n && ctx.Err() == nil {
		ds, err := r.Receive(ctx, n-len(out))
		if err != nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		out = append(out, ds...)
	}
	return out
}

// ledger is what was handled, by key.
type ledger struct {
	mu    sync.Mutex
	first map[string][]string // IDs by key, in the order of their first time
	times map[string]int
}

func (l *ledger) add(m *driver.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first, l.times = make(map[string][]string), make(map[string]int)
	}
	if l.times[m.ID]++; l.times[m.ID] == 1 {
		l.first[m.Key] = append(l.first[m.Key], m.ID)
	}
}

func (l *ledger) distinct() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

// check reports what is missing or out of order of n messages for each of some keys, and returns how many came again.
func (l *ledger) check(t testing.TB, keys, n int) (again int) {
	t.Helper()
	for k := range keys {
		key := fmt.Sprintf("k%d", k)
		var want []string
		for i := range n {
			want = append(want, message(key, i).ID)
		}
		if got := l.first[key]; !slices.Equal(got, want) {
			t.Errorf("key %s: %d of %d, or out of order: %.300v", key, len(got), len(want), got)
		}
	}
	for _, n := range l.times {
		again += n - 1
	}
	return again
}

// handle receives and acks until ctx ends, one message of a key after the other as package queue does.
func handle(ctx context.Context, r driver.Receiver, l *ledger) {
	for ctx.Err() == nil {
		ds, err := r.Receive(ctx, 10)
		if errors.Is(err, driver.ErrStopped) {
			return
		}
		if err != nil && ctx.Err() == nil {
			pause(50 * time.Millisecond) // as the caller does
		}
		for _, d := range ds {
			select {
			case <-d.Revoked:
				_ = r.Return(ctx, d, 0)
				continue
			default:
			}
			l.add(d.Message)
			_ = r.Ack(ctx, []*driver.Delivery{d})
		}
	}
}

// pause is the time between attempts, and between events of a schedule.
func pause(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // mostly virtual time
