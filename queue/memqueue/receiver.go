package memqueue

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// receiver is one instance of a group. Its fields need the broker's mu, except for those that never change.
type receiver struct {
	e    *Engine
	s    driver.Subscription
	wake chan struct{} // has room for one: there may be something
	done chan struct{} // closed by Stop

	stopped, closed bool
	g               *group // nil while it has none: before the first Receive after the engine was wiped
	held            map[*entry]struct{}
	mine            bySeq         // of keys that it owns, to be delivered to it
	revoked         chan struct{} // of deliveries to come
	alarm           *time.Timer   // for what is held too long; nil while it is not set
}

var _ driver.Receiver = (*receiver)(nil)

func newReceiver(e *Engine, s driver.Subscription) *receiver {
	return &receiver{
		e: e, s: s, wake: make(chan struct{}, 1), done: make(chan struct{}), held: make(map[*entry]struct{}), revoked: make(chan struct{}),
	}
}

func (r *receiver) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *receiver) attach() {
	if r.g == nil {
		r.g = r.e.b.group(r.e.b.topic(r.s.Topic), r.s.Group)
		r.g.receivers[r] = struct{}{}
		r.g.arm()
	}
}

// detach gives everything back, as the end of a connection does.
func (r *receiver) detach() {
	if r.g == nil {
		return
	}
	g := r.g
	delete(g.receivers, r)
	for e := range r.held {
		r.drop(e)
		g.back(e, time.Time{})
	}
	for len(r.mine) > 0 {
		e := heap.Pop(&r.mine).(*entry)
		g.waiting--
		r.leave(e)
		g.back(e, time.Time{})
	}
	g.arm()
	r.g = nil
}

// drop takes an entry out of held.
func (r *receiver) drop(e *entry) {
	delete(r.held, e)
	r.g.held--
	r.leave(e)
	if !r.stopped || !r.s.Ordered || e.m.Key == "" {
		return
	}
	for other := range r.held {
		if other.m.Key == e.m.Key {
			return
		}
	}
	r.giveBack(map[string]bool{e.m.Key: true}) // what waits for its owner, who takes no more
}

// leave makes the lane of an entry shorter that was in held or mine.
func (r *receiver) leave(e *entry) {
	if !r.s.Ordered || e.m.Key == "" {
		return
	}
	l := r.g.lanes[e.m.Key]
	if l.n--; l.n == 0 {
		delete(r.g.lanes, e.m.Key)
		r.g.wake()
	}
}

// Receive implements driver.Receiver.
func (r *receiver) Receive(ctx context.Context, n int) ([]*driver.Delivery, error) {
	for {
		select {
		case <-r.done:
			return nil, driver.ErrStopped
		default:
		}
		var out []*driver.Delivery
		changed := r.e.changes()
		err := r.passUntilStop(ctx)
		if err == nil {
			r.e.b.mu.Lock()
			if !r.stopped {
				r.attach()
				out = r.take(n)
			}
			r.e.b.mu.Unlock()
		}
		if err != nil || len(out) > 0 {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.done:
		case <-r.wake:
		case <-changed.link:
		case <-changed.broker:
		}
	}
}

// passUntilStop is pass that also ends with Stop.
func (r *receiver) passUntilStop(ctx context.Context) error {
	if !r.e.link.blocked() && !r.e.b.link.blocked() {
		return r.e.pass(ctx)
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		select {
		case <-r.done:
			cancel()
		case <-inner.Done():
		}
	}()
	err := r.e.pass(inner)
	cancel()
	<-joined
	if err != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return driver.ErrStopped
	}
	return err
}

// take returns at most n deliveries, as far as the window is open.
func (r *receiver) take(n int) []*driver.Delivery {
	n = min(n, r.s.Window-len(r.held))
	if n <= 0 {
		return nil
	}
	now := time.Now()
	var out []*driver.Delivery
	for len(out) < n {
		e := r.pick(now)
		if e == nil {
			break
		}
		e.count++
		e.expires = now.Add(r.s.Hold)
		e.now = &driver.Delivery{Message: clone(e.m), Count: e.count, Stored: e.at, Revoked: r.revoked, Ref: e}
		r.held[e] = struct{}{}
		r.g.held++
		out = append(out, e.now)
	}
	r.watch(now)
	return out
}

// pick takes the next entry out of where it waits; its lane counts it.
func (r *receiver) pick(now time.Time) *entry {
	for {
		if len(r.mine) > 0 {
			r.g.waiting--
			return heap.Pop(&r.mine).(*entry)
		}
		e := r.g.next(now)
		if e == nil {
			return nil
		}
		if !r.s.Ordered || e.m.Key == "" {
			r.g.waiting--
			return e
		}
		l := r.g.lanes[e.m.Key]
		if l == nil {
			l = &lane{owner: r}
			r.g.lanes[e.m.Key] = l
		}
		l.n++
		if l.owner == r {
			r.g.waiting--
			return e
		}
		heap.Push(&l.owner.mine, e)
		l.owner.poke()
	}
}

// watch sets the alarm for what will have been held for too long.
func (r *receiver) watch(now time.Time) {
	if r.alarm != nil || len(r.held) == 0 || r.closed {
		return
	}
	first := time.Time{}
	for e := range r.held {
		if first.IsZero() || e.expires.Before(first) {
			first = e.expires
		}
	}
	r.alarm = time.AfterFunc(max(first.Sub(now), 1), r.expire)
}

// expire gives back what was held for too long; of an ordered subscription everything of its key.
func (r *receiver) expire() {
	r.e.b.mu.Lock()
	defer r.e.b.mu.Unlock()
	r.alarm = nil
	if r.g == nil || r.closed {
		return
	}
	now := time.Now()
	if r.e.b.link.blocked() { // an engine that is frozen has no clock
		r.alarm = time.AfterFunc(r.s.Hold/4+1, r.expire)
		return
	}
	keys := make(map[string]bool)
	for e := range r.held {
		if !e.expires.After(now) {
			keys[e.m.Key] = true
			if e.m.Key == "" || !r.s.Ordered {
				r.drop(e)
				r.g.back(e, time.Time{})
			}
		}
	}
	if r.s.Ordered {
		delete(keys, "")
		r.giveBack(keys)
	}
	r.watch(now)
}

// giveBack gives back everything of these keys.
func (r *receiver) giveBack(keys map[string]bool) {
	if len(keys) == 0 {
		return
	}
	for e := range r.held {
		if keys[e.m.Key] {
			r.drop(e)
			r.g.back(e, time.Time{})
		}
	}
	rest := r.mine[:0:0]
	for _, e := range r.mine {
		if !keys[e.m.Key] {
			rest = append(rest, e)
			continue
		}
		r.g.waiting--
		r.leave(e)
		r.g.back(e, time.Time{})
	}
	r.mine = rest
	heap.Init(&r.mine)
}

// ours returns the entry of a delivery that is not lost.
func (r *receiver) ours(d *driver.Delivery) *entry {
	e, _ := d.Ref.(*entry)
	if e == nil || e.now != d {
		return nil
	}
	if _, ok := r.held[e]; !ok {
		return nil
	}
	return e
}

// each calls fn for deliveries that are not lost.
func (r *receiver) each(ctx context.Context, ds []*driver.Delivery, fn func(*entry)) error {
	return r.e.call(ctx, func() error {
		var err error
		for _, d := range ds {
			if e := r.ours(d); e != nil {
				fn(e)
			} else {
				err = driver.ErrLost
			}
		}
		return err
	})
}

// Ack implements driver.Receiver.
func (r *receiver) Ack(ctx context.Context, ds []*driver.Delivery) error {
	return r.each(ctx, ds, func(e *entry) {
		full := len(r.held) >= r.s.Window
		r.drop(e)
		r.g.settled(e)
		if full {
			r.poke()
		}
	})
}

// Return implements driver.Receiver.
func (r *receiver) Return(ctx context.Context, d *driver.Delivery, after time.Duration) error {
	return r.each(ctx, []*driver.Delivery{d}, func(e *entry) {
		r.drop(e)
		due := time.Time{}
		if after > 0 {
			due = time.Now().Add(after)
		}
		r.g.back(e, due)
		r.poke()
	})
}

// Extend implements driver.Receiver.
func (r *receiver) Extend(ctx context.Context, ds []*driver.Delivery) error {
	expires := time.Now().Add(r.s.Hold)
	return r.each(ctx, ds, func(e *entry) { e.expires = expires })
}

// Stop implements driver.Receiver.
func (r *receiver) Stop() {
	r.e.b.mu.Lock()
	defer r.e.b.mu.Unlock()
	r.stop()
}

func (r *receiver) stop() {
	if r.stopped {
		return
	}
	r.stopped = true
	close(r.done)
	if r.g == nil {
		return
	}
	keys := make(map[string]bool) // those that nothing is held of; the others go with the last that is
	for _, e := range r.mine {
		keys[e.m.Key] = true
	}
	for e := range r.held {
		delete(keys, e.m.Key)
	}
	r.giveBack(keys)
}

// Close implements driver.Receiver.
func (r *receiver) Close() error {
	r.e.b.mu.Lock()
	defer r.e.b.mu.Unlock()
	r.stop()
	r.closed = true
	if r.alarm != nil {
		r.alarm.Stop()
		r.alarm = nil
	}
	r.detach()
	delete(r.e.receivers, r)
	return nil
}
