package queuetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// deliveryCases are about one instance and what it receives.
var deliveryCases = []testCase{
	{name: "Window", run: windowIsKept},
	{name: "ReturnedAtOnce", run: returnedAtOnce},
	{name: "ReturnedForLater", run: returnedForLater},
	{name: "Extended", run: extended},
	{name: "StoppedAndSettled", run: stoppedAndSettled},
	{name: "ClosedInHand", run: closedInHand},
	{name: "IdleReceiveEnds", run: idleReceiveEnds},
	{name: "WakesUp", run: wakesUp},
	{name: "AckInAnyOrder", run: ackInAnyOrder},
}

// windowIsKept: no more than the window is received before something is settled.
func windowIsKept(t *testing.T, e *env) {
	c := e.declared(t, "g")
	e.publish(t, c, messages(20)...)
	r := e.subscribe(t, c, "g", window(5))
	ds := r.want(5)
	r.nothing(e.awhile())
	r.ack(ds[0], ds[3])
	ds = append(slices.Delete(slices.Delete(ds, 3, 4), 0, 1), r.want(2)...)
	r.nothing(e.awhile())
	for len(ds) > 0 {
		r.ack(ds[0])
		ds = ds[1:]
		if lag, err := c.Lag(e.ctx(t), e.topic, "g"); err == nil && lag.Waiting == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), e.awhile())
		ds = append(ds, r.gather(ctx, 1)...)
		cancel()
	}
	e.settled(t, c, "g")
}

// returnedAtOnce: it comes again, counted if the engine counts.
func returnedAtOnce(t *testing.T, e *env) {
	c := e.declared(t, "g")
	m := message("k", 0)
	e.publish(t, c, m)
	r := e.subscribe(t, c, "g")
	for n := 1; n <= 3; n++ {
		d := r.want(1)[0]
		same(t, d.Message, m)
		if c.Capabilities().Counts && d.Count != n {
			t.Errorf("delivery %d has the count %d", n, d.Count)
		}
		if n == 3 {
			r.ack(d)
			break
		}
		if err := r.Return(e.ctx(t), d, 0); err != nil {
			t.Fatalf("return: %v", err)
		}
	}
	r.nothing(e.awhile())
	e.settled(t, c, "g")
}

// returnedForLater: with Delay it does not come before its time, and others do meanwhile.
func returnedForLater(t *testing.T, e *env) {
	c := e.declared(t, "g")
	if !c.Capabilities().Delay {
		t.Log("the engine has no delay")
		return
	}
	m := message("", 0)
	e.publish(t, c, m)
	r := e.subscribe(t, c, "g")
	after := max(e.cfg.Hold, time.Second)
	returned := time.Now()
	if err := r.Return(e.ctx(t), r.want(1)[0], after); err != nil {
		t.Fatalf("return: %v", err)
	}
	e.publish(t, c, message("", 1))
	d := r.want(1)[0]
	if string(d.Message.Data) != " 1" {
		t.Fatalf("received %s first", d.Message.Data)
	}
	r.ack(d)
	d = r.want(1)[0]
	if took := time.Since(returned); took < after-after/10 {
		t.Errorf("returned for %v, came after %v", after, took)
	}
	same(t, d.Message, m)
	r.ack(d)
	e.settled(t, c, "g")
}

// extended: what is worked on for long stays with who works on it.
func extended(t *testing.T, e *env) {
	c := e.declared(t, "g")
	m := message("", 0)
	e.publish(t, c, m)
	r := e.subscribe(t, c, "g")
	d := r.want(1)
	other := e.subscribe(t, e.client(t), "g")
	for range 12 {
		other.nothing(e.cfg.Hold / 4)
		if err := r.Extend(e.ctx(t), d); err != nil {
			t.Fatalf("extend: %v", err)
		}
	}
	r.ack(d...)
	other.nothing(e.awhile())
	e.settled(t, c, "g")
}

// stoppedAndSettled: after Stop nothing comes, what is in hand can be settled, and the rest goes to others.
func stoppedAndSettled(t *testing.T, e *env) {
	c := e.declared(t, "g")
	ms := messages(30)
	e.publish(t, c, ms...)
	r := e.subscribe(t, c, "g", window(20))
	mine := r.want(4)
	r.Stop()
	r.Stop()
	if ds, err := r.Receive(e.ctx(t), 1); !errors.Is(err, driver.ErrStopped) || len(ds) != 0 {
		t.Fatalf("after Stop: %d deliveries, %v", len(ds), err)
	}
	other := e.subscribe(t, e.client(t), "g")
	r.ack(mine...)
	theirs := other.want(len(ms) - len(mine))
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	other.ack(theirs...)
	if got := texts(append(mine, theirs...)); !slices.Equal(got, sent(ms)) {
		t.Errorf("received %v", got)
	}
	other.nothing(e.awhile())
	e.settled(t, c, "g")
}

// closedInHand: what a receiver has in hand when it closes goes to others at once, and is not its own any more.
func closedInHand(t *testing.T, e *env) {
	c := e.declared(t, "g")
	ms := messages(10)
	e.publish(t, c, ms...)
	r := e.subscribe(t, c, "g")
	mine := r.want(10)
	r.ack(mine[:3]...)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	other := e.subscribe(t, e.client(t), "g")
	ds := other.want(7)
	if c.Capabilities().Counts {
		for _, d := range ds {
			if d.Count != 2 {
				t.Errorf("delivery after the close of a receiver has the count %d", d.Count)
			}
		}
	}
	if err := r.Ack(e.ctx(t), mine[3:]); !errors.Is(err, driver.ErrLost) {
		t.Errorf("ack of what was given back: %v", err)
	}
	other.ack(ds...)
	e.settled(t, c, "g")
}

// idleReceiveEnds: a Receive that waits ends with its ctx, with Stop, with Close.
func idleReceiveEnds(t *testing.T, e *env) {
	c := e.declared(t, "g")
	for name, end := range map[string]func(r *receiver, cancel func()){
		"ctx":   func(_ *receiver, cancel func()) { cancel() },
		"Stop":  func(r *receiver, _ func()) { r.Stop() },
		"Close": func(r *receiver, _ func()) { _ = r.Close() },
	} {
		r := e.subscribe(t, c, "g")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := r.Receive(ctx, 1); err != nil {
					done <- err
					return
				}
			}
		}()
		wait(e.awhile() / 4)
		end(r, cancel)
		select {
		case err := <-done:
			if want := map[bool]error{true: context.Canceled, false: driver.ErrStopped}[name == "ctx"]; !errors.Is(err, want) {
				t.Errorf("%s: Receive returned %v", name, err)
			}
		case <-time.After(e.cfg.Within):
			t.Errorf("%s: Receive has not returned within %v", name, e.cfg.Within)
		}
		cancel()
	}
}

// wakesUp: what is published while a receiver waits comes without delay.
func wakesUp(t *testing.T, e *env) {
	c := e.declared(t, "g")
	r := e.subscribe(t, c, "g")
	r.nothing(e.awhile())
	for i := range 5 {
		e.publish(t, c, message("", i))
		begun := time.Now()
		r.ack(r.want(1)...)
		if took := time.Since(begun); i > 0 && took > e.cfg.Within/2 {
			t.Errorf("message %d came %v after its confirmation", i, took)
		}
	}
}

// ackInAnyOrder: settled is what was settled, whatever the order, also for those who come later.
func ackInAnyOrder(t *testing.T, e *env) {
	c := e.declared(t, "g")
	ms := messages(40)
	e.publish(t, c, ms...)
	r := e.subscribe(t, c, "g")
	ds := r.want(40)
	for i := len(ds) - 1; i > 0; i -= 2 {
		r.ack(ds[i])
	}
	if err := r.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	other := e.subscribe(t, e.client(t), "g")
	var mine []*driver.Delivery
	for i := len(ds) - 1; i > 0; i -= 2 {
		mine = append(mine, ds[i])
	}
	// An engine that remembers how far a group is may give what was settled beyond that again: twice is allowed, lost is not.
	if got := other.distinct(20, mine...); !slices.Equal(got, sent(ms)) {
		t.Errorf("received %v", got)
	}
	e.emptied(t, c, other)
}

// emptied acks what comes until nothing is left of group g. What is lost meanwhile comes again.
func (e *env) emptied(t *testing.T, c *client, r *receiver) {
	t.Helper()
	e.until(t, "nothing is left", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if ds := r.gather(ctx, 100); len(ds) > 0 {
			if err := r.Ack(e.ctx(t), ds); err != nil && !errors.Is(err, driver.ErrLost) {
				t.Fatalf("ack: %v", err)
			}
		}
		lag, err := c.Lag(e.ctx(t), e.topic, "g")
		return err == nil && lag.Waiting == 0 && lag.Unsettled == 0
	})
}
