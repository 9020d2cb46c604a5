package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	defaultConcurrency  = 16
	windowPerHandler    = 8
	defaultTimeout      = 30 * time.Second
	defaultHold         = 30 * time.Second
	minHold             = time.Second
	defaultDrainTimeout = 20 * time.Second
	defaultAttempts     = 8
	defaultRetryBase    = 200 * time.Millisecond
	defaultRetryMax     = 30 * time.Second
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
	// Inbox, if not nil, keeps a message whose handler has returned nil from being handled again. Messages of others that have no
	// ID or no source are dead letters then.
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
	// Base is the first step, which doubles up to Max; each pause is anything between nothing and its step. Defaults: 200 ms,
	// 30 s.
	Base, Max time.Duration
}

// Validate reports every field that cannot work.
func (c SubscriptionConfig) Validate() error {
	var errs []error
	for _, n := range []struct {
		name string
		v    int
	}{{"Concurrency", c.Concurrency}, {"Window", c.Window}, {"Retry.Attempts", c.Retry.Attempts}} {
		if n.v < 0 {
			errs = append(errs, fmt.Errorf("subscription config %s: negative", n.name))
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"Timeout", c.Timeout}, {"Hold", c.Hold}, {"DrainTimeout", c.DrainTimeout}, {"Retry.Base", c.Retry.Base}, {"Retry.Max", c.Retry.Max}} {
		if d.v < 0 {
			errs = append(errs, fmt.Errorf("subscription config %s: negative", d.name))
		}
	}
	if c.Hold > 0 && c.Hold < minHold {
		errs = append(errs, fmt.Errorf("subscription config Hold: %v is less than %v", c.Hold, minHold))
	}
	if c.Window > 0 && c.Window < c.Concurrency {
		errs = append(errs, fmt.Errorf("subscription config Window: %d is less than Concurrency %d", c.Window, c.Concurrency))
	}
	return errors.Join(errs...)
}

func (c SubscriptionConfig) withDefaults() SubscriptionConfig {
	defaultTo(&c.Concurrency, defaultConcurrency)
	defaultTo(&c.Window, windowPerHandler*c.Concurrency)
	c.Window = max(c.Window, c.Concurrency)
	defaultTo(&c.Timeout, defaultTimeout)
	defaultTo(&c.Hold, defaultHold)
	defaultTo(&c.DrainTimeout, defaultDrainTimeout)
	defaultTo(&c.Retry.Attempts, defaultAttempts)
	defaultTo(&c.Retry.Base, defaultRetryBase)
	defaultTo(&c.Retry.Max, max(defaultRetryMax, c.Retry.Base))
	return c
}

func defaultTo[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Inbox remembers what was handled. Implementations are in queue/inbox and below.
type Inbox interface {
	// Once runs run unless it returned nil before for the same scope and id; then it returns nil at once. scope is
	// "TOPIC/GROUP", id is unique in it, at most 515 bytes of UTF-8. Two calls at the same time do not both run to nil. An
	// error is run's, or that of the store, in which case run may or may not have had its effect, just as without an inbox;
	// or one with ReasonUnderWay, and then run was not called.
	Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error
}

// inboxID is what an Inbox knows a message by: "LENGTH:SOURCE ID", in which no two messages are the same, whatever
// characters are in their sources and IDs.
func inboxID(m *driver.Message) string {
	return strconv.Itoa(len(m.Source)) + ":" + m.Source + " " + m.ID
}

// Subscription handles the messages of a group in this process, beside the group's other instances. It is a
// lifecycle.Component, and runs once.
type Subscription struct {
	q            *Queue
	topic, group string
	handler      Handler
	cfg          SubscriptionConfig

	drain     chan struct{} // closed by Drain
	drainOnce sync.Once
}

// NewSubscription returns a subscription that is to be run. It makes no call. Invalid names or settings are
// INVALID_ARGUMENT, what the engine cannot do FAILED_PRECONDITION.
func NewSubscription(q *Queue, topic, group string, h Handler, cfg SubscriptionConfig) (*Subscription, error) {
	if err := validateNames(topic, group); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "subscription %s/%s", topic, group)
	}
	if h.handle == nil {
		return nil, failure.New(failure.InvalidArgument, "subscription %s/%s: no handler", topic, group)
	}
	if q.lacking != nil {
		return nil, q.lacking
	}
	if err := lacking(q.caps, driver.Capabilities{Ordered: cfg.Ordered}); err != nil {
		return nil, err
	}
	return &Subscription{q: q, topic: topic, group: group, handler: h, cfg: cfg.withDefaults(), drain: make(chan struct{})}, nil
}

// Run receives and handles messages until ctx ends, whatever becomes of the engine meanwhile. Then it receives no more,
// waits for the handlers that have begun, for DrainTimeout at most, gives everything else back and returns nil. A handler
// that does not end with its ctx keeps Run from returning; its messages are given back all the same.
func (s *Subscription) Run(ctx context.Context) error {
	return newRunner(s, rand.Int64N).run(ctx)
}

// Drain implements lifecycle.Drainer: nothing more is received or begun from then on, what was not begun goes to other
// instances, what was begun goes on. It does not wait.
func (s *Subscription) Drain(context.Context) error {
	s.drainOnce.Do(func() { close(s.drain) })
	return nil
}

// Name implements lifecycle.Namer.
func (s *Subscription) Name() string { return "queue " + s.topic + "/" + s.group }
