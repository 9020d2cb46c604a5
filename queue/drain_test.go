package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestDrain: after Drain nothing is begun, others have what was not begun at once, and what was begun finishes.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var mine, theirs journal
		s, stop := w.run(w.q, "orders", "g", queue.Handle(func(ctx context.Context, m queue.Message[int]) error {
			select {
			case <-time.After(10 * time.Second):
				mine.add(fmt.Sprint(m.Value))
			case <-ctx.Done():
				t.Errorf("%d was cut short", m.Value)
			}
			return nil
		}), queue.SubscriptionConfig{Concurrency: 2, Window: 50})
		for i := range 20 {
			ok(t, w.q.Publish(t.Context(), "orders", i))
		}
		synctest.Wait() // two are begun, 18 are in hand
		ok(t, s.Drain(t.Context()))
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			theirs.add(fmt.Sprint(m.Value))
			return nil
		}), queue.SubscriptionConfig{})
		pass(time.Second)
		if n := len(theirs.all()); n != 18 {
			t.Errorf("the other instance has handled %d a second after the drain", n)
		}
		stop()
		if got := slices.Sorted(slices.Values(mine.all())); !slices.Equal(got, []string{"0", "1"}) {
			t.Errorf("finished %v", got)
		}
		synctest.Wait()
		if lag := w.lag("orders", "g"); lag.Waiting+lag.Unsettled != 0 {
			t.Errorf("lag %+v", lag)
		}
	})
}

// TestDrainTimeout: a handler that takes too long is told, and its message goes to another instance. One that does not listen
// keeps Run from returning, and not the message from going.
func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		deaf := make(chan struct{})
		var cut, again journal
		_, stop := w.run(w.q, "orders", "g", queue.Handle(func(ctx context.Context, m queue.Message[string]) error {
			if m.Value == "deaf" {
				<-deaf
				return nil
			}
			<-ctx.Done()
			cut.add(m.Value)
			return ctx.Err()
		}), queue.SubscriptionConfig{DrainTimeout: 5 * time.Second, Timeout: time.Hour})
		ok(t, w.q.Publish(t.Context(), "orders", "deaf"))
		ok(t, w.q.Publish(t.Context(), "orders", "slow"))
		synctest.Wait()
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
			again.add(fmt.Sprint(m.Value, m.Attempt))
			return nil
		}), queue.SubscriptionConfig{})
		begun := time.Now()
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		pass(8 * time.Second)
		if got := again.all(); len(cut.all()) != 1 || !slices.Contains(got, "slow2") || !slices.Contains(got, "deaf2") {
			t.Errorf("cut short %v, handled elsewhere %v", cut.all(), got)
		}
		if at := again.times(); len(at) == 2 && (at[0].Sub(begun) > 6*time.Second || at[1].Sub(begun) > 8*time.Second) {
			t.Errorf("handled elsewhere after %v and %v", at[0].Sub(begun), at[1].Sub(begun))
		}
		select {
		case <-stopped:
			t.Error("Run has returned before a handler has")
		default:
		}
		close(deaf)
		<-stopped
		if !strings.Contains(w.log.String(), "do not end with their context") {
			t.Error("nobody was told of the handler")
		}
	})
}

// TestOrderedRetryHoldsUpItsKey, and no other.
func TestOrderedRetryHoldsUpItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var j journal
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
			if m.Value == "a0" && m.Attempt < 4 {
				return errBroken
			}
			j.add(m.Value)
			return nil
		}), queue.SubscriptionConfig{Ordered: true, Retry: queue.Retry{Base: time.Minute, Max: time.Hour}})
		for i := range 3 {
			for _, key := range []string{"a", "b"} {
				ok(t, w.q.Publish(t.Context(), "orders", fmt.Sprint(key, i), queue.Key(key)))
			}
		}
		synctest.Wait()
		if got := j.all(); !slices.Equal(got, []string{"b0", "b1", "b2"}) {
			t.Errorf("at once %v", got)
		}
		pass(24 * time.Hour)
		if got := j.all()[3:]; !slices.Equal(got, []string{"a0", "a1", "a2"}) {
			t.Errorf("later %v", got)
		}
	})
}

// TestUnorderedRetryHoldsUpNothing, and a message that waits for long leaves the window to others.
func TestUnorderedRetryHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var bad, good atomic.Int64
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			if m.Value < 40 {
				bad.Add(1)
				return queue.RetryAfter(errBroken, time.Hour)
			}
			good.Add(1)
			return nil
		}), queue.SubscriptionConfig{Concurrency: 4, Window: 8})
		for i := range 140 {
			ok(t, w.q.Publish(t.Context(), "orders", (i*37)%140))
		}
		pass(time.Minute)
		if bad.Load() != 40 || good.Load() != 100 {
			t.Errorf("within a minute %d have failed and %d succeeded", bad.Load(), good.Load())
		}
	})
}

// TestRevoked: what was not begun is dropped when it goes to somebody else; what was begun is finished and settled.
func TestRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		release := make(chan struct{})
		var j journal
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			j.add(fmt.Sprintf("%d/%d", m.Value, m.Attempt))
			<-release
			return nil
		}), queue.SubscriptionConfig{Concurrency: 1, Window: 10})
		for i := range 5 {
			ok(t, w.q.Publish(t.Context(), "orders", i))
		}
		synctest.Wait()
		w.engine.Faults().Revoke("orders", "g")
		synctest.Wait() // 1 to 4 go back, and come again, since nobody else is there
		close(release)
		pass(time.Minute)
		got := j.all() // in whatever order they were given back
		if slices.Sort(got); !slices.Equal(got, []string{"0/1", "1/1", "2/1", "3/1", "4/1"}) {
			t.Errorf("handled %v", got)
		}
		if n := w.events.count(queue.Returned, false); n != 4 {
			t.Errorf("%d were given back", n)
		}
	})
}

// TestEngineRestart: what is in hand when the engine restarts is handled once, although it is delivered again.
func TestEngineRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var j journal
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			pass(time.Second)
			j.add(fmt.Sprint(m.Value))
			return nil
		}), queue.SubscriptionConfig{Concurrency: 2, Window: 10})
		for i := range 8 {
			ok(t, w.q.Publish(t.Context(), "orders", i))
		}
		pass(1500 * time.Millisecond)
		w.engine.Faults().Restart()
		pass(time.Minute)
		got := j.all()
		slices.Sort(got)
		if !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7"}) {
			t.Errorf("handled %v", got)
		}
		if lag := w.lag("orders", "g"); lag.Waiting+lag.Unsettled != 0 {
			t.Errorf("lag %+v", lag)
		}
	})
}

// calls counts what an engine is asked.
type calls struct {
	driver.Engine
	receives atomic.Int64
	bury     func() error
}

func (c *calls) Subscribe(ctx context.Context, s driver.Subscription) (driver.Receiver, error) {
	r, err := c.Engine.Subscribe(ctx, s)
	return &countedReceiver{r, c}, err
}

func (c *calls) Bury(ctx context.Context, topic, group string, m *driver.Message) error {
	if c.bury != nil {
		if err := c.bury(); err != nil {
			return err
		}
	}
	return c.Engine.Bury(ctx, topic, group, m)
}

type countedReceiver struct {
	driver.Receiver
	c *calls
}

func (r *countedReceiver) Receive(ctx context.Context, n int) ([]*driver.Delivery, error) {
	r.c.receives.Add(1)
	return r.Receiver.Receive(ctx, n)
}

// TestEngineDown: a dead engine is asked now and then, the log says so once a minute, and all goes on when it is back, also when it
// has lost its memory.
func TestEngineDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := &calls{Engine: w.engine}
		q := queue.New(c, queue.Config{Logger: w.logger()})
		var done atomic.Int64
		w.run(q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error { done.Add(1); return nil }), queue.SubscriptionConfig{})
		synctest.Wait()
		w.engine.Faults().Down()
		pass(10 * time.Minute)
		if n := c.receives.Load(); n > 900 {
			t.Errorf("a dead engine was asked %d times in ten minutes", n)
		}
		if n := strings.Count(w.log.String(), "receive failed"); n < 5 || n > 11 {
			t.Errorf("the log says so %d times", n)
		}
		w.engine.Faults().Wipe()
		ok(t, q.Publish(t.Context(), "orders", 1))
		pass(5 * time.Second)
		if done.Load() != 1 {
			t.Error("it does not go on")
		}
	})
}

// TestBurialFails: what cannot be set aside is not settled, and its handler is not called again for it.
func TestBurialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var broken atomic.Bool
		broken.Store(true)
		c := &calls{Engine: w.engine, bury: func() error {
			if broken.Load() {
				return errBroken
			}
			return nil
		}}
		q := queue.New(c, queue.Config{Logger: w.logger()})
		var tries atomic.Int64
		w.run(q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error {
			tries.Add(1)
			return queue.Reject(errBroken)
		}), queue.SubscriptionConfig{})
		ok(t, q.Publish(t.Context(), "orders", 1))
		pass(10 * time.Minute)
		if lag := w.lag("orders", "g"); lag.Unsettled != 1 || lag.Dead != 0 || tries.Load() != 1 {
			t.Errorf("lag %+v after %d attempts", lag, tries.Load())
		}
		broken.Store(false)
		pass(5 * time.Second)
		if lag := w.lag("orders", "g"); lag.Unsettled != 0 || lag.Dead != 1 || tries.Load() != 1 {
			t.Errorf("lag %+v after %d attempts", lag, tries.Load())
		}
	})
}

// TestKiller: a message that ends the process that handles it, time and again, is a dead letter before it is handled once more;
// others that were in hand each time are handled.
func TestKiller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		for i := range 30 {
			ok(t, w.q.Publish(t.Context(), "orders", i))
		}
		var mu sync.Mutex
		handled := make(map[int]int)
		kills := 0
		for range 60 {
			process := w.engine.Connect()
			q := queue.New(process, queue.Config{Logger: w.logger()})
			died := make(chan struct{})
			var once sync.Once
			_, stop := w.run(q, "orders", "g", queue.Handle(func(ctx context.Context, m queue.Message[int]) error {
				if m.Value == 7 {
					once.Do(func() { kills++; process.Cut(); close(died) }) // all that it has is gone
					<-ctx.Done()
					return ctx.Err()
				}
				select {
				case <-died:
				case <-time.After(time.Millisecond):
					mu.Lock()
					handled[m.Value]++
					mu.Unlock()
				}
				return nil
			}), queue.SubscriptionConfig{Timeout: time.Second, DrainTimeout: time.Second})
			select {
			case <-died:
			case <-time.After(time.Minute):
			}
			stop()
			ok(t, process.Close())
			if len(w.dead("orders", "g")) > 0 {
				break
			}
		}
		letters := w.dead("orders", "g")
		if len(letters) != 1 || string(letters[0].Message.Data) != "7" || kills > 30 {
			t.Errorf("after %d deaths %d dead letters: %+v", kills, len(letters), letters)
		}
		if len(handled) != 29 {
			t.Errorf("handled %v", handled)
		}
	})
}

// inbox is one in memory.
type inbox struct {
	mu   sync.Mutex
	done map[string]bool
}

func (i *inbox) Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done[scope+"|"+id] {
		return nil
	}
	err := run(ctx)
	if err == nil {
		i.done[scope+"|"+id] = true
	}
	return err
}

// TestInbox: a message that was handled is settled without being handled again; one without an ID cannot be known, and is set
// aside.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		box := &inbox{done: make(map[string]bool)}
		var done atomic.Int64
		w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error { done.Add(1); return nil }), queue.SubscriptionConfig{Inbox: box})
		m := &driver.Message{ID: "1", Source: "test", Data: []byte("1")}
		for range 3 {
			for _, err := range w.engine.PublishTo(t.Context(), "orders", "g", []*driver.Message{m}) {
				ok(t, err)
			}
			synctest.Wait()
		}
		for _, err := range w.engine.PublishTo(t.Context(), "orders", "g", []*driver.Message{{Source: "test", Data: []byte("1")}}) {
			ok(t, err)
		}
		synctest.Wait()
		if lag := w.lag("orders", "g"); done.Load() != 1 || lag.Waiting+lag.Unsettled != 0 || lag.Dead != 1 || !box.done["orders/g|4:test 1"] {
			t.Errorf("handled %d times, %+v, %v", done.Load(), lag, box.done)
		}
	})
}

// TestInboxTellsMessagesApart: source and ID are two texts, and no two messages are one to the inbox.
func TestInboxTellsMessagesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var j journal
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
			j.add(m.Source + "|" + m.ID)
			return nil
		}), queue.SubscriptionConfig{Inbox: &inbox{done: make(map[string]bool)}})
		var want []string
		for _, m := range []*driver.Message{
			{Source: "a b", ID: "c"}, {Source: "a", ID: "b c"}, {Source: "a:b", ID: "c"}, {Source: "3:a", ID: "b c"}, {Source: "a ", ID: "b c"}, {Source: "a", ID: " b c"},
		} {
			m.Data = []byte("1")
			want = append(want, m.Source+"|"+m.ID)
			ok(t, errors.Join(w.engine.PublishTo(t.Context(), "orders", "g", []*driver.Message{m})...))
			synctest.Wait()
		}
		if got := j.all(); !slices.Equal(got, want) {
			t.Errorf("handled %q, want %q", got, want)
		}
	})
}

// TestSlowHandler: what takes longer than the engine holds a message is not given to others; a handler has the time of its
// attempt.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		var j journal
		h := queue.Handle(func(ctx context.Context, m queue.Message[string]) error {
			j.add(m.Value)
			if m.Value == "late" && m.Attempt == 1 {
				<-ctx.Done()
				return failure.From(ctx.Err())
			}
			if m.Value == "slow" {
				pass(9 * time.Minute)
			}
			return nil
		})
		cfg := queue.SubscriptionConfig{Timeout: 10 * time.Minute, Hold: 10 * time.Second}
		w.run(w.q, "orders", "g", h, cfg)
		w.run(w.q, "orders", "g", h, cfg)
		ok(t, w.q.Publish(t.Context(), "orders", "slow"))
		ok(t, w.q.Publish(t.Context(), "orders", "late"))
		pass(time.Hour)
		got := j.all()
		slices.Sort(got)
		if !slices.Equal(got, []string{"late", "late", "slow"}) {
			t.Errorf("begun %v", got)
		}
		if lag := w.lag("orders", "g"); lag.Waiting+lag.Unsettled+lag.Dead != 0 {
			t.Errorf("lag %+v", lag)
		}
	})
}
