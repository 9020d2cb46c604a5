package queue

import (
	"context"
	"time"
)

// SubscriptionConfig tunes a Subscription. Zero values are the tested defaults.
type SubscriptionConfig struct {
	// Concurrency is the most handlers that run at once. Default: 16.
	Concurrency int
	// Ordered: messages of the same key are handled one after the other in the order in which they were published, over all
	// instances of the group; a message that is tried again holds up its key. Without it they may come in any order, yet
	// those of one key never at once in this instance.
	Ordered bool
	// Timeout is the time of one attempt. Default: 30 s.
	Timeout time.Duration
	// Retry says how failed attempts are repeated.
	Retry Retry
	// Inbox, if not nil, keeps a message whose handler has returned nil from being handled again.
	Inbox Inbox
	// Window is the most messages that are held here at a time, begun and not yet begun: a bound on memory and on what comes
	// twice after a crash. Default: 8 for each of Concurrency; not less than Concurrency.
	Window int
	// Hold is how long after this instance's death its messages may lie before others get them. It is extended while a message
	// is worked on, however long. Default: 30 s, at least 1 s.
	Hold time.Duration
	// DrainTimeout is the time that handlers have to finish after the end of Run's ctx. Default: 20 s.
	DrainTimeout time.Duration
}

// Retry says how failed attempts are repeated: with exponential back-off and full jitter.
type Retry struct {
	// Attempts is how many there are before the message is a dead letter. Those that failed because a dependency is down, when
	// nothing else succeeds either, do not count. Default: 8. 1 is no retry.
	Attempts int
	// Base is the mean of the first pause, which doubles up to Max. Defaults: 200 ms, 30 s.
	Base, Max time.Duration
}

// Inbox remembers what was handled. Implementations are in queue/inbox and below.
type Inbox interface {
	// Once runs run unless it returned nil before for the same group and id; then it returns nil at once. scope is
	// "TOPIC/GROUP", id is unique in it, at most 512 bytes of UTF-8. Two calls at the same time do not both run to nil. An error is run's, or
	// that of the store, in which case run may or may not have had its effect, just as without an inbox.
	Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error
}

// Subscription handles the messages of a group in this process, beside the group's other instances. It is a
// lifecycle.Component, and runs once.
type Subscription struct {
	q            *Queue
	topic, group string
	handler      Handler
	cfg          SubscriptionConfig
}

// NewSubscription returns a subscription that is to be run. It makes no call. Invalid names or settings are
// INVALID_ARGUMENT, what the engine cannot do FAILED_PRECONDITION.
func NewSubscription(q *Queue, topic, group string, h Handler, cfg SubscriptionConfig) (*Subscription, error) {
	return &Subscription{q: q, topic: topic, group: group, handler: h, cfg: cfg}, nil
}

// Run receives and handles messages until ctx ends, whatever becomes of the engine meanwhile. Then it receives no more,
// waits for the handlers that have begun, for DrainTimeout at most, gives everything else back and returns nil.
func (s *Subscription) Run(ctx context.Context) error {
	panic("not yet")
}

// Drain implements lifecycle.Drainer: nothing more is received from then on; what was begun goes on. It does not wait.
func (s *Subscription) Drain(ctx context.Context) error { return nil }

// Name implements lifecycle.Namer.
func (s *Subscription) Name() string { return "queue " + s.topic + "/" + s.group }
