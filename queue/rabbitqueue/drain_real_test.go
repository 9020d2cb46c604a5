//go:build real && unix

package rabbitqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/rabbittest"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestRealDrainTakenOver: who has what a group had before it was ordered handled dies in the middle of it. The next one begins with
// what that one had in hand, and not with its lanes.
func TestRealDrainTakenOver(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	p := open(t, b.Addr())
	const topics, keys, before, after = 6, 5, 40, 20
	send := func(topic string, from, to int) {
		t.Helper()
		var ms []*driver.Message
		for n := from; n < to; n++ {
			for k := range keys {
				ms = append(ms, message(strconv.Itoa(n), "key-"+strconv.Itoa(k)))
			}
		}
		if err := publish(within(t, 20*time.Second), p, topic, ms...); err != nil {
			t.Error(err)
		}
	}
	try := func(topic string) error {
		declare(t, p, topic, "g")
		send(topic, 0, before)
		link := b.Proxy(t)
		first := subscribe(t, open(t, link.Addr()), driver.Subscription{Topic: topic, Group: "g", Instance: "first", Ordered: true, Window: 64})
		next := map[string]int{}
		var wrong []error
		take := func(r driver.Receiver, ack bool, want int) {
			ctx := within(t, 60*time.Second)
			for n := 0; n < want; {
				ds, err := r.Receive(ctx, min(16, want-n))
				if err != nil {
					if ctx.Err() != nil {
						wrong = append(wrong, err)
						return
					}
					continue
				}
				for _, d := range ds {
					switch i, _ := strconv.Atoi(d.Message.ID); {
					case !ack: // it is in hand when it dies
						n++
					case i > next[d.Message.Key]:
						wrong = append(wrong, fmt.Errorf("%s: %d comes before %d", d.Message.Key, i, next[d.Message.Key]))
					case i == next[d.Message.Key]:
						next[d.Message.Key]++
						n++
					}
				}
				if ack {
					if err := r.Ack(ctx, ds); err != nil && !errors.Is(err, driver.ErrLost) {
						wrong = append(wrong, err)
					}
				}
			}
		}
		take(first, true, 3*keys)
		take(first, false, 20)
		send(topic, before, before+after)
		other := open(t, b.Addr())
		come := make(chan driver.Receiver, 1)
		go func() {
			r, err := other.Subscribe(context.WithoutCancel(t.Context()), driver.Subscription{
				Topic: topic, Group: "g", Instance: "second", Ordered: true, Window: 64, Hold: 10 * time.Second,
			})
			if err != nil {
				t.Error(err)
			}
			come <- r
		}()
		second := <-come
		defer second.Close()
		link.Cut()
		take(second, true, keys*(before+after-3))
		return errors.Join(wrong...)
	}
	var all sync.WaitGroup
	for i := range topics {
		all.Go(func() {
			if err := try("t" + strconv.Itoa(i)); err != nil {
				t.Errorf("topic %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// TestRealDrainByOneOfAProcess: of two instances of a group on one connection, as in one process, one has what the group had
// before it was ordered, however long it takes.
func TestRealDrainByOneOfAProcess(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	declare(t, e, "t", "g")
	var ms []*driver.Message
	for i := range 300 { // more than one is given at a time
		ms = append(ms, message(strconv.Itoa(i), "key"))
	}
	if err := publish(within(t, 20*time.Second), e, "t", ms...); err != nil {
		t.Fatal(err)
	}
	come := make(chan string, 2)
	for _, name := range []string{"first", "second"} {
		r := subscribe(t, e, driver.Subscription{Topic: "t", Group: "g", Instance: name, Ordered: true, Window: 4})
		ctx, cancel := context.WithCancel(t.Context())
		var receiving sync.WaitGroup
		receiving.Go(func() {
			for ctx.Err() == nil {
				if ds, err := r.Receive(ctx, 1); err == nil && len(ds) > 0 {
					come <- name
					return // it is never done
				}
			}
		})
		defer receiving.Wait()
		defer cancel()
	}
	one := <-come
	select {
	case other := <-come:
		t.Errorf("%s has something in hand, and so has %s", one, other)
	case <-time.After(14 * time.Second): // longer than a drain waits for others that consume
	}
}

// TestRealSmallerWindow: what an instance had in hand goes on in order at the one after the next, although the next one takes
// less at a time.
func TestRealSmallerWindow(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	p := open(t, b.Addr())
	declare(t, p, "t", "g")
	join := func(name string, window int) (driver.Receiver, func()) {
		link := b.Proxy(t)
		return subscribe(t, open(t, link.Addr()), driver.Subscription{Topic: "t", Group: "g", Instance: name, Ordered: true, Window: window}), link.Cut
	}
	take := func(r driver.Receiver, n int) (ds []*driver.Delivery) {
		t.Helper()
		until(t, "receive", 40*time.Second, func(ctx context.Context) error {
			more, err := r.Receive(ctx, n-len(ds))
			if ds = append(ds, more...); err == nil && len(ds) < n {
				err = fmt.Errorf("received %d of %d", len(ds), n)
			}
			return err
		})
		return ds
	}
	first, cut := join("first", 128)
	var ms []*driver.Message
	for i := range 20 {
		ms = append(ms, message(strconv.Itoa(i), "key"))
	}
	if err := publish(within(t, 20*time.Second), p, "t", ms...); err != nil {
		t.Fatal(err)
	}
	take(first, 16)
	second, cutSecond := join("second", 16)
	cut()
	if err := second.Ack(t.Context(), take(second, 1)); err != nil {
		t.Error(err)
	}
	third, _ := join("third", 16)
	cutSecond()
	var got []string
	for range 15 {
		ds := take(third, 1)
		for _, d := range ds {
			got = append(got, d.Message.ID)
		}
		if err := third.Ack(t.Context(), ds); err != nil {
			t.Error(err)
		}
	}
	for i, id := range got {
		if id != strconv.Itoa(i+1) {
			t.Fatalf("after 0 comes %v", got)
		}
	}
}

// TestRealNoOldQueueBesideLanes: a publisher that has looked whether a group has lanes, and found none, makes no old queue if somebody makes
// them then. What is routed to it would be handled before what the lanes had before.
func TestRealNoOldQueueBesideLanes(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	var declared sync.WaitGroup
	raw(t, b, func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclare("holdfast:t:g:making", false, true, true, false, nil); err != nil { // as who makes them
			t.Fatal(err)
		}
		declared.Go(func() { declare(t, e, "t", "g") })
		until(t, "it has found no lanes, and waits to make the old queue", 2*time.Minute, func(context.Context) error {
			out, err := b.Ctl(t.Context(), "list_queues", "--quiet", "name")
			if err == nil && !slices.Contains(lines(out), "holdfast:t:g:dead") {
				err = fmt.Errorf("queues: %s", out)
			}
			return err
		})
		_, err := ch.QueueDeclare("holdfast:t:g:lane-0", true, false, false, false, amqp.Table{
			amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-single-active-consumer": true, "x-delivery-limit": int64(1 << 30),
		})
		if err != nil {
			t.Error(err)
		}
	})
	declared.Wait()
	out, err := b.Ctl(t.Context(), "list_queues", "--quiet", "name")
	if err != nil || slices.Contains(lines(out), "holdfast:t:g") || !slices.Contains(lines(out), "holdfast:t:g:lane-7") {
		t.Errorf("queues: %s, %v", out, err)
	}
}
