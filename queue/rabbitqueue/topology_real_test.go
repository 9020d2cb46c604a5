//go:build real && unix

package rabbitqueue

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/rabbittest"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestRealMadeByTwo: several who make a queue at the same time, and know different things of its topic, have it all of them.
func TestRealMadeByTwo(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e, err := Open(Config{Endpoints: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 20 {
		const makers = 4
		made := make(chan error, makers)
		for replicas := range makers {
			go func() {
				made <- e.ask(ctx, func(_ context.Context, a *asker) error {
					_, err := a.quorum("q"+strconv.Itoa(i), replicas, nil)
					_, ok, again := a.queue("q" + strconv.Itoa(i))
					if err == nil && !ok {
						err = errors.New("it is not there")
					}
					return errors.Join(err, again)
				})
			}()
		}
		for range makers {
			if err := <-made; err != nil {
				t.Fatalf("queue %d: %v", i, err)
			}
		}
	}
}

// TestRealOneOfSeveralGroupsIsGone: the queue of a group whose consumers are down is deleted, or one of its lanes. What is published goes to
// another group, and nothing comes back; a minute later it is noticed, and declared again.
func TestRealOneOfSeveralGroupsIsGone(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e, err := Open(Config{Endpoints: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"a", "plain", "ordered"}}); err != nil {
		t.Fatal(err)
	}
	r, err := e.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "ordered", Ordered: true, Window: 10, Hold: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	key := "key"
	for laneOf(key) != laneName(5) {
		key += "'"
	}
	publish := func() {
		t.Helper()
		m := &driver.Message{ID: "1", Source: "test", Type: "t", Key: key}
		if err := errors.Join(e.Publish(ctx, "t", []*driver.Message{m})...); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	for _, queue := range []string{e.names.group("t", "plain"), e.names.lane("t", "ordered", 5)} {
		if err := e.ask(ctx, func(_ context.Context, a *asker) error {
			_, err := a.ch.QueueDelete(queue, false, false, false)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		publish() // nobody has noticed
		e.topology.mu.Lock()
		s := e.topology.topics["t"]
		s.verified = s.verified.Add(-verifyEvery)
		e.topology.mu.Unlock()
		for {
			publish()
			answer := make(chan int, 1)
			if err := e.ask(ctx, func(_ context.Context, a *asker) error {
				q, _, err := a.queue(queue)
				answer <- q.Messages
				return err
			}); err != nil {
				t.Fatalf("%s: %v", queue, err)
			}
			if <-answer > 0 {
				break
			}
		}
	}
	if err := e.ask(ctx, func(_ context.Context, a *asker) error {
		ch := a.ch
		for _, g := range []string{"a", "plain", "ordered"} {
			if whole, err := a.whole("t", g); err != nil || !whole {
				t.Errorf("%s is whole: %v, %v", g, whole, err)
			}
		}
		if a.ch != ch {
			t.Error("the broker has closed a channel, although everything is there")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
