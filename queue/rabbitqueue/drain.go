package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

const (
	drainEvery = 25 * time.Millisecond
	// drainIdle is how long nothing must have come of the old queue before it may be empty.
	drainIdle = 200 * time.Millisecond
	// drainPatience is how long a drain waits for other consumers of the old queue to be gone. Longer than the broker takes to
	// notice that one has died; who does not keep order may be there for ever.
	drainPatience = 10 * time.Second
	// answersWithin is how long the broker waits for a queue to say what it has. Then, and after a restart, it says nothing,
	// and no consumers. A queue has nothing that says so sureOfNothing times.
	answersWithin = 200 * time.Millisecond
	sureOfNothing = 4
	// ahead is the least that a consumer in order has in hand at the broker, over all lanes. A quorum queue puts what a dead
	// consumer had behind what came back before: in order only if its successor can be given all of that at once. So who
	// succeeds somebody must not take less than that one had, whatever its window.
	ahead = 128
)

// inOrder makes sure of the lanes of a group, and that nothing is routed to its old queue, unless that was done once and
// for all. laned says that it has the first of them.
func (a *asker) inOrder(ctx context.Context, topic, group string, laned bool) error {
	mark := a.e.names.drained(topic, group)
	if laned {
		if done, err := a.exchange(mark); err != nil || done {
			return err
		}
	} else if err := a.ch.ExchangeDelete(mark, false, false); err != nil { // somebody has deleted lanes: not said of those to come
		return err
	}
	err := a.alone(ctx, a.e.names.making(topic, group), func() error {
		if _, err := a.lanes(topic, group, a.e.topology.replicas(topic)); err != nil { // all: whoever made the first may not have come to the end
			return err
		}
		return a.unbind(topic, group)
	})
	if err != nil {
		return err
	}
	if !backoff.Pause(ctx, settling) {
		return ctx.Err()
	}
	return nil
}

// drain has what is in the old queue of a group handled, by one instance at a time, before anything of the lanes: these have what
// came after it, and of what came while they were made the same. Then it removes the queue. Should somebody
// make it again who does not ask for the lock, what is routed to that one is in the lanes as well.
func (r *receiver) drain(ctx context.Context, conn *connection) error {
	n := r.e.names
	old, mark := n.group(r.sub.Topic, r.sub.Group), n.drained(r.sub.Topic, r.sub.Group)
	a := &asker{e: r.e, conn: conn}
	if err := a.open(); err != nil {
		return explain(err)
	}
	defer func() { _ = a.ch.Close() }()
	if _, over, err := a.drained(old, mark); err != nil || over {
		return explain(err)
	}
	return explain(a.alone(ctx, n.moving(r.sub.Topic, r.sub.Group), func() error {
		there, over, err := a.drained(old, mark) // meanwhile
		if err != nil || over {
			return err
		}
		if there {
			done, err := a.exchange(mark)
			if err == nil && !done {
				done, err = r.handle(ctx, a, old)
			}
			if err != nil || !done {
				return err
			}
			if _, err := a.ch.QueueDelete(old, false, false, false); err != nil {
				return err
			}
		}
		return a.direct(mark)
	}))
}

// drained reports whether the old queue of a group is there, and whether nothing is to be done about it any more.
func (a *asker) drained(old, mark string) (there, over bool, err error) {
	done, err := a.exchange(mark)
	if err != nil {
		return false, false, err
	}
	_, there, err = a.queue(old)
	return there, done && !there, err
}

// handle has what is in the old queue handled, and reports whether that was all of it, for certain. It is not if we stop
// before, or if others take from it.
func (r *receiver) handle(ctx context.Context, a *asker, old string) (all bool, err error) {
	for ctx.Err() == nil {
		if err := a.left(ctx, old); err != nil {
			return false, err
		}
		s, deliveries, err := newConsumer(r, old, drainLane, max(ahead, r.window)).open(a.conn)
		if err != nil {
			return false, err
		}
		r.mu.Lock()
		if r.stopped {
			s.hold()
		}
		r.live[s] = struct{}{}
		r.mu.Unlock()
		var pumping sync.WaitGroup
		over, stop := context.WithCancel(ctx)
		broken := make(chan error, 1)
		pumping.Go(func() { broken <- r.pump(over, s, deliveries) })
		more, alone, err := r.handled(ctx, s, a, broken, old)
		stop()
		pumping.Wait()
		r.mu.Lock()
		r.end(s)
		left := s.left
		r.mu.Unlock()
		s.closeNow()
		if err != nil || left || !more {
			return alone && !left, err
		}
	}
	return false, ctx.Err()
}

// left waits until nobody consumes from the old queue: who has had it handled before may have died, and the connection's end,
// and with it the lock's, comes before the queue hears of it. A consumer that comes earlier would be given what is behind of
// what that one had in hand.
func (a *asker) left(ctx context.Context, old string) error {
	begun := time.Now()
	for nothing := 0; ; {
		asked := time.Now()
		q, _, err := a.queue(old)
		switch {
		case err != nil:
			return err
		case q.Consumers > 0:
			nothing = 0
		case q.Messages > 0: // the queue itself says so
			return nil
		case time.Since(asked) < answersWithin: // otherwise the broker has given up asking the queue
			nothing++
		}
		if nothing == sureOfNothing || time.Since(begun) > drainPatience && q.Consumers > 0 {
			return nil
		}
		if !backoff.Pause(ctx, 2*drainEvery) {
			return ctx.Err()
		}
	}
}

// handled waits until the queue of a session is empty, and all of it settled. alone says that nobody else can have
// had anything of it in hand then, and more that something has come of it nevertheless.
//
// A queue looks empty while somebody who died still has in hand what it had. Such a consumer counts until that is back. The
// queue is not asked for a message: one that is put back goes behind others that were.
func (r *receiver) handled(ctx context.Context, s *session, a *asker, broken <-chan error, queue string) (more, alone bool, err error) {
	begun, quiet, seen := time.Now(), time.Now(), uint64(0)
	for backoff.Pause(ctx, drainEvery) {
		select {
		case err := <-broken:
			return false, false, err
		default:
		}
		r.mu.Lock()
		left, open, high := s.left, s.open(), s.tags.high
		r.mu.Unlock()
		if left {
			return false, false, nil
		}
		if open || high != seen {
			quiet, seen = time.Now(), high
			continue
		}
		if time.Since(quiet) < drainIdle {
			continue
		}
		q, _, err := a.queue(queue)
		switch {
		case err != nil:
			return false, false, err
		case q.Consumers == 0: // not even we: the broker did not ask the queue
			continue
		case q.Messages > 0:
			continue
		case q.Consumers > 1 && time.Since(begun) < drainPatience:
			continue
		}
		more, err = r.flushed(ctx, s, broken)
		return more, q.Consumers == 1, err
	}
	return false, false, ctx.Err()
}

// flushed has the broker deliver nothing more, and reports whether something was on its way. If so it is settled when
// flushed returns, or goes back with the channel.
func (r *receiver) flushed(ctx context.Context, s *session, broken <-chan error) (more bool, err error) {
	if err := s.cancel(); err != nil {
		return false, err
	}
	select {
	case err = <-broken: // the end of the deliveries, after the last of them
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if !errors.Is(err, errEnded) {
		return false, err
	}
	for more := false; ; more = true {
		r.mu.Lock()
		open := !s.left && s.open()
		r.mu.Unlock()
		if !open {
			return more, nil
		}
		if !backoff.Pause(ctx, drainEvery) {
			return true, ctx.Err()
		}
	}
}

// strays sees to the old queue again, should a publisher have made one after it was handled, or should others have had
// something of it in hand.
func (r *receiver) strays() {
	conn := r.e.consume.live.Load()
	r.preparing.Lock()
	defer r.preparing.Unlock()
	r.mu.Lock()
	wanted := conn != nil && r.prepared == conn && !r.stopped
	r.mu.Unlock()
	if wanted {
		if err := r.drain(r.ctx, conn); err != nil {
			r.tell(fmt.Errorf("drain the old queue of %s: %w", r.sub.Group, err))
		}
	}
}
