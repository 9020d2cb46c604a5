package main

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// The sides.
const (
	holdfastName      = "holdfast"
	rawName           = "raw"
	rawAttributesName = "raw+attributes"
	rawPlainName      = "raw, plain acks" // of NATS
)

// What both sides have alike. The group is there before anything is published.
const (
	group      = "bench"
	partitions = 8
	window     = 512              // unsettled messages that a consumer holds
	timeout    = 10 * time.Second // of each publication: callers have deadlines
)

// message is what is published.
type message struct {
	key  string
	data []byte
}

// side is one way to use an engine. Its methods are safe for concurrent use.
type side interface {
	// open makes a topic with a group.
	open(ctx context.Context, topic string) (stream, error)
	close()
}

// stream is a topic of a side, with its group.
type stream interface {
	// publish returns when the message is confirmed, and publishAll when all are.
	publish(ctx context.Context, m message) error
	publishAll(ctx context.Context, ms []message) error
	// consume calls handle for each message, from as many goroutines as concurrency says, and settles it then, until ctx ends.
	// It returns when nothing runs any more and all that was handled is settled.
	consume(ctx context.Context, concurrency int, ordered bool, handle func(data []byte)) error
	close()
}

// sides returns those that an engine has, or just the one that is wanted, with how each is opened.
func sides(engine, only string) (names []string, openers []func(context.Context, *broker.Broker) (side, error)) {
	add := func(name string, open func(context.Context, *broker.Broker) (side, error)) {
		if only == "" || only == name {
			names, openers = append(names, name), append(openers, open)
		}
	}
	add(holdfastName, openHoldfast)
	raw, ok := map[string]func(context.Context, *broker.Broker, bool) (side, error){
		broker.NATS: openNATS, broker.NATS3: openNATS, broker.Kafka: openKafka, broker.Rabbit: openRabbit,
	}[engine]
	if !ok {
		return names, openers
	}
	add(rawName, func(ctx context.Context, b *broker.Broker) (side, error) { return raw(ctx, b, false) })
	add(rawAttributesName, func(ctx context.Context, b *broker.Broker) (side, error) { return raw(ctx, b, true) })
	if engine == broker.NATS || engine == broker.NATS3 {
		add(rawPlainName, func(ctx context.Context, b *broker.Broker) (side, error) {
			s, err := raw(ctx, b, false)
			if r, ok := s.(*rawNATS); ok {
				r.plain = true
			}
			return s, err
		})
	}
	return names, openers
}

// holdfast is package queue with all its defaults.
type holdfast struct {
	engine driver.Engine
	q      *queue.Queue
}

func openHoldfast(_ context.Context, b *broker.Broker) (side, error) {
	engine, err := b.Open("bench")
	if err != nil {
		return nil, err
	}
	return &holdfast{engine: engine, q: queue.New(engine, queue.Config{Source: "bench", Logger: slog.New(slog.DiscardHandler)})}, nil
}

func (h *holdfast) close() {
	_ = h.q.Close()
	_ = h.engine.Close()
}

func (h *holdfast) open(_ context.Context, name string) (stream, error) {
	t, err := queue.NewTopic[[]byte](h.q, name, queue.Groups(group), queue.Partitions(partitions))
	return &holdfastStream{h, t}, err //nolint:wrapcheck // what is measured
}

type holdfastStream struct {
	*holdfast
	t *queue.Topic[[]byte]
}

func (s *holdfastStream) publish(ctx context.Context, m message) error {
	return s.t.Publish(ctx, m.data, queue.Key(m.key)) //nolint:wrapcheck // what is measured
}

func (s *holdfastStream) publishAll(ctx context.Context, ms []message) error {
	values := make([][]byte, len(ms))
	for i, m := range ms {
		values[i] = m.data
	}
	i := -1                                                                 // opt is called in the order of values
	return s.t.PublishAll(ctx, values, func([]byte) []queue.PublishOption { //nolint:wrapcheck // what is measured
		i++
		return []queue.PublishOption{queue.Key(ms[i].key)}
	})
}

func (s *holdfastStream) consume(ctx context.Context, concurrency int, ordered bool, handle func([]byte)) error {
	sub, err := queue.NewSubscription(s.q, s.t.Name(), group, queue.Handle(func(_ context.Context, m queue.Message[[]byte]) error {
		handle(m.Value)
		return nil
	}), queue.SubscriptionConfig{Concurrency: concurrency, Window: window, Ordered: ordered})
	if err != nil {
		return err //nolint:wrapcheck // what is measured
	}
	return sub.Run(ctx) //nolint:wrapcheck // what is measured
}

func (s *holdfastStream) close() {}

// ids makes IDs for raw sides, of which each needs one.
var ids atomic.Int64

func newID() string { return "bench-" + strconv.FormatInt(ids.Add(1), 10) }

// attributed calls set for each header of a message as CloudEvents has it.
func attributed(id string, m message, prefix, contentType string, set func(name, value string)) {
	driver.ToHeaders(&driver.Message{
		ID: id, Source: "bench", Type: "bench", Key: m.key, Time: time.Now(), ContentType: "application/octet-stream",
	}, prefix, contentType, set)
}
