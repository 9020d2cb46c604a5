// Package rabbitqueue keeps messages in RabbitMQ, in quorum queues: on the disks of most of its nodes before a publish is
// confirmed.
//
//	PREFIX:TOPIC                    direct exchange of a topic; messages are routed by their lane, a hash of the key
//	PREFIX:TOPIC:GROUP              the queue of a group, and an exchange of what is for it alone
//	PREFIX:TOPIC:GROUP:lane-N       the eight queues of an ordered group: one active consumer each
//	PREFIX:TOPIC:GROUP:drained      an exchange that nothing is published to: the old queue was handled, and is no more
//	PREFIX:TOPIC:GROUP:members      has nothing but consumers: the instances of an ordered group, to be counted
//	PREFIX:TOPIC:GROUP:dead         its dead letters
//	PREFIX:TOPIC:GROUP:delay-MS     what was given back and waits, as long as the name says
//	PREFIX:index                    which groups there are; AMQP cannot list queues
//
// A group gets lanes when it is first subscribed to as an ordered one; what its old queue has is handled before, and the
// queue is deleted. It has them from then on, for whoever subscribes.
//
// The recovery of the client library is not used: it retries declarations that are refused, gives consumers that come
// back deliveries they cannot acknowledge any more, and tells publishers nothing of what was not confirmed.
package rabbitqueue

import (
	"context"
	"fmt"
	"sync"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Engine implements driver.Engine on RabbitMQ. It keeps two connections: RabbitMQ stops reading from connections that
// publish when it is short of memory or disk, and acknowledgements must get through then. Safe for concurrent use.
type Engine struct {
	cfg   Config
	names names

	publish *link
	consume *link // and everything else that is asked

	budget *budget
	pool   pool
	asks   chan struct{} // a place for each question under way

	topology topology
	alone    sync.Map // by the name of a lock: who has it, of this process
	laned    sync.Map // by the driver.Group: it had lanes when somebody here looked last
	waits    sync.Map // by the delayKey: the connection since which its queue is known to be there

	wg        sync.WaitGroup // everything that may wait for the broker
	mu        sync.Mutex
	receivers map[*receiver]struct{}
	closed    bool
}

// spawn runs f beside, unless the engine is closed. Close waits for it.
func (e *Engine) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.wg.Go(f)
	}
	return !e.closed
}

// maxAsks is how many questions are under way at a time: a broker that does not answer keeps their channels until the
// heartbeats end the connection.
const maxAsks = 32

// Open checks cfg and returns an Engine. It makes no connection, so that it works while RabbitMQ is dead.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg: cfg, names: names{cfg.Prefix},
		budget: newBudget(maxUnconfirmed), asks: make(chan struct{}, maxAsks), receivers: make(map[*receiver]struct{}),
	}
	e.publish = newLink((&dialer{cfg: cfg, name: label(cfg.Name, "publish")}).dial, cfg.Logger)
	e.consume = newLink((&dialer{cfg: cfg, name: label(cfg.Name, "consume")}).dial, cfg.Logger)
	return e, nil
}

func label(name, what string) string {
	if name == "" {
		return "holdfast " + what
	}
	return name + " " + what
}

// Capabilities implements driver.Engine.
func (e *Engine) Capabilities() driver.Capabilities {
	return driver.Capabilities{Ordered: true, Delay: true, Counts: true, MaxMessage: maxMessage}
}

// Declare implements driver.Engine. Partitions are not asked for: an ordered group has eight lanes. Nothing is retained.
func (e *Engine) Declare(ctx context.Context, t driver.Topic) error {
	e.topology.know(t.Name, t.Groups, t.Replicas)
	if err := e.declare(ctx, t.Name); err != nil {
		return fmt.Errorf("declare %s: %w", t.Name, err)
	}
	return nil
}

// Publish implements driver.Engine. A message of a topic without groups is confirmed, and gone.
func (e *Engine) Publish(ctx context.Context, topic string, messages []*driver.Message) []error {
	return e.send(ctx, target{topic: topic, exchange: e.names.topic(topic)}, messages)
}

// PublishTo implements driver.Engine.
func (e *Engine) PublishTo(ctx context.Context, topic, group string, messages []*driver.Message) []error {
	e.topology.know(topic, []string{group}, 0)
	return e.send(ctx, target{topic: topic, group: group, exchange: e.names.group(topic, group)}, messages)
}

// Subscribe implements driver.Engine.
func (e *Engine) Subscribe(ctx context.Context, s driver.Subscription) (driver.Receiver, error) {
	e.topology.know(s.Topic, []string{s.Group}, 0)
	r := newReceiver(e, s)
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errClosed
	}
	e.receivers[r] = struct{}{}
	e.mu.Unlock()
	if err := r.start(ctx); err != nil {
		_ = r.Close() // it has nothing
		return nil, fmt.Errorf("subscribe to %s for %s: %w", s.Topic, s.Group, err)
	}
	return r, nil
}

func (e *Engine) forget(r *receiver) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.receivers, r)
}

// Lag implements driver.Engine. Unsettled are those of the receivers of this Engine: AMQP does not tell of others.
func (e *Engine) Lag(ctx context.Context, topic, group string) (driver.Lag, error) {
	lag, err := e.count(ctx, topic, group)
	if err != nil {
		return driver.Lag{}, fmt.Errorf("lag of %s at %s: %w", group, topic, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for r := range e.receivers {
		if r.sub.Topic == topic && r.sub.Group == group {
			lag.Unsettled += r.unsettled()
		}
	}
	return lag, nil
}

// Close implements driver.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	receivers := e.receivers
	e.receivers = make(map[*receiver]struct{})
	e.mu.Unlock()
	var closing sync.WaitGroup
	for r := range receivers {
		closing.Go(func() { _ = r.Close() }) // returns nil
	}
	closing.Wait()
	closing.Go(e.publish.close)
	closing.Go(e.consume.close)
	closing.Wait()
	e.wg.Wait()
	return nil
}
