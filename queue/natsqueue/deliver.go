package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Receive implements driver.Receiver.
func (o *ordered) Receive(ctx context.Context, n int) ([]*driver.Delivery, error) {
	for {
		o.mu.Lock()
		if o.stopped {
			o.mu.Unlock()
			return nil, driver.ErrStopped
		}
		ds, more := o.collect(n)
		problem := o.problem
		o.problem = nil
		o.mu.Unlock()
		if len(ds) > 0 {
			return ds, nil
		}
		if problem != nil {
			return nil, problem
		}
		if err := waitFor(ctx, o.wake, more); err != nil {
			return nil, err
		}
	}
}

// collect takes what may be given out, and asks for more where there is room. more is when to look again.
func (o *ordered) collect(n int) (out []*driver.Delivery, more time.Duration) {
	now := time.Now()
	more = time.Second
	room := o.s.Window
	for _, l := range o.lanes {
		room -= len(l.held)
	}
	share := max(1, o.s.Window/max(1, len(o.lanes)))
	o.turn++
	for i := range maxLanes {
		l := o.lanes[(o.turn+i)%maxLanes]
		if l == nil || !l.leaving.IsZero() {
			continue
		}
		for len(out) < n && len(out) < room && l.again() {
			if g, ok := l.due(now); ok {
				out = append(out, l.give(g))
				continue
			}
			if !l.ready() {
				break
			}
			g, ok := o.fetch(l)
			if !ok {
				break
			}
			if g.message != nil {
				out = append(out, l.give(g))
			}
		}
		if at, ok := l.waits(); ok {
			more = min(more, max(time.Millisecond, at.Sub(now)))
		}
		if !l.attached {
			continue
		}
		wait, err := l.pull.ask(share, share) // what is fetched and not given out is nobody's
		if err != nil {
			l.attached = false
			signal(o.kick)
			continue
		}
		more = min(more, wait)
	}
	return out, more
}

// fetch takes one message of a lane from what has come. It has no message if that one is not to be given out.
func (o *ordered) fetch(l *lane) (g given, ok bool) {
	ms := l.pull.take(1)
	if len(ms) == 0 || !l.attached {
		return given{}, false
	}
	meta, err := ms[0].msg.Metadata()
	l.count++
	if err != nil || meta.Sequence.Consumer != l.count { // one was lost on the way
		l.attached = false
		signal(o.kick)
		return given{}, false
	}
	seq := meta.Sequence.Stream
	if !l.fetched(seq) {
		return given{}, true
	}
	return given{seq, decode(ms[0].msg.Header, ms[0].msg.Data), meta.Timestamp}, true
}

// Ack implements driver.Receiver. It returns when the records that say so are written.
func (o *ordered) Ack(ctx context.Context, ds []*driver.Delivery) error {
	need := make(map[*lane]uint64)
	lost := 0
	o.mu.Lock()
	for _, d := range ds {
		if r, ok := d.Ref.(ref); ok && o.lanes[r.lane.n] == r.lane && r.lane.settle(r.seq) {
			need[r.lane] = r.lane.version
		} else {
			lost++
		}
	}
	o.mu.Unlock()
	signal(o.kick)
	signal(o.wake) // there is room
	for l, version := range need {
		if err := o.wait(ctx, l, version); err != nil {
			return err
		}
	}
	if lost > 0 {
		return fmt.Errorf("%w: %d of %d are not in hand", driver.ErrLost, lost, len(ds))
	}
	return nil
}

// wait returns when a version of a lane is written.
func (o *ordered) wait(ctx context.Context, l *lane, version uint64) error {
	for {
		o.mu.Lock()
		done, mine, changed := l.written >= version, o.lanes[l.n] == l, o.changed
		o.mu.Unlock()
		switch {
		case done:
			return nil
		case !mine:
			return fmt.Errorf("%w: the lane was given to another instance", driver.ErrLost)
		}
		select {
		case <-changed:
		case <-o.done:
			return driver.ErrLost
		case <-ctx.Done():
			return errors.Join(driver.ErrLost, context.Cause(ctx))
		}
	}
}

// Return implements driver.Receiver. It comes back to this instance, or to whoever has the lane by then, who does not
// wait.
func (o *ordered) Return(_ context.Context, d *driver.Delivery, after time.Duration) error {
	o.mu.Lock()
	r, ok := d.Ref.(ref)
	ok = ok && o.lanes[r.lane.n] == r.lane && r.lane.takeBack(r.seq, time.Now().Add(after))
	o.mu.Unlock()
	signal(o.wake)
	signal(o.kick)
	if !ok {
		return driver.ErrLost
	}
	return nil
}

// Extend implements driver.Receiver: a lane is held by its member, not by time.
func (o *ordered) Extend(_ context.Context, ds []*driver.Delivery) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range ds {
		if r, ok := d.Ref.(ref); !ok || o.lanes[r.lane.n] != r.lane || r.lane.held[r.seq] == nil {
			return driver.ErrLost
		}
	}
	return nil
}

// Stop implements driver.Receiver. Lanes of which nothing is in hand are given up at once, the others when nothing is.
func (o *ordered) Stop() {
	o.mu.Lock()
	o.stopped = true
	o.mu.Unlock()
	signal(o.wake)
	signal(o.kick)
}
