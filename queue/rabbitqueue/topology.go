package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// deliveryLimit is what the broker may count up to before it drops a message by itself: never. Package queue decides
	// what is poison. It must be set: without a limit RabbitMQ 3 puts what is given back behind all others, and RabbitMQ 4
	// has one of 20.
	deliveryLimit = 1 << 30
	// settling is how old a queue must be before anything is confirmed that is in it: RabbitMQ writes down half a second
	// after its creation that a quorum queue has a log. After a kill -9 before that the queue is empty and stays without a
	// leader (rabbitmq-server issue 15725).
	settling = 1200 * time.Millisecond
	// maxBare is how many topics are remembered of which only the name is known.
	maxBare = 4096
	// verifyEvery is how often a publisher looks whether the queues of a topic are still there that has several groups: what is published
	// comes back only if none takes it.
	verifyEvery = time.Minute
	// verifyWithin is how long a publication waits for what is found.
	verifyWithin = 250 * time.Millisecond
)

// topology is what this process has been told of, and what of it was found or made on which connection: each new one may
// be to a broker that lost everything.
type topology struct {
	mu     sync.Mutex
	topics map[string]*topicState
	bare   int // of them, that are
}

// topicState is guarded by topology.mu.
type topicState struct {
	groups   []string
	replicas int
	on       *connection   // declared on it, or nil
	verified time.Time     // when somebody declared it, or looked, last
	busy     chan struct{} // not nil while it is being declared, closed at the end
	version  int           // counts changes of what there is to declare
}

// bare reports whether nothing is known of it but its name, which may come from outside.
func (s *topicState) bare() bool { return len(s.groups) == 0 && s.replicas == 0 }

// overdue reports whether somebody is to look whether all of it is still there.
func (s *topicState) overdue() bool {
	return len(s.groups) > 1 && time.Since(s.verified) >= verifyEvery
}

// know adds to what is declared.
func (t *topology) know(topic string, groups []string, replicas int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.topics[topic]
	if s == nil {
		s = &topicState{version: 1}
		if t.topics == nil {
			t.topics = make(map[string]*topicState)
		}
		t.topics[topic] = s
	} else if s.bare() {
		t.bare--
	}
	if replicas > 0 {
		s.replicas = replicas
	}
	for _, g := range groups {
		if !slices.Contains(s.groups, g) {
			s.groups = append(s.groups, g)
			s.on = nil
			s.version++
		}
	}
	if s.bare() {
		t.bare++
		t.makeRoom(s)
	}
}

// makeRoom forgets a topic of which there is nothing to forget, if there are too many: should the broker not have it any more, its next
// publication finds that out and declares it. t.mu is held.
func (t *topology) makeRoom(but *topicState) {
	if t.bare <= maxBare {
		return
	}
	for name, s := range t.topics {
		if s != but && s.bare() && s.busy == nil {
			delete(t.topics, name)
			t.bare--
			return
		}
	}
}

// known reports whether the topic has groups, as far as this process was told.
func (t *topology) known(topic string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.topics[topic]
	return s != nil && len(s.groups) > 0
}

// replicas returns what this process was told of those of a topic, 0 if nothing.
func (t *topology) replicas(topic string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.topics[topic]; s != nil {
		return s.replicas
	}
	return 0
}

// doubt makes the next use declare everything again.
func (t *topology) doubt(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.topics[topic]; s != nil {
		s.on = nil
	}
}

// declared makes sure that a topic was declared since conn was made. Many may call it at once: one declares, and one looks now and then
// whether it is all still there.
func (e *Engine) declared(ctx context.Context, topic string, conn *connection) error {
	for {
		e.topology.mu.Lock()
		s := e.topology.topics[topic]
		switch {
		case s == nil, s.on == conn && !s.overdue(): // nobody has declared it here: the broker says whether it is there
			e.topology.mu.Unlock()
			return nil
		case s.on == conn:
			s.verified = time.Now() // others go on meanwhile
			groups := slices.Clone(s.groups)
			e.topology.mu.Unlock()
			e.verify(ctx, topic, groups)
			continue
		case s.busy != nil:
			busy := s.busy
			e.topology.mu.Unlock()
			select {
			case <-busy:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.busy = make(chan struct{})
		version, groups, replicas := s.version, slices.Clone(s.groups), s.replicas
		e.topology.mu.Unlock()

		err := e.ask(ctx, func(ctx context.Context, a *asker) error { return a.topic(ctx, topic, groups, replicas) })

		e.topology.mu.Lock()
		close(s.busy)
		s.busy = nil
		if err == nil && s.version == version {
			s.on, s.verified = conn, time.Now()
		}
		e.topology.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// verify has a topic declared again if one of its queues is not there. It does not wait for long, since most are: what is found later is
// for the next publication.
func (e *Engine) verify(ctx context.Context, topic string, groups []string) {
	ctx, cancel := context.WithTimeout(ctx, verifyWithin)
	defer cancel()
	_ = e.ask(ctx, func(_ context.Context, a *asker) error { // a broker that does not answer says nothing of queues
		for _, g := range groups {
			whole, err := a.whole(topic, g)
			if err != nil {
				return err
			}
			if !whole {
				e.topology.doubt(topic)
				return nil
			}
		}
		return nil
	})
}

// declare declares a topic whatever is known.
func (e *Engine) declare(ctx context.Context, topic string) error {
	e.topology.doubt(topic)
	conn, err := e.publish.get(ctx)
	if err != nil {
		return err
	}
	return e.declared(ctx, topic, conn)
}

// topic makes sure of a topic and its groups.
func (a *asker) topic(ctx context.Context, topic string, groups []string, replicas int) error {
	if err := a.direct(a.e.names.topic(topic)); err != nil {
		return err
	}
	young := false
	for _, g := range groups {
		created, err := a.group(ctx, topic, g, replicas)
		if err != nil {
			return fmt.Errorf("group %s: %w", g, err)
		}
		young = young || created
	}
	if young && !backoff.Pause(ctx, settling) {
		return ctx.Err()
	}
	return nil
}

// direct declares a durable exchange. One of another kind is refused by the broker.
func (a *asker) direct(name string) error {
	return a.ch.ExchangeDeclare(name, amqp.ExchangeDirect, true, false, false, false, nil)
}

// group makes sure of a group, in the one of the two kinds that it has. created says that a queue is new.
func (a *asker) group(ctx context.Context, topic, group string, replicas int) (created bool, err error) {
	n := a.e.names
	laned, err := a.laned(topic, group)
	if err != nil {
		return false, err
	}
	listed, err := a.exchange(n.group(topic, group))
	if err != nil {
		return false, err
	}
	if !listed { // first the index: a group that is in it and not there yet does no harm
		if err := a.e.enlist(ctx, a, topic, group); err != nil {
			return false, err
		}
		if err := a.direct(n.group(topic, group)); err != nil {
			return false, err
		}
	}
	made, err := a.quorum(n.dead(topic, group), replicas, nil)
	if err != nil {
		return false, err
	}
	created = created || made
	if laned {
		made, err = a.lanes(topic, group, replicas)
		return created || made, err
	}
	// Somebody may have subscribed in order since we looked. Nothing must be routed to the old queue then: it would be handled
	// before what the lanes have had before.
	err = a.alone(ctx, n.making(topic, group), func() error {
		laned, err := a.laned(topic, group)
		switch {
		case err != nil:
			return err
		case laned:
			made, err = a.lanes(topic, group, replicas)
			return err
		}
		old := n.group(topic, group)
		if made, err = a.quorum(old, replicas, nil); err != nil {
			return err
		}
		for i := range lanes {
			if err := a.bind(old, topic, group, i); err != nil {
				return err
			}
		}
		return nil
	})
	return created || made, err
}

// laned reports whether a group has lanes.
func (a *asker) laned(topic, group string) (bool, error) {
	_, ok, err := a.queue(a.e.names.lane(topic, group, 0))
	switch g := (driver.Group{Topic: topic, Group: group}); {
	case err != nil:
		return false, err
	case ok:
		a.e.laned.Store(g, true)
	default:
		a.e.laned.Delete(g)
	}
	return ok, nil
}

// whole reports whether what is published to a group has a queue, whatever its lane. It asks first for what was there before: each no
// costs a channel, and a line in the broker's log.
func (a *asker) whole(topic, group string) (bool, error) {
	n := a.e.names
	if _, laned := a.e.laned.Load(driver.Group{Topic: topic, Group: group}); !laned {
		if _, ok, err := a.queue(n.group(topic, group)); err != nil || ok {
			return ok, err
		}
	}
	if laned, err := a.laned(topic, group); err != nil || !laned {
		return false, err
	}
	for i := 1; i < lanes; i++ {
		if _, ok, err := a.queue(n.lane(topic, group, i)); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// lanes makes sure of the lanes of a group. It must exist otherwise.
func (a *asker) lanes(topic, group string, replicas int) (created bool, err error) {
	for i := range lanes {
		q := a.e.names.lane(topic, group, i)
		made, err := a.quorum(q, replicas, amqp.Table{"x-single-active-consumer": true})
		if err != nil {
			return created, err
		}
		created = created || made
		if err := a.bind(q, topic, group, i); err != nil {
			return created, err
		}
	}
	return created, nil
}

// bind routes a lane to a queue, from the topic and from what is for the group alone.
func (a *asker) bind(queue, topic, group string, lane int) error {
	return errors.Join(
		a.ch.QueueBind(queue, laneName(lane), a.e.names.topic(topic), false, nil),
		a.ch.QueueBind(queue, laneName(lane), a.e.names.group(topic, group), false, nil))
}

// unbind routes nothing to the old queue of a group any more, if there is one. All lanes must be bound.
func (a *asker) unbind(topic, group string) error {
	old := a.e.names.group(topic, group)
	if _, ok, err := a.queue(old); err != nil || !ok {
		return err
	}
	for i := range lanes {
		err := errors.Join(
			a.ch.QueueUnbind(old, laneName(i), a.e.names.topic(topic), nil),
			a.ch.QueueUnbind(old, laneName(i), a.e.names.group(topic, group), nil))
		if err != nil {
			return err
		}
	}
	return nil
}

// quorum makes sure of a quorum queue. One that exists is left as it is, whatever its settings. created says that it is new, whoever
// made it.
func (a *asker) quorum(name string, replicas int, more amqp.Table) (created bool, err error) {
	if _, ok, err := a.queue(name); ok || err != nil {
		return false, err
	}
	args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": int64(deliveryLimit)}
	if replicas > 0 {
		args["x-quorum-initial-group-size"] = int64(replicas)
	}
	for k, v := range more {
		args[k] = v
	}
	_, err = a.ch.QueueDeclare(name, true, false, false, false, args)
	var e *amqp.Error
	if !errors.As(err, &e) || !e.Server || e.Code != amqp.PreconditionFailed {
		return err == nil, err
	}
	// Somebody may have made it since we looked, who was told something else of its topic.
	if again := a.open(); again != nil {
		return false, again
	}
	if _, ok, again := a.queue(name); ok || again != nil {
		return ok, again
	}
	return false, err
}

// delay makes sure of the queue of what waits for d, and of the exchange before it: straight to the queue, a message would
// lose its routing key, which is its lane. It is not young afterwards.
func (e *Engine) delay(ctx context.Context, topic, group string, d time.Duration) error {
	return e.ask(ctx, func(ctx context.Context, a *asker) error {
		name := e.names.delay(topic, group, d)
		created, err := a.quorum(name, e.topology.replicas(topic), amqp.Table{
			amqp.QueueMessageTTLArg:  d.Milliseconds(),
			"x-dead-letter-exchange": e.names.group(topic, group),
			"x-dead-letter-strategy": "at-least-once", // otherwise what is on its way during a crash is lost
			amqp.QueueOverflowArg:    amqp.QueueOverflowRejectPublish,
		})
		if err != nil {
			return err
		}
		if err := a.ch.ExchangeDeclare(name, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
			return err
		}
		if err := a.ch.QueueBind(name, "", name, false, nil); err != nil {
			return err
		}
		if created && !backoff.Pause(ctx, settling) {
			return ctx.Err()
		}
		return nil
	})
}
