package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// reach is how many messages of a queue can be looked at: the most that a consumer may have in hand.
	reach = 60_000
	// sorted is how many bytes of messages are read of a queue to find the oldest of it: that takes a second or two.
	sorted = 64 << 20
	// quiet is for how long nothing comes of a queue before it is asked whether that was all.
	quiet     = 30 * time.Millisecond
	lockEvery = 50 * time.Millisecond
	// restoreWithin is how long what was looked at may take to be back: longer, and somebody who keeps to no lock has it.
	restoreWithin = 5 * time.Second
)

// Bury implements driver.Engine. What came from elsewhere may be larger than what we send, or than what the broker takes by now:
// cut is better than handled for ever.
func (e *Engine) Bury(ctx context.Context, topic, group string, m *driver.Message) error {
	e.topology.know(topic, []string{group}, 0)
	for room := min(len(m.Data), maxMessage); ; room /= 2 {
		errs := e.send(ctx, target{
			topic: topic, group: group, key: e.names.dead(topic, group), header: headerPosition, value: position(time.Now()),
		}, []*driver.Message{driver.CutTo(m, room)})
		if errs == nil {
			return nil
		}
		if room == 0 || !errors.Is(errs[0], driver.ErrTooLarge) {
			return fmt.Errorf("bury: %w", errs[0])
		}
	}
}

// Dead implements driver.Engine. The first 60,000 letters can be looked at. For a page the first 64 MiB of them are, and what is needed
// beyond. Who looks at the same time waits.
func (e *Engine) Dead(ctx context.Context, topic, group, after string, limit int) ([]driver.Dead, error) {
	if limit <= 0 {
		return nil, nil
	}
	p := page{after: after, limit: limit}
	if err := e.look(ctx, e.names.dead(topic, group), reach, p.visit); err != nil {
		return nil, fmt.Errorf("dead letters of %s at %s: %w", group, topic, err)
	}
	return p.found, nil
}

// page collects a page of letters by their positions. Nothing bounds how far those are from the order of the queue, so it should
// see all: clocks differ and are set back, and letters that were looked at may come back late. Of more than can be read while
// somebody waits, the order of the queue is believed.
type page struct {
	after string
	limit int

	read  int           // bytes of the letters so far
	found []driver.Dead // the first of those seen, at most limit, in the order of their positions
}

// visit is look's. It takes nothing.
func (p *page) visit(d *amqp.Delivery) (take, more bool) {
	p.read += len(d.Body)
	pos := positionOf(d.Headers)
	if pos <= p.after && (pos != "" || p.after != "") {
		return false, true
	}
	i, _ := slices.BinarySearchFunc(p.found, pos, func(d driver.Dead, pos string) int {
		if d.Position <= pos { // behind those with the same one
			return -1
		}
		return 1
	})
	if i == p.limit {
		return false, p.read < sorted
	}
	if len(p.found) == p.limit {
		p.found = p.found[:p.limit-1]
	}
	p.found = slices.Insert(p.found, i, driver.Dead{Position: pos, Buried: buriedAt(pos), Message: decode(d)})
	return false, true
}

// Exhume implements driver.Engine.
func (e *Engine) Exhume(ctx context.Context, topic, group string, positions []string) (int, error) {
	wanted := make(map[string]bool, len(positions))
	for _, p := range positions {
		wanted[p] = true
	}
	n := 0
	err := e.look(ctx, e.names.dead(topic, group), reach, func(d *amqp.Delivery) (take, more bool) {
		p := positionOf(d.Headers)
		if take = wanted[p]; take {
			n++
			delete(wanted, p)
		}
		return take, len(wanted) > 0
	})
	if err != nil {
		return 0, fmt.Errorf("exhume letters of %s at %s: %w", group, topic, err)
	}
	return n, nil
}

// look shows visit what is in a queue, from its beginning, until it wants no more. What it takes is removed, the rest is
// put back as it was. Nobody else looks at the queue meanwhile. A queue that is not there is empty. visit may be called
// after look returned because of ctx.
func (e *Engine) look(ctx context.Context, queue string, ahead int, visit func(*amqp.Delivery) (take, more bool)) error {
	return e.ask(ctx, func(ctx context.Context, a *asker) error {
		_, ok, err := a.queue(queue)
		if err != nil || !ok {
			return err
		}
		return a.alone(ctx, e.names.browsing(queue), func() error {
			before, _, err := a.queue(queue)
			if err != nil {
				return err
			}
			seen, taken, err := a.browse(ctx, queue, ahead, visit)
			if err != nil {
				return err
			}
			return a.restored(ctx, queue, max(before.Messages, seen)-taken)
		})
	})
}

// alone calls f while nobody else, in this process or another, is alone by that name.
func (a *asker) alone(ctx context.Context, name string, f func() error) error {
	held, _ := a.e.alone.LoadOrStore(name, make(chan struct{}, 1)) // the broker takes all of a connection for one
	mutex := held.(chan struct{})                                  //nolint:forcetypeassert // nothing else is stored
	select {
	case mutex <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-mutex }()
	unlock, err := a.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// restored waits until a queue has so many messages again: what a channel had in hand goes back shortly after its end.
func (a *asker) restored(ctx context.Context, queue string, n int) error {
	for wait, begun := time.Millisecond, time.Now(); time.Since(begun) < restoreWithin; wait *= 2 {
		q, ok, err := a.queue(queue)
		if err != nil || !ok || q.Messages >= n {
			return err
		}
		if !backoff.Pause(ctx, wait) {
			return ctx.Err()
		}
	}
	return nil // somebody who keeps to no lock takes them
}

// lock waits until this connection has a name for itself. It is a queue that belongs to the connection, so that it goes
// with it.
func (a *asker) lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		_, err := a.ch.QueueDeclare(name, false, true, true, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic})
		if err == nil {
			break
		}
		if !errors.Is(explain(err), errLocked) {
			return nil, err
		}
		if !backoff.Pause(ctx, lockEvery+backoff.Jitter(0, lockEvery)) {
			return nil, ctx.Err()
		}
		if err := a.open(); err != nil {
			return nil, err
		}
	}
	return func() {
		if ch, err := a.conn.amqp.Channel(); err == nil { // ours may be closed
			_, _ = ch.QueueDelete(name, false, false, false)
			_ = ch.Close()
		}
	}, nil
}

// browse reads a queue on a channel of its own, whose end puts back what was not taken, in its order.
func (a *asker) browse(ctx context.Context, queue string, ahead int, visit func(*amqp.Delivery) (take, more bool)) (seen, taken int, err error) {
	ch, err := a.conn.amqp.Channel()
	if err != nil {
		return 0, 0, err
	}
	defer ch.Close() //nolint:errcheck // it is closed either way
	if err := ch.Qos(ahead, 0, false); err != nil {
		return 0, 0, err
	}
	deliveries, err := ch.Consume(queue, "browse", false, false, false, false, nil)
	if err != nil {
		return 0, 0, err
	}
	empty := false // an answer said so: the consumer was given all there is, and it comes soon
	idle := time.NewTimer(quiet)
	defer idle.Stop()
	for more := true; more && seen < ahead; idle.Reset(quiet) {
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case d, ok := <-deliveries:
			if !ok {
				return 0, 0, errors.New("the broker ended it")
			}
			var take bool
			seen++
			if take, more = visit(&d); !take {
				continue
			}
			taken++
			if err := ch.Ack(d.DeliveryTag, false); err != nil {
				return 0, 0, err
			}
		case <-idle.C:
			if more = !empty; !more {
				break
			}
			if empty, err = a.empty(queue); err != nil {
				return 0, 0, err
			}
			if empty { // what it was given is before this answer
				if _, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil); err != nil {
					return 0, 0, err
				}
			}
		}
	}
	if taken > 0 { // an answer on this channel says that it has dealt with what came before
		_, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	}
	return seen, taken, err
}

// empty reports whether a queue has nothing to give. Unlike what a declaration says, which is zero after a restart, it is
// asked of the log. What it has goes behind what was put back before: that is no question for a queue in order.
func (a *asker) empty(queue string) (bool, error) {
	d, ok, err := a.ch.Get(queue, false)
	if err != nil || !ok {
		return !ok, err
	}
	return false, a.ch.Nack(d.DeliveryTag, false, true)
}

// count says what the queues of a group have.
func (e *Engine) count(ctx context.Context, topic, group string) (driver.Lag, error) {
	n := e.names
	waiting := e.delayed(topic, group)
	var lag driver.Lag
	answer := make(chan driver.Lag, 1)
	err := e.ask(ctx, func(_ context.Context, a *asker) error {
		var lag driver.Lag
		if q, ok, err := a.queue(n.dead(topic, group)); err != nil || !ok {
			return err
		} else {
			lag.Dead = int64(q.Messages)
		}
		queues := append([]string{n.group(topic, group)}, waiting...)
		if laned, err := a.laned(topic, group); err != nil {
			return err
		} else if laned {
			for i := range lanes {
				queues = append(queues, n.lane(topic, group, i))
			}
		}
		for _, name := range queues {
			q, _, err := a.queue(name)
			if err != nil {
				return err
			}
			lag.Waiting += int64(q.Messages)
		}
		answer <- lag
		return nil
	})
	if err != nil {
		return driver.Lag{}, err
	}
	select {
	case lag = <-answer:
	default: // there is no such group
	}
	return lag, nil
}
