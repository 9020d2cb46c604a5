package queuetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
)

// portableCases are about package queue on the engine.
var portableCases = []testCase{
	{name: "Handled", run: handled},
	{name: "OrderOverInstances", run: orderOverInstances},
	{name: "BoundedRedelivery", run: boundedRedelivery},
	{name: "Replayed", run: replayed},
	{name: "RetriedLater", run: retriedLater},
	{name: "DrainLosesNothing", run: drainLosesNothing},
	{name: "PublishDuringOutage", run: publishDuringOutage},
	{name: "ManyWithCrashes", run: manyWithCrashes, restarts: true},
}

// app is a process of its own: a Queue with its own client.
type app struct {
	*queue.Queue
	e    *env
	t    *testing.T
	c    *client
	name string
}

func (e *env) app(t *testing.T, name string) *app {
	t.Helper()
	c := e.client(t)
	q := queue.New(c, queue.Config{
		Source: "queuetest", Instance: name, Logger: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelInfo})).With("app", name),
	})
	t.Cleanup(func() { _ = q.Close() })
	return &app{q, e, t, c, name}
}

// consume runs a subscription of the case's topic until the returned function is called, or the test ends.
func (a *app) consume(group string, h queue.Handler, cfg queue.SubscriptionConfig) (stop func()) {
	a.t.Helper()
	if cfg.Hold == 0 {
		cfg.Hold = max(a.e.cfg.Hold, time.Second)
	}
	s, err := queue.NewSubscription(a.Queue, a.e.topic, group, h, cfg)
	if err != nil {
		a.t.Fatalf("subscription: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				a.t.Errorf("run: %v", err)
			}
		})
	}
	a.t.Cleanup(func() {
		a.c.Thaw()
		a.c.Restore()
		stop()
	})
	return stop
}

// publish publishes with the time that anything may take.
func (a *app) publish(value any, opts ...queue.PublishOption) {
	a.t.Helper()
	if err := a.Publish(a.e.ctx(a.t), a.e.topic, value, opts...); err != nil {
		a.t.Fatalf("publish: %v", err)
	}
}

// tally counts what was handled.
type tally struct {
	mu    sync.Mutex
	count map[string]int
	order []string
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = make(map[string]int)
	}
	c.count[what]++
	c.order = append(c.order, what)
}

// distinct is how many there were, and total how often in all.
func (c *tally) distinct() (n, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.count), len(c.order)
}

// handled: a value comes to the handler of each group, with what belongs to it.
func handled(t *testing.T, e *env) {
	a := e.app(t, "a")
	topic, err := queue.NewTopic[map[string]string](a.Queue, e.topic, queue.Groups("g", "h"), queue.Replicas(1))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan queue.Message[map[string]string], 10)
	h := queue.Handle(func(_ context.Context, m queue.Message[map[string]string]) error {
		got <- m
		return nil
	})
	a.consume("g", h, queue.SubscriptionConfig{})
	a.consume("h", h, queue.SubscriptionConfig{})
	begun := time.Now()
	e.succeeds(t, "publish", func(ctx context.Context) error {
		return topic.Publish(ctx, map[string]string{"grüße": "世界"}, queue.Key("k"), queue.ID("the id"), queue.Attribute("color", "grün"))
	})
	groups := make(map[string]bool)
	for range 2 {
		select {
		case m := <-got:
			groups[m.Group] = true
			if m.Value["grüße"] != "世界" || m.ID != "the id" || m.Key != "k" || m.Source != "queuetest" || m.Type != e.topic || m.Topic != e.topic ||
				m.Attempt != 1 || m.Replayed || m.Time.Before(begun.Add(-time.Second)) || m.Attributes["color"] != "grün" {
				t.Errorf("handled %+v", m)
			}
		case <-e.ctx(t).Done():
			t.Fatal("not handled")
		}
	}
	if len(groups) != 2 {
		t.Errorf("handled by %v", groups)
	}
	e.settled(t, a.c, "g")
	e.settled(t, a.c, "h")
}

// orderOverInstances: while three instances come and go, the messages of a key are handled one after the other and in order.
// One that was handled may be handled again.
func orderOverInstances(t *testing.T, e *env) {
	p := e.app(t, "publisher")
	if !p.Capabilities().Ordered {
		if _, err := queue.NewSubscription(p.Queue, e.topic, "g", queue.Handle(func(context.Context, queue.Message[int]) error { return nil }),
			queue.SubscriptionConfig{Ordered: true}); failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("an engine without order lets an ordered subscription be made: %v", err)
		}
		return
	}
	e.declare(t, p.c, "g")
	const keys, each = 12, 40
	var mu sync.Mutex
	highest := make(map[string]int)
	busy := make(map[string]bool)
	total := 0
	h := queue.Handle(func(_ context.Context, m queue.Message[int]) error {
		mu.Lock()
		if busy[m.Key] {
			t.Errorf("two of key %s at once", m.Key)
		}
		busy[m.Key] = true
		if m.Value > highest[m.Key]+1 {
			t.Errorf("key %s: %d is handled after %d", m.Key, m.Value, highest[m.Key])
		}
		highest[m.Key] = max(highest[m.Key], m.Value)
		total++
		mu.Unlock()
		wait(2 * time.Millisecond)
		mu.Lock()
		busy[m.Key] = false
		mu.Unlock()
		return nil
	})
	cfg := queue.SubscriptionConfig{Ordered: true, Concurrency: 8}
	stops := []func(){e.app(t, "a").consume("g", h, cfg), e.app(t, "b").consume("g", h, cfg)}
	for n := 1; n <= each; n++ {
		for k := range keys {
			p.publish(n, queue.Key(fmt.Sprintf("k%d", k)))
		}
		switch n {
		case each / 4:
			stops = append(stops, e.app(t, "c").consume("g", h, cfg))
		case each / 2:
			stops[0]()
		case each * 3 / 4:
			stops[1]()
			stops = append(stops, e.app(t, "d").consume("g", h, cfg))
		}
	}
	e.until(t, "everything is handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for k := range keys {
			if highest[fmt.Sprintf("k%d", k)] != each {
				return false
			}
		}
		return true
	})
	e.settled(t, p.c, "g")
	t.Logf("%d messages, %d handled again", keys*each, total-keys*each)
}

// boundedRedelivery: what fails is tried as often as was said, with pauses, then it is a dead letter that says why.
func boundedRedelivery(t *testing.T, e *env) {
	a := e.app(t, "a")
	e.declare(t, a.c, "g")
	var tries, good tally
	a.consume("g", queue.Handle(func(_ context.Context, m queue.Message[string]) error {
		if m.Value == "good" {
			good.add(m.ID)
			return nil
		}
		tries.add(fmt.Sprint(m.Attempt))
		return errors.New("it fails, täglich")
	}), queue.SubscriptionConfig{Retry: queue.Retry{Attempts: 4, Base: 20 * time.Millisecond, Max: 100 * time.Millisecond}})
	a.publish("bad", queue.Key("k"), queue.ID("bad id"), queue.Attribute("color", "red"))
	for range 5 {
		a.publish("good")
	}
	letters := a.DeadLetters(e.topic, "g")
	var list []queue.DeadLetter
	e.until(t, "there is a dead letter", func() bool {
		var err error
		list, err = letters.List(e.ctx(t), "", 10)
		return err == nil && len(list) > 0
	})
	if n, total := tries.distinct(); n != 4 || total != 4 {
		t.Errorf("attempts %v", tries.order)
	}
	if l := list[0]; len(list) != 1 || l.Attempts != 4 || l.LastError != "it fails, täglich" || l.FirstError != l.LastError || l.Reason == "" || l.Instance != "a" ||
		l.Message.ID != "bad id" || l.Message.Key != "k" || string(l.Message.Data) != `"bad"` || l.Message.Attributes["color"] != "red" {
		t.Errorf("%d letters, the first is %+v of %+v", len(list), l, l.Message)
	}
	e.until(t, "the others are handled", func() bool { n, _ := good.distinct(); return n == 5 })
	e.settled(t, a.c, "g")
}

// replayed: dead letters are inspected, replayed one by one or all, to their group alone, and discarded.
func replayed(t *testing.T, e *env) {
	a := e.app(t, "a")
	e.declare(t, a.c, "g", "other")
	var broken atomic.Bool
	broken.Store(true)
	var handled, other tally
	a.consume("g", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
		if broken.Load() {
			return queue.Reject(errors.New("not now"))
		}
		if !m.Replayed || m.Key != "k" {
			t.Errorf("handled %+v", m)
		}
		handled.add(fmt.Sprint(m.Value))
		return nil
	}), queue.SubscriptionConfig{})
	a.consume("other", queue.Handle(func(_ context.Context, m queue.Message[int]) error {
		other.add(fmt.Sprint(m.Value))
		return nil
	}), queue.SubscriptionConfig{})
	for i := range 6 {
		a.publish(i, queue.Key("k"), queue.ID(fmt.Sprintf("id-%d", i)))
	}
	letters := a.DeadLetters(e.topic, "g")
	list := func(want int) (out []queue.DeadLetter) {
		t.Helper()
		e.until(t, fmt.Sprintf("there are %d dead letters", want), func() bool {
			var err error
			out, err = letters.List(e.ctx(t), "", 100)
			return err == nil && len(out) == want
		})
		return out
	}
	all := list(6)
	one := slices.IndexFunc(all, func(l queue.DeadLetter) bool { return string(l.Message.Data) == "3" })
	if one < 0 {
		t.Fatalf("letters %+v", all)
	}
	if l, err := letters.Get(e.ctx(t), all[one].Position); err != nil || l.Message.ID != "id-3" || l.Attempts != 1 || l.LastError != "not now" {
		t.Errorf("got %+v, %v", l, err)
	}
	if n, err := letters.Replay(e.ctx(t), all[one].Position); n != 1 || err != nil { // and it fails again
		t.Fatalf("replayed %d, %v", n, err)
	}
	e.until(t, "what was replayed failed again", func() bool {
		ls, err := letters.List(e.ctx(t), "", 100)
		return err == nil && len(ls) == 6 && slices.ContainsFunc(ls, func(l queue.DeadLetter) bool { return l.Replays == 1 && l.Message.ID == "id-3" })
	})
	if _, err := letters.Get(e.ctx(t), all[one].Position); failure.CodeOf(err) != failure.NotFound {
		t.Errorf("a letter that was replayed is still there: %v", err)
	}
	broken.Store(false)
	first := list(6)[0]
	if n, err := letters.Discard(e.ctx(t), first.Position); n != 1 || err != nil {
		t.Errorf("discarded %d, %v", n, err)
	}
	if n, err := letters.ReplayAll(e.ctx(t)); n != 5 || err != nil {
		t.Errorf("replayed %d, %v", n, err)
	}
	e.until(t, "what was replayed is handled", func() bool { n, _ := handled.distinct(); return n == 5 })
	list(0)
	if handled.count[string(first.Message.Data)] != 0 {
		t.Errorf("%s was discarded and handled", first.Message.Data)
	}
	e.settled(t, a.c, "g")
	e.settled(t, a.c, "other")
	if n, total := other.distinct(); n != 6 || total != 6 {
		t.Errorf("the other group has handled %v", other.order)
	}
}

// retriedLater: a handler says when.
func retriedLater(t *testing.T, e *env) {
	a := e.app(t, "a")
	e.declare(t, a.c, "g")
	var mu sync.Mutex
	var at []time.Time
	after := max(e.cfg.Hold, 3*time.Second) // beyond what is waited for in the process, where the engine can
	a.consume("g", queue.Handle(func(context.Context, queue.Message[string]) error {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) == 1 {
			return queue.RetryAfter(errors.New("later"), after)
		}
		return nil
	}), queue.SubscriptionConfig{})
	a.publish("x")
	e.until(t, "it is tried again", func() bool { mu.Lock(); defer mu.Unlock(); return len(at) == 2 })
	if took := at[1].Sub(at[0]); took < after-after/10 {
		t.Errorf("tried again after %v, not before %v was asked for", took, after)
	}
	e.settled(t, a.c, "g")
}

// drainLosesNothing: an instance that stops finishes what it began, and others get the rest soon.
func drainLosesNothing(t *testing.T, e *env) {
	p := e.app(t, "publisher")
	e.declare(t, p.c, "g")
	const n = 300
	var got tally
	var running atomic.Int64
	handler := func(ctx context.Context, m queue.Message[int]) error {
		running.Add(1)
		defer running.Add(-1)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Errorf("%d was cut short: %v", m.Value, ctx.Err())
		}
		got.add(fmt.Sprint(m.Value))
		return nil
	}
	a := e.app(t, "a").consume("g", queue.Handle(handler), queue.SubscriptionConfig{Concurrency: 4, Window: 100})
	for i := range n {
		p.publish(i)
	}
	e.until(t, "some are handled", func() bool { n, _ := got.distinct(); return n > 10 })
	e.app(t, "b").consume("g", queue.Handle(handler), queue.SubscriptionConfig{})
	a()
	e.until(t, "all are handled", func() bool { distinct, _ := got.distinct(); return distinct == n })
	e.settled(t, p.c, "g")
	if _, total := got.distinct(); total > n+100 {
		t.Errorf("%d messages, handled %d times", n, total)
	} else {
		t.Logf("%d messages, %d handled again", n, total-n)
	}
}

// publishDuringOutage: a publisher waits for the engine as long as it may, and gets a clear error.
func publishDuringOutage(t *testing.T, e *env) {
	a := e.app(t, "a")
	e.declare(t, a.c, "g")
	a.publish(0)
	a.c.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := a.Publish(ctx, e.topic, 1)
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	if code := failure.CodeOf(err); code != failure.Unavailable && code != failure.DeadlineExceeded || !strings.Contains(err.Error(), e.topic) {
		t.Errorf("during an outage: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Publish(e.ctx(t), e.topic, 2) }()
	wait(500 * time.Millisecond)
	a.c.Restore()
	if err := <-done; err != nil {
		t.Errorf("after an outage: %v", err)
	}
	var got tally
	a.consume("g", queue.Handle(func(_ context.Context, m queue.Message[int]) error { got.add(fmt.Sprint(m.Value)); return nil }), queue.SubscriptionConfig{})
	e.until(t, "what was confirmed is handled", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		return got.count["0"] > 0 && got.count["2"] > 0
	})
	e.settled(t, a.c, "g")
}

// manyWithCrashes: consumers are cut off for good and the engine is killed while many messages are on their way: none is lost,
// and those that come twice are counted.
func manyWithCrashes(t *testing.T, e *env) {
	p := e.app(t, "publisher")
	e.declare(t, p.c, "g")
	var got tally
	h := queue.Handle(func(_ context.Context, m queue.Message[int]) error { got.add(fmt.Sprint(m.Value)); return nil })
	crashing := e.app(t, "a")
	crashing.consume("g", h, queue.SubscriptionConfig{})
	e.app(t, "b").consume("g", h, queue.SubscriptionConfig{})
	topic, err := queue.NewTopic[int](p.Queue, e.topic)
	if err != nil {
		t.Fatal(err)
	}
	const batch = 50
	total := e.cfg.Messages
	for n := 0; n < total; n += batch {
		values := make([]int, batch)
		for i := range values {
			values[i] = n + i
		}
		if err := topic.PublishAll(e.ctx(t), values, func(i int) []queue.PublishOption {
			return []queue.PublishOption{queue.ID(fmt.Sprint(i)), queue.Key(fmt.Sprintf("k%d", i%97))}
		}); err != nil {
			t.Fatalf("publish from %d on: %v", n, err)
		}
		switch n / batch {
		case total / batch / 3:
			crashing.c.Freeze() // it never says goodbye
			e.app(t, "c").consume("g", h, queue.SubscriptionConfig{})
		case total / batch * 2 / 3:
			e.Restart()
		}
	}
	e.until(t, "all are handled", func() bool { n, _ := got.distinct(); return n >= total })
	crashing.c.Thaw()
	e.settled(t, p.c, "g")
	n, times := got.distinct()
	if n != total {
		t.Errorf("%d different ones of %d", n, total)
	}
	t.Logf("%d messages, lost 0, handled again %d", total, times-n)
}
