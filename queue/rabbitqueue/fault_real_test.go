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
	"github.com/holdfast-go/holdfast/queue/rabbitqueue"
)

// raw does something to a broker past the driver.
func raw(t *testing.T, b *rabbittest.Broker, f func(ch *amqp.Channel)) {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + b.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	f(ch)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func message(id, key string) *driver.Message {
	return &driver.Message{ID: id, Source: "test", Type: "t", Key: key, Data: []byte(id)}
}

// until tries until it succeeds.
func until(t *testing.T, what string, d time.Duration, try func(ctx context.Context) error) {
	t.Helper()
	ctx := within(t, d)
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func publish(ctx context.Context, e *rabbitqueue.Engine, topic string, ms ...*driver.Message) error {
	return errors.Join(e.Publish(ctx, topic, ms)...)
}

func declare(t *testing.T, e *rabbitqueue.Engine, topic string, groups ...string) {
	t.Helper()
	until(t, "declare", 2*time.Minute, func(ctx context.Context) error {
		return e.Declare(ctx, driver.Topic{Name: topic, Groups: groups})
	})
}

func subscribe(t *testing.T, e *rabbitqueue.Engine, s driver.Subscription) driver.Receiver {
	t.Helper()
	s.Hold = 10 * time.Second
	if s.Window == 0 {
		s.Window = 64
	}
	r, err := e.Subscribe(within(t, 30*time.Second), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestRealAlarm: a broker that is short of memory blocks those who publish; they are told at once that there is no room, and
// acknowledgements get through. When the alarm is over, publishing goes on.
func TestRealAlarm(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	declare(t, e, "t", "g")
	r := subscribe(t, e, driver.Subscription{Topic: "t", Group: "g"})
	if err := publish(within(t, 20*time.Second), e, "t", message("before", "")); err != nil {
		t.Fatal(err)
	}
	ds, err := r.Receive(within(t, 20*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ctl(t.Context(), "set_vm_memory_high_watermark", "absolute", "1MB"); err != nil {
		t.Fatal(err)
	}
	// The broker blocks a connection when it publishes the next time: that message is not confirmed.
	until(t, "no room is reported", 30*time.Second, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if err := publish(ctx, e, "t", message("during", "")); !errors.Is(err, driver.ErrFull) {
			return fmt.Errorf("got %w", err)
		}
		if d := time.Since(begun); d > 200*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		return nil
	})
	if err := r.Ack(within(t, 5*time.Second), ds); err != nil {
		t.Errorf("ack during the alarm: %v", err)
	}
	until(t, "the ack is there", 45*time.Second, func(ctx context.Context) error {
		out, err := b.Ctl(ctx, "list_queues", "--quiet", "name", "messages_unacknowledged")
		if err == nil && !slices.Contains(lines(out), "holdfast:t:g\t0") {
			err = fmt.Errorf("queues: %s", out)
		}
		return err
	})
	if _, err := b.Ctl(t.Context(), "set_vm_memory_high_watermark", "absolute", "1GB"); err != nil {
		t.Fatal(err)
	}
	until(t, "publish after the alarm", 30*time.Second, func(ctx context.Context) error {
		return publish(ctx, e, "t", message("after", ""))
	})
}

// TestRealReturnedDuringAnAlarm: what is given back for later while nothing can be published comes again when its time has come,
// and not before.
func TestRealReturnedDuringAnAlarm(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	declare(t, e, "t", "g")
	r := subscribe(t, e, driver.Subscription{Topic: "t", Group: "g"})
	if err := publish(within(t, 20*time.Second), e, "t", message("1", "")); err != nil {
		t.Fatal(err)
	}
	ds, err := r.Receive(within(t, 20*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ctl(t.Context(), "set_vm_memory_high_watermark", "absolute", "1MB"); err != nil {
		t.Fatal(err)
	}
	until(t, "no room is reported", 30*time.Second, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if err := publish(ctx, e, "t", message("during", "")); !errors.Is(err, driver.ErrFull) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	const after = 4 * time.Second
	begun := time.Now()
	if err := r.Return(within(t, 10*time.Second), ds[0], after); !errors.Is(err, driver.ErrFull) {
		t.Errorf("return: %v", err)
	}
	ds, err = r.Receive(within(t, 30*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d < after || ds[0].Message.ID != "1" || ds[0].Count < 2 {
		t.Errorf("%s came again after %v, count %d", ds[0].Message.ID, d, ds[0].Count)
	}
	if err := r.Ack(within(t, 5*time.Second), ds); err != nil {
		t.Error(err)
	}
}

// TestRealMoreThanThereIsRoomFor: a batch of more messages, or more bytes, than may be under way at a time is published, and so
// are several of which each has some of that.
func TestRealMoreThanThereIsRoomFor(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	many := func(n int) (ms []*driver.Message) {
		for i := range n {
			ms = append(ms, message(strconv.Itoa(i), ""))
		}
		return ms
	}
	large := many(3)
	for _, m := range large {
		m.Data = make([]byte, 16<<20)
	}
	for topic, calls := range map[string][][]*driver.Message{
		"many":    {many(5000)},
		"large":   {large},
		"several": {many(3000), many(3000), many(3000), many(3000), many(3000), many(3000)},
	} {
		t.Run(topic, func(t *testing.T) {
			declare(t, e, topic, "g")
			ctx := within(t, time.Minute)
			var all sync.WaitGroup
			want := 0
			for _, ms := range calls {
				want += len(ms)
				all.Go(func() {
					for i, err := range e.Publish(ctx, topic, ms) {
						if err != nil {
							t.Errorf("message %d: %v", i, err)
							return
						}
					}
				})
			}
			all.Wait()
			until(t, "all are in the queue", 20*time.Second, func(ctx context.Context) error {
				lag, err := e.Lag(ctx, topic, "g")
				if err == nil && lag.Waiting != int64(want) {
					err = fmt.Errorf("%d are, want %d", lag.Waiting, want)
				}
				return err
			})
		})
	}
}

// TestRealLettersFromTheFuture: those that were buried when a clock was an hour ahead hide none of those that came later.
func TestRealLettersFromTheFuture(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	declare(t, e, "t", "g")
	now := time.Now()
	var positions []string
	for i := range 250 {
		at := now.Add(time.Duration(i) * time.Second)
		if i < 200 {
			at = at.Add(time.Hour)
		}
		positions = append(positions, fmt.Sprintf("%016x-%08x", at.UnixNano(), i))
	}
	raw(t, b, func(ch *amqp.Channel) {
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		for _, p := range positions {
			dc, err := ch.PublishWithDeferredConfirm("", "holdfast:t:g:dead", true, false, amqp.Publishing{
				Headers: amqp.Table{"holdfast-position": p}, DeliveryMode: amqp.Persistent, MessageId: p,
			})
			if err != nil {
				t.Fatal(err)
			}
			if !dc.Wait() {
				t.Fatal("not confirmed")
			}
		}
	})
	var shown []string
	for after := ""; len(shown) <= len(positions); after = shown[len(shown)-1] {
		letters, err := e.Dead(within(t, 20*time.Second), "t", "g", after, 50)
		if err != nil {
			t.Fatal(err)
		}
		if len(letters) == 0 {
			break
		}
		for _, l := range letters {
			shown = append(shown, l.Position)
		}
	}
	slices.Sort(positions)
	if !slices.Equal(shown, positions) {
		t.Errorf("%d of %d letters were shown", len(shown), len(positions))
	}
}

func lines(s string) (out []string) {
	for len(s) > 0 {
		i := slices.Index([]byte(s), '\n')
		if i < 0 {
			return append(out, s)
		}
		out, s = append(out, s[:i]), s[i+1:]
	}
	return out
}

// TestRealWiped: a broker that lost everything gets it declared again, by who publishes and by who receives; so does one of
// which somebody deleted a queue.
func TestRealWiped(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	other := open(t, b.Addr())
	declare(t, e, "t", "g", "late")
	r := subscribe(t, other, driver.Subscription{Topic: "t", Group: "g"})
	round := func(id string) { // published until it comes: without its queue, a group misses what is published
		t.Helper()
		until(t, "publish and receive "+id, 90*time.Second, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			errs := []error{publish(ctx, e, "t", message(id, ""))}
			for {
				ds, err := r.Receive(ctx, 10)
				errs = append(errs, err, r.Ack(ctx, ds))
				if slices.ContainsFunc(ds, func(d *driver.Delivery) bool { return string(d.Message.Data) == id }) {
					return nil
				}
				if ctx.Err() != nil {
					return errors.Join(errs...)
				}
			}
		})
	}
	round("1")
	if err := b.RestartEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	round("2")
	late := subscribe(t, e, driver.Subscription{Topic: "t", Group: "late"})
	if ds, err := late.Receive(within(t, 20*time.Second), 10); err != nil || len(ds) == 0 || string(ds[0].Message.Data) != "2" {
		t.Errorf("a group that was declared got %d, %v", len(ds), err)
	}
	raw(t, b, func(ch *amqp.Channel) {
		if _, err := ch.QueueDelete("holdfast:t:g", false, false, false); err != nil {
			t.Error(err)
		}
	})
	round("3")
	raw(t, b, func(ch *amqp.Channel) {
		if err := ch.ExchangeDelete("holdfast:t", false, false); err != nil {
			t.Error(err)
		}
	})
	round("4")
}

// TestRealUnrouted: a message that nothing takes is an error where groups were declared, and is gone where none were.
func TestRealUnrouted(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	declare(t, e, "nobody")
	if err := publish(within(t, 10*time.Second), e, "nobody", message("1", "")); err != nil {
		t.Errorf("a topic without groups: %v", err)
	}
	declare(t, e, "t", "g")
	raw(t, b, func(ch *amqp.Channel) {
		if _, err := ch.QueueDelete("holdfast:t:g", false, false, false); err != nil {
			t.Error(err)
		}
	})
	ms := []*driver.Message{message("2", "a"), message("3", "b"), message("4", "c")}
	errs := e.Publish(within(t, 10*time.Second), "t", ms)
	for i := range ms {
		if errs == nil || errs[i] == nil || errors.Is(errs[i], driver.ErrRefused) {
			t.Fatalf("the queue was deleted, and it says %v", errs)
		}
	}
	if err := publish(within(t, 10*time.Second), e, "t", ms...); err != nil {
		t.Errorf("the next time: %v", err)
	}
}

// TestRealRefused: what will never work says so, in the broker's words.
func TestRealRefused(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	raw(t, b, func(ch *amqp.Channel) {
		if err := ch.ExchangeDeclare("holdfast:taken", "fanout", true, false, false, false, nil); err != nil {
			t.Error(err)
		}
	})
	e := open(t, b.Addr())
	if err := e.Declare(within(t, 10*time.Second), driver.Topic{Name: "taken"}); !errors.Is(err, driver.ErrRefused) {
		t.Errorf("an exchange of another kind: %v", err)
	}
	for name, c := range map[string]rabbitqueue.Config{
		"password": {Endpoints: []string{b.Addr()}, Username: "guest", Password: "wrong"},
		"vhost":    {Endpoints: []string{b.Addr()}, VHost: "nowhere"},
	} {
		w, err := rabbitqueue.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "a wrong "+name, 30*time.Second, func(ctx context.Context) error {
			err := w.Declare(ctx, driver.Topic{Name: "x"})
			if !errors.Is(err, driver.ErrRefused) {
				return fmt.Errorf("not refused: %w", err)
			}
			return nil
		})
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRealClosedByPeople: connections that the broker's people close come back.
func TestRealClosedByPeople(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	declare(t, e, "t", "g")
	r := subscribe(t, e, driver.Subscription{Topic: "t", Group: "g"})
	if _, err := b.Ctl(t.Context(), "close_all_connections", "maintenance"); err != nil {
		t.Fatal(err)
	}
	until(t, "publish", 20*time.Second, func(ctx context.Context) error { return publish(ctx, e, "t", message("1", "")) })
	until(t, "receive", 20*time.Second, func(ctx context.Context) error {
		ds, err := r.Receive(ctx, 1)
		return errors.Join(err, r.Ack(ctx, ds))
	})
}

// TestRealFrozenBrokerIsNoticed: a publisher that waits for a confirm is told within about two heartbeats, not when its
// deadline ends; everything goes on when the broker does.
func TestRealFrozenBrokerIsNoticed(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e := open(t, b.Addr())
	declare(t, e, "t", "g")
	r := subscribe(t, e, driver.Subscription{Topic: "t", Group: "g"})
	if err := publish(within(t, 10*time.Second), e, "t", message("1", "")); err != nil {
		t.Fatal(err)
	}
	ds, err := r.Receive(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Freeze(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	err = publish(within(t, time.Minute), e, "t", message("2", ""))
	if d := time.Since(begun); err == nil || d > 20*time.Second {
		t.Errorf("published to a frozen broker: %v after %v", err, d)
	}
	select {
	case <-ds[0].Revoked:
	case <-time.After(20 * time.Second):
		t.Error("the delivery is not revoked")
	}
	if err := r.Ack(within(t, time.Second), ds); !errors.Is(err, driver.ErrLost) {
		t.Errorf("ack of what was lost: %v", err)
	}
	if err := b.Thaw(); err != nil {
		t.Fatal(err)
	}
	until(t, "publish", 30*time.Second, func(ctx context.Context) error { return publish(ctx, e, "t", message("3", "")) })
	seen := make(map[string]int)
	until(t, "receive", 30*time.Second, func(ctx context.Context) error {
		ds, err := r.Receive(ctx, 10)
		for _, d := range ds {
			seen[d.Message.ID] = d.Count
		}
		if err = errors.Join(err, r.Ack(ctx, ds)); err == nil && (seen["1"] == 0 || seen["3"] == 0) {
			err = fmt.Errorf("received %v", seen)
		}
		return err
	})
	if seen["1"] < 2 {
		t.Errorf("the lost delivery came again with the count %d", seen["1"])
	}
}
