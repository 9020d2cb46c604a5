package queue

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Topic publishes values of one type. Safe for concurrent use.
type Topic[T any] struct {
	q    *Queue
	name string
}

// TopicOption says how a topic is set up, when it does not exist yet.
type TopicOption func(*driver.Topic)

// Groups exist from the topic's first use on, so that nothing published before they first receive is missed.
func Groups(names ...string) TopicOption {
	return func(t *driver.Topic) { t.Groups = append(t.Groups, names...) }
}

// Partitions is how many parts of the topic keep their order, for engines that have a number of them. Default: the
// driver's.
func Partitions(n int) TopicOption { return func(t *driver.Topic) { t.Partitions = n } }

// Replicas is how many of the engine's servers keep each message. Default: 3, or as many as there are.
func Replicas(n int) TopicOption { return func(t *driver.Topic) { t.Replicas = n } }

// Retention is for how long messages are kept, for engines that retain. Default: 7 days.
func Retention(d time.Duration) TopicOption { return func(t *driver.Topic) { t.Retention = d } }

// NewTopic returns a topic for values of type T: a proto.Message, []byte, or whatever encoding/json takes. It makes no
// call: the topic is declared when something is published, or it is subscribed to, first, through the Topic or the Queue, and anew
// after an error. Topics of the same name are one, with the groups of all. An invalid name or option is INVALID_ARGUMENT, what
// the engine cannot do FAILED_PRECONDITION.
func NewTopic[T any](q *Queue, name string, opts ...TopicOption) (*Topic[T], error) {
	spec := driver.Topic{Name: name}
	for _, o := range opts {
		o(&spec)
	}
	if err := validateNames(name, spec.Groups...); err != nil {
		return nil, err
	}
	if spec.Partitions < 0 || spec.Replicas < 0 || spec.Retention < 0 {
		return nil, failure.New(failure.InvalidArgument, "topic %s: negative partitions, replicas or retention", name)
	}
	if q.lacking != nil {
		return nil, q.lacking
	}
	q.register(spec)
	return &Topic[T]{q: q, name: name}, nil
}

// Name returns the topic's name.
func (t *Topic[T]) Name() string { return t.name }

// Publish sends value to every group and returns nil when the engine has confirmed it. What may pass is tried again, with
// the same ID, until ctx's deadline (Config.PublishTimeout without one).
//
// An error says that it is not known to be taken, and may have been: INVALID_ARGUMENT for a value that cannot be encoded
// or is too large, FAILED_PRECONDITION for what the engine refuses, RESOURCE_EXHAUSTED when it had no room,
// UNAVAILABLE or DEADLINE_EXCEEDED when it did not confirm in time, CANCELLED. The reasons are this package's constants.
func (t *Topic[T]) Publish(ctx context.Context, value T, opts ...PublishOption) error {
	return t.q.Publish(ctx, t.name, value, opts...)
}

// PublishAll publishes values as one batch, in their order where they have the same key. opt, if not nil, returns the
// options of a value. nil says that all are confirmed. Nothing was sent if a value cannot be encoded or its options are wrong
// (INVALID_ARGUMENT); otherwise the error joins those of the values that are not confirmed, too large ones among them.
func (t *Topic[T]) PublishAll(ctx context.Context, values []T, opt func(T) []PublishOption) error {
	ctx, tracer := t.q.beginPublish(ctx, Publication{Topic: t.name, Count: len(values)})
	err := t.publishAll(ctx, values, opt)
	if tracer != nil {
		tracer.EndPublish("", err)
	}
	return err
}

func (t *Topic[T]) publishAll(ctx context.Context, values []T, opt func(T) []PublishOption) error {
	messages := make([]*driver.Message, len(values))
	for i, value := range values {
		var opts []PublishOption
		if opt != nil {
			opts = opt(value)
		}
		m, err := NewMessage(ctx, t.q.cfg.Source, t.name, value, t.q.cfg.Propagator, opts...)
		if err != nil {
			return err
		}
		messages[i] = m
	}
	return errors.Join(t.q.send(ctx, t.name, "", messages)...)
}

// PublishOption is about one message.
type PublishOption func(*driver.Message)

// Key orders: messages with the same key are kept in order and handled one after the other by ordered subscriptions.
func Key(key string) PublishOption { return func(m *driver.Message) { m.Key = key } }

// ID names the message. Publishing again with the same ID is the same message. Default: random, new for each call.
func ID(id string) PublishOption { return func(m *driver.Message) { m.ID = id } }

// Type is the CloudEvents type. Default: the full name of a proto.Message, otherwise the topic's name.
func Type(name string) PublishOption { return func(m *driver.Message) { m.Type = name } }

// Time is when it happened. Default: now.
func Time(t time.Time) PublishOption { return func(m *driver.Message) { m.Time = t } }

// Attribute adds an extension attribute of CloudEvents: name is of lower-case letters and digits, at most 40, not one of
// CloudEvents' own and without "holdfast" at its beginning.
func Attribute(name, value string) PublishOption {
	return func(m *driver.Message) {
		if m.Attributes == nil {
			m.Attributes = make(map[string]string, 4)
		}
		m.Attributes[name] = value
	}
}
