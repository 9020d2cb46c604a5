// Package driver is what an engine implements so that package queue can run on it.
//
// The interface is primitive on purpose: publish and be confirmed, receive, settle, set aside. Encoding, order per key
// while keys run side by side, retries and their back-off, the judgement what is poison, the inbox, drain and every
// loop are in package queue, are written once and are the same on every engine. A driver that passes queuetest.Run is
// complete.
//
// Users of Holdfast do not need this package.
package driver

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"
)

var (
	// ErrTooLarge is reported for a message that the engine will never take because of its size.
	ErrTooLarge = errors.New("message too large for the engine")
	// ErrFull is reported when the engine has no room for the topic's messages now.
	ErrFull = errors.New("no room at the engine")
	// ErrRefused is reported when the engine will not do it, whatever is tried: no permission, a topic that exists as
	// something else.
	ErrRefused = errors.New("the engine refuses")
	// ErrUnsupported is reported when Capabilities do not have what is asked for.
	ErrUnsupported = errors.New("the engine cannot do this")
	// ErrLost is reported for a delivery that is not ours any more: its time at the engine ran out, its partition was
	// given to another instance, its connection broke. The engine delivers it again.
	ErrLost = errors.New("delivery lost")
	// ErrStopped is reported by Receive after Stop, when nothing more will come.
	ErrStopped = errors.New("receiver stopped")
)

// Capabilities are what engines differ in and users may depend on.
type Capabilities struct {
	// Ordered: a Subscription can ask that messages with the same key are delivered in the order in which they were
	// confirmed, also while several instances of a group receive.
	Ordered bool
	// Delay: Return keeps a delivery back for as long as is asked, at the engine.
	Delay bool
	// Counts: Delivery.Count is right also after the death of those who received it before.
	Counts bool
	// Retains: a group that is new gets what was published before it existed, as far as the topic still has it. Without it
	// a group gets what is published after Declare or Subscribe first named it.
	Retains bool
	// Deduplicates is for how long a message with the same ID, published again, is kept once. 0 is not at all.
	Deduplicates time.Duration
	// MaxMessage is the most bytes of data in a message.
	MaxMessage int
	// Sequenced: when a message of a Publish is not taken, no later one of that call with its key is taken either. Without
	// it package queue publishes messages with the same key one after the other.
	Sequenced bool
}

// Topic is what Declare makes sure of.
type Topic struct {
	// Name is letters, digits, '-', '_' and '.', at most 100 bytes, as checked by package queue. So is a group's.
	Name string
	// Groups exist from then on, so that nothing published before they first receive is missed.
	Groups []string
	// Partitions is how many parts keep their order, for engines that have a number of them. 0 is the driver's choice.
	Partitions int
	// Replicas is how many of the engine's servers keep each message. 0 is 3, or as many as there are.
	Replicas int
	// Retention is for how long messages are kept, for engines that retain. 0 is 7 days.
	Retention time.Duration
}

// Message is what is published, in terms of CloudEvents 1.0 (binary mode: attributes are headers of the engine's).
type Message struct {
	// ID is the same when a message is published again; Source and ID together are unique.
	ID, Source, Type string
	// Key orders: messages with the same key keep their order, those with "" have none.
	Key string
	// Time is when it happened.
	Time time.Time
	// ContentType is that of Data.
	ContentType string
	// Attributes are the others: extensions of CloudEvents, names of lower-case letters and digits, among them
	// traceparent. Values are any valid UTF-8.
	Attributes map[string]string
	// Data may be empty.
	Data []byte
}

// Engine is where messages are kept. All methods are safe for concurrent use and honour ctx promptly even when the engine
// is dead or frozen. They retry nothing beyond trying another server of the same engine; connections come back by
// themselves.
type Engine interface {
	// Capabilities are fixed.
	Capabilities() Capabilities

	// Declare makes sure that the topic and its groups exist. One that exists is left as it is, or extended.
	Declare(ctx context.Context, t Topic) error

	// Publish sends messages to every group of a topic and returns when the engine has confirmed each, as durably as it is
	// set up to. nil says all are; otherwise errs has one for each message, nil for those that are confirmed. One with an
	// error may still have been taken. Messages of one call with the same key keep their order.
	// A topic that does not exist (the engine was wiped) is an error that is none of those above: the caller declares it and
	// tries again.
	Publish(ctx context.Context, topic string, messages []*Message) (errs []error)

	// PublishTo is the same for one group alone. It is not subject to Deduplicates.
	PublishTo(ctx context.Context, topic, group string, messages []*Message) (errs []error)

	// Subscribe makes sure that the group exists and begins to receive for it, beside others who do.
	Subscribe(ctx context.Context, s Subscription) (Receiver, error)

	// Bury puts a message among the dead letters of a group and returns when that is confirmed. Twice the same ID may be
	// one letter or two.
	Bury(ctx context.Context, topic, group string, m *Message) error

	// Dead returns dead letters of a group, oldest first, at most limit of those after the one whose position is after
	// ("" is the beginning). It changes nothing that others see.
	Dead(ctx context.Context, topic, group, after string, limit int) ([]Dead, error)

	// Exhume removes dead letters by their position and says how many there were.
	Exhume(ctx context.Context, topic, group string, positions []string) (int, error)

	// Lag says how far behind a group is.
	Lag(ctx context.Context, topic, group string) (Lag, error)

	// Groups lists topics and their groups that this engine knows of, in order of names.
	Groups(ctx context.Context) ([]Group, error)

	// Close frees what the driver holds, after its receivers. It is idempotent.
	Close() error
}

// Group is a consumer group of a topic.
type Group struct{ Topic, Group string }

// Lag is how far behind a group is. Numbers may be seconds old.
type Lag struct {
	// Waiting are messages that were not delivered yet, Unsettled those that were and are not settled.
	Waiting, Unsettled int64
	// Dead are its dead letters.
	Dead int64
}

// Dead is a dead letter.
type Dead struct {
	// Position names it for Dead and Exhume, and is text without spaces.
	Position string
	// Buried is when it was put there.
	Buried  time.Time
	Message *Message
}

// Subscription is what to receive, and how.
type Subscription struct {
	Topic, Group string
	// Instance tells receivers of a group apart, for people and for engines that want a name.
	Instance string
	// Ordered asks for order per key. Without it messages may come in any order.
	Ordered bool
	// Window is the most deliveries that are unsettled at a time. The engine is asked for no more.
	Window int
	// Hold is for how long a delivery may be neither settled nor extended before the engine may give it to somebody else,
	// for engines that measure it. Others notice the end of the connection or of the instance within about as long.
	Hold time.Duration
}

// Delivery is one message given to this instance.
type Delivery struct {
	Message *Message
	// Count is how often it was delivered, this time included: 1 the first time, 0 if the engine does not count.
	Count int
	// Stored is when the engine took it, zero if unknown.
	Stored time.Time
	// Revoked, if not nil, is closed when this delivery is about to be given to somebody else: it must not be begun any
	// more. What was begun should be settled soon; the driver waits for it for a few seconds. Deliveries that end together
	// (those of a partition, of a connection) share the channel: package queue waits for each channel with a goroutine.
	Revoked <-chan struct{}
	// Ref is the driver's own.
	Ref any
}

// Receiver receives for one instance of a group. Receive is called by one goroutine at a time, the others by any. It outlives
// lost connections, restarts of the engine, and changes of its members by itself.
type Receiver interface {
	// Receive blocks until there is at least one delivery and returns at most n. An error other than ErrStopped or ctx's
	// says what is wrong with the engine now; the caller waits a little and asks again.
	Receive(ctx context.Context, n int) ([]*Delivery, error)

	// Ack settles deliveries: they are never delivered to this group again, as far as the engine can promise that. It
	// returns when the engine was told; ErrLost (maybe joined) if some were not ours any more.
	Ack(ctx context.Context, ds []*Delivery) error

	// Return gives a delivery back, to be delivered again, to any instance, not before after (at once without
	// Capabilities.Delay). On an ordered subscription later messages of its key may overtake it. After Stop, and of a
	// delivery whose Revoked is closed, it says that the message was not begun: it keeps its place, wherever it goes.
	Return(ctx context.Context, d *Delivery, after time.Duration) error

	// Extend begins Hold anew for deliveries that are still worked on.
	Extend(ctx context.Context, ds []*Delivery) error

	// Stop ends Receive: nothing more is asked for, and what was fetched but not returned by Receive goes back to the
	// engine. Deliveries in hand can still be settled. It is idempotent.
	Stop()

	// Close stops, and leaves the group. Deliveries in hand go back to the engine. It is idempotent.
	Close() error
}

// AttributeCut is that of a dead letter whose data was cut, because the engine would not take it whole: how long it was, in bytes.
const AttributeCut = "holdfastcutfrom"

// CutTo returns m with no more than size bytes of data, and says so in AttributeCut if it had more. It is for what others have
// published, which may be larger than anything that an engine takes from us: cut is better than handled for ever.
func CutTo(m *Message, size int) *Message {
	if size = max(0, size); len(m.Data) <= size {
		return m
	}
	cut := *m
	cut.Data = m.Data[:size]
	cut.Attributes = maps.Clone(m.Attributes)
	if cut.Attributes == nil {
		cut.Attributes = make(map[string]string)
	}
	cut.Attributes[AttributeCut] = strconv.Itoa(len(m.Data))
	return &cut
}
