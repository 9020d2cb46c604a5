package queue

import (
	"context"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Config tunes a Queue. Its zero value works.
type Config struct {
	// Source is the CloudEvents source of what is published, by convention the service's name. Source and a message's ID
	// are unique together. Default: "holdfast".
	Source string
	// Instance tells the instances of a group apart, for people and engines. Default: made up.
	Instance string
	// PublishTimeout bounds a publication whose ctx has no deadline. Default: 10 s.
	PublishTimeout time.Duration
	// Require is what the engine must be able to do: flags that are set, at least that much MaxMessage and Deduplicates. An
	// engine that is less makes NewTopic, NewSubscription and Publish fail with FAILED_PRECONDITION.
	Require driver.Capabilities
	// Propagator carries what belongs to a request (its trace) along with messages. Default: W3C trace context as it is in
	// the ctx of handlers, see TraceContext.
	Propagator Propagator
	// Observer, if not nil, is told what happens.
	Observer Observer
	// Logger is told of what nobody else hears of. Default: discards.
	Logger *slog.Logger
}

// Queue is one process's client of one engine. Safe for concurrent use.
type Queue struct {
	engine driver.Engine
	cfg    Config
}

// New returns a Queue on engine. It makes no call and cannot fail. The caller keeps engine and closes it after the
// Queue.
func New(engine driver.Engine, cfg Config) *Queue {
	return &Queue{engine: engine, cfg: cfg}
}

// Publish sends value to every group of a topic and returns nil when the engine has confirmed it. A proto.Message is
// encoded as application/protobuf with its full name as the type, a []byte is sent as it is, anything else as JSON.
// Topic documents the rest.
func (q *Queue) Publish(ctx context.Context, topic string, value any, opts ...PublishOption) error {
	panic("not yet")
}

// PublishMessages sends messages that are encoded already, such as those of an outbox, and returns when each is
// confirmed or given up at ctx's end. nil says that all are confirmed; otherwise there is one error for each message,
// nil for those that are confirmed. Messages with the same key keep their order: after one that failed none of its key is
// tried. Their IDs, times and attributes are sent as they are; a missing ID or Source is INVALID_ARGUMENT.
func (q *Queue) PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error {
	panic("not yet")
}

// Capabilities are those of the engine.
func (q *Queue) Capabilities() driver.Capabilities { return q.engine.Capabilities() }

// Engine returns the engine.
func (q *Queue) Engine() driver.Engine { return q.engine }

// Lag says how far behind a group is.
func (q *Queue) Lag(ctx context.Context, topic, group string) (driver.Lag, error) {
	return q.engine.Lag(ctx, topic, group)
}

// Groups lists the topics and groups that the engine knows of.
func (q *Queue) Groups(ctx context.Context) ([]driver.Group, error) {
	return q.engine.Groups(ctx)
}

// Close makes Publish fail from then on and ends publications under way. It does not close the engine. It is
// idempotent and returns nil.
func (q *Queue) Close() error { return nil }
