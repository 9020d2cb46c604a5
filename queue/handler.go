package queue

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Message is what a handler gets.
type Message[T any] struct {
	// ID and Source name it, together; Type is the CloudEvents type.
	ID, Source, Type string
	// Key is what it is ordered by, "" if it is not.
	Key          string
	Topic, Group string
	// Time is when it happened, by the publisher's clock.
	Time  time.Time
	Value T
	// Attempt is 1 the first time. It counts those of this instance, and those of others where the engine counts.
	Attempt int
	// Replayed says that it was among the dead letters before.
	Replayed bool
	// Attributes are CloudEvents' extensions. Nobody else uses the map.
	Attributes map[string]string
}

// Handler handles the messages of a subscription. Make one with Handle.
type Handler struct {
	handle func(ctx context.Context, in *incoming) error
}

// incoming is a message on its way to the handler.
type incoming struct {
	m            *driver.Message
	topic, group string
	attempt      int
}

// Handle returns a Handler for values of type T: a proto.Message, []byte, or whatever encoding/json reads.
//
// fn is called by up to SubscriptionConfig.Concurrency goroutines. nil says that the message is done: it is settled and
// not seen again. Any error is tried again (Retry), except for those that say that the message is to blame: with
// INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, OUT_OF_RANGE or DATA_LOSS it becomes a dead letter at
// once, as with Reject, and so does one that cannot be decoded. A panic is a failed attempt.
//
// UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNAUTHENTICATED, PERMISSION_DENIED and UNIMPLEMENTED say that
// something else is to blame: such an attempt counts only if other messages succeeded since the one before. And
// when several messages fail in a row with whatever code, nothing counts until one succeeds: an outage of a dependency
// slows the subscription down, and makes no dead letters.
//
// ctx ends with the attempt's time (SubscriptionConfig.Timeout), or when the instance has no time left to drain. Calls made
// with it inherit what came with the message: its trace and its criticality.
func Handle[T any](fn func(ctx context.Context, m Message[T]) error) Handler {
	return Handler{handle: func(ctx context.Context, in *incoming) error {
		value, err := decode[T](in.m)
		if err != nil {
			return &undecodable{err}
		}
		return fn(ctx, Message[T]{
			ID: in.m.ID, Source: in.m.Source, Type: in.m.Type, Key: in.m.Key, Topic: in.topic, Group: in.group, Time: in.m.Time,
			Value: value, Attempt: in.attempt, Replayed: in.m.Attributes[attributeReplays] != "", Attributes: public(in.m.Attributes),
		})
	}}
}

// public returns the attributes that are not this package's, in a map of their own.
func public(attributes map[string]string) map[string]string {
	var out map[string]string
	for name, value := range attributes {
		if own(name) {
			continue
		}
		if out == nil {
			out = make(map[string]string, len(attributes))
		}
		out[name] = value
	}
	return out
}

// undecodable is the error of a message that cannot be read.
type undecodable struct{ err error }

func (u *undecodable) Error() string { return u.err.Error() }
func (u *undecodable) Unwrap() error { return u.err }

// Reject returns err as one that makes the message a dead letter at once. So does nil.
func Reject(err error) error {
	if err == nil {
		err = errors.New("rejected")
	}
	return &rejected{err}
}

type rejected struct{ err error }

func (r *rejected) Error() string { return r.err.Error() }
func (r *rejected) Unwrap() error { return r.err }

// RetryAfter returns err as one that is tried again, not before d, whatever its code; nil is one, too. It counts as an attempt.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		err = errors.New("not yet")
	}
	return &later{err, d}
}

type later struct {
	err   error
	after time.Duration
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }
