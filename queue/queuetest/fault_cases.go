package queuetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// faultCases break things.
var faultCases = []testCase{
	{name: "ConsumerCutOff", run: func(t *testing.T, e *env) { consumerGone(t, e, func(c *client) { c.Cut() }) }},
	{name: "ConsumerFrozen", run: func(t *testing.T, e *env) { consumerGone(t, e, func(c *client) { c.Freeze() }) }},
	{name: "ConsumerComesBack", run: consumerComesBack},
	{name: "DeadEngineHonoursContext", run: func(t *testing.T, e *env) {
		honoursContext(t, e, func(c *client) { c.Cut() }, func(c *client) { c.Restore() })
	}},
	{name: "FrozenEngineHonoursContext", run: func(t *testing.T, e *env) {
		honoursContext(t, e, func(c *client) { c.Freeze() }, func(c *client) { c.Thaw() })
	}},
	{name: "RestartKeepsEverything", run: restartKeepsEverything, restarts: true},
	{name: "RestartWhileReceiving", run: restartWhileReceiving, restarts: true},
}

// consumerGone: what an instance had in hand goes to others when it is gone.
func consumerGone(t *testing.T, e *env, gone func(*client)) {
	c := e.declared(t, "g")
	ms := messages(20)
	e.publish(t, c, ms...)
	lost := e.client(t)
	r := e.subscribe(t, lost, "g", window(8))
	mine := r.want(8)
	r.ack(mine[:2]...)
	other := e.subscribe(t, c, "g")
	gone(lost)
	seen := other.distinct(18, mine[:2]...)
	if want := sent(ms); !slices.Equal(seen, want) {
		t.Errorf("received %v", seen)
	}
	lost.Thaw()
	lost.Restore()
	e.until(t, "who comes back is told that it lost its deliveries", func() bool {
		return errors.Is(r.Ack(e.ctx(t), mine[2:]), driver.ErrLost)
	})
	e.emptied(t, c, other)
}

// consumerComesBack: a receiver goes on by itself after its connection broke.
func consumerComesBack(t *testing.T, e *env) {
	c := e.declared(t, "g")
	mine := e.client(t)
	r := e.subscribe(t, mine, "g")
	e.publish(t, c, message("", 0))
	r.ack(r.want(1)...)
	for i := range 3 {
		mine.Cut()
		e.publish(t, c, message("", i+1))
		r.nothing(e.awhile())
		mine.Restore()
		ds := r.want(1)
		if err := r.Ack(e.ctx(t), ds); err != nil {
			t.Fatalf("ack after connection %d: %v", i+2, err)
		}
	}
	e.emptied(t, c, r)
	for _, err := range mine.Publish(e.ctx(t), e.topic, messages(1)) {
		if err != nil {
			t.Errorf("publish: %v", err)
		}
	}
	r.ack(r.want(1)...)
}

// honoursContext: no call waits for longer than it is allowed to, and all work when the engine is back.
func honoursContext(t *testing.T, e *env, fault, heal func(*client)) {
	c := e.declared(t, "g")
	r := e.subscribe(t, c, "g")
	e.publish(t, c, messages(3)...)
	ds := r.want(3)
	m := message("", 7)
	calls := []struct {
		name string
		call func(ctx context.Context) error
	}{
		{"Publish", func(ctx context.Context) error {
			return errors.Join(c.Publish(ctx, e.topic, []*driver.Message{m})...)
		}},
		{"PublishTo", func(ctx context.Context) error {
			return errors.Join(c.PublishTo(ctx, e.topic, "g", []*driver.Message{m})...)
		}},
		{"Bury", func(ctx context.Context) error { return c.Bury(ctx, e.topic, "g", m) }},
		{"Declare", func(ctx context.Context) error {
			return c.Declare(ctx, driver.Topic{Name: e.topic, Groups: []string{"another"}, Replicas: 1})
		}},
		{"Lag", func(ctx context.Context) error { _, err := c.Lag(ctx, e.topic, "g"); return err }},
		{"Groups", func(ctx context.Context) error { _, err := c.Groups(ctx); return err }},
		{"Dead", func(ctx context.Context) error { _, err := c.Dead(ctx, e.topic, "g", "", 1); return err }},
		{"Subscribe", func(ctx context.Context) error {
			r, err := c.Subscribe(ctx, driver.Subscription{Topic: e.topic, Group: "third", Instance: "x", Window: 1, Hold: e.cfg.Hold})
			if err == nil {
				_ = r.Close()
			}
			return err
		}},
		// The next ones may succeed: an engine may have to be told later, or know already.
		{"Receive", func(ctx context.Context) error {
			if _, err := r.Receive(ctx, 1); err == nil {
				return errors.New("received")
			}
			return ctx.Err()
		}},
		{"Extend", func(ctx context.Context) error { _ = r.Extend(ctx, ds[:1]); return nil }},
		{"Return", func(ctx context.Context) error { _ = r.Return(ctx, ds[1], 0); return nil }},
		{"Ack", func(ctx context.Context) error { _ = r.Ack(ctx, ds[2:]); return nil }},
	}
	fault(c)
	allowed := max(e.cfg.Hold/10, 100*time.Millisecond)
	for _, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), allowed)
		took := stopwatch.Start(t)
		err := call.call(ctx)
		if took := took(); took > allowed+max(allowed, 500*time.Millisecond) {
			t.Errorf("%s took %v, and had %v", call.name, took, allowed)
		}
		cancel()
		switch call.name {
		case "Receive", "Extend", "Return", "Ack":
		default:
			if err == nil {
				t.Errorf("%s succeeded without an engine", call.name)
			}
		}
	}
	heal(c)
	e.succeeds(t, "publish when the engine is back", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, e.longest()/4)
		defer cancel()
		return errors.Join(c.Publish(ctx, e.topic, []*driver.Message{m})...)
	})
	e.emptied(t, c, r)
}

// restartKeepsEverything: what was confirmed, what was settled, what was buried is so after a restart.
func restartKeepsEverything(t *testing.T, e *env) {
	c := e.declared(t, "g")
	ms := messages(50)
	e.publish(t, c, ms...)
	r := e.subscribe(t, c, "g", window(20))
	mine := r.want(20)
	r.ack(mine[:10]...)
	if err := c.Bury(e.ctx(t), e.topic, "g", message("dead", 0)); err != nil {
		t.Fatalf("bury: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	e.Restart()
	again := e.client(t)
	other := e.subscribe(t, again, "g")
	if got := other.distinct(40, mine[:10]...); !slices.Equal(got, sent(ms)) { // what was settled a moment before may come again
		t.Errorf("received %v", got)
	}
	e.emptied(t, again, other)
	e.succeeds(t, "the dead letter is there", func(ctx context.Context) error {
		ds, err := again.Dead(ctx, e.topic, "g", "", 10)
		if err == nil && len(ds) != 1 {
			err = errors.New("it is gone")
		}
		return err
	})
	gs, err := again.Groups(e.ctx(t))
	if err != nil || !slices.Contains(gs, driver.Group{Topic: e.topic, Group: "g"}) {
		t.Errorf("groups are %v, %v", gs, err)
	}
}

// restartWhileReceiving: clients and receivers go on by themselves, and what was confirmed comes.
func restartWhileReceiving(t *testing.T, e *env) {
	c := e.declared(t, "g")
	r := e.subscribe(t, e.client(t), "g")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	got := make(map[string]int)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			ds, err := r.Receive(ctx, 10)
			mu.Lock()
			for _, d := range ds {
				got[d.Message.ID]++
			}
			mu.Unlock()
			if len(ds) > 0 {
				_ = r.Ack(ctx, ds)
			}
			if err != nil && ctx.Err() == nil {
				wait(20 * time.Millisecond)
			}
		}
	}()
	var confirmed []*driver.Message
	for round := range 3 {
		for i := range 100 {
			m := message("", 1000*round+i)
			e.succeeds(t, "publish", func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, e.longest()/4)
				defer cancel()
				return errors.Join(c.Publish(ctx, e.topic, []*driver.Message{m})...)
			})
			confirmed = append(confirmed, m)
			if i == 50 && round < 2 {
				e.Restart()
			}
		}
	}
	e.until(t, "all have come", func() bool { // lag does not know what another client has in hand
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= len(confirmed)
	})
	e.settled(t, c, "g")
	cancel()
	<-done
	twice := 0
	for _, m := range confirmed {
		if got[m.ID] == 0 {
			t.Errorf("%s was confirmed and did not come", m.Data)
		}
		if got[m.ID] > 1 {
			twice++
		}
	}
	t.Logf("%d messages, %d came more than once", len(confirmed), twice)
}
