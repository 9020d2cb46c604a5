package queue

import (
	"context"
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
	// decode returns the call of the handler with the message; its error is that of a message that cannot be read.
	decode func(in incoming) (func(ctx context.Context) error, error)
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
// never seen again. An error of a code that may pass is tried again (Retry); one that cannot pass (INVALID_ARGUMENT, NOT_FOUND,
// ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, DATA_LOSS, UNAUTHENTICATED) sets the message aside at
// once, as Reject does, and so does a value that cannot be decoded. A panic is a failed attempt.
// ctx ends with the attempt's time (SubscriptionConfig.Timeout), or when the instance has no time left to drain.
func Handle[T any](fn func(ctx context.Context, m Message[T]) error) Handler {
	panic("not yet")
}

// Reject returns err as one that makes the message a dead letter at once.
func Reject(err error) error { return &rejected{err} }

type rejected struct{ err error }

func (r *rejected) Error() string { return r.err.Error() }
func (r *rejected) Unwrap() error { return r.err }

// RetryAfter returns err as one that is tried again, not before d, whatever its code. It counts as an attempt.
func RetryAfter(err error, d time.Duration) error { return &later{err, d} }

type later struct {
	err   error
	after time.Duration
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }
