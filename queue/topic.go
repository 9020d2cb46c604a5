package queue

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Topic publishes values of one type. Safe for concurrent use.
type Topic[T any] struct {
	q    *Queue
	spec driver.Topic
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
// call: the topic is declared when something is published first, and anew after an error. An invalid name or option is
// INVALID_ARGUMENT, what the engine cannot do FAILED_PRECONDITION.
func NewTopic[T any](q *Queue, name string, opts ...TopicOption) (*Topic[T], error) {
	t := &Topic[T]{q: q, spec: driver.Topic{Name: name}}
	for _, o := range opts {
		o(&t.spec)
	}
	return t, nil
}

// Name returns the topic's name.
func (t *Topic[T]) Name() string { return t.spec.Name }

// Publish sends value to every group and returns nil when the engine has confirmed it. What may pass is tried again, with
// the same ID, until ctx's deadline (Config.PublishTimeout without one).
//
// An error says that it is not known to be taken, and may have been: INVALID_ARGUMENT for a value that cannot be encoded
// or is too large, FAILED_PRECONDITION for what the engine refuses, RESOURCE_EXHAUSTED when it had no room,
// UNAVAILABLE or DEADLINE_EXCEEDED when it did not confirm in time, CANCELLED.
func (t *Topic[T]) Publish(ctx context.Context, value T, opts ...PublishOption) error {
	return t.q.Publish(ctx, t.spec.Name, value, opts...)
}

// PublishAll publishes values as one batch, in their order where they have the same key. opt, if not nil, returns the
// options of a value. nil says that all are confirmed; an error joins those of the values, and others may be confirmed.
func (t *Topic[T]) PublishAll(ctx context.Context, values []T, opt func(T) []PublishOption) error {
	panic("not yet")
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
