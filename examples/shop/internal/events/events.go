// Package events is what services of the shop tell each other without asking for an answer: the topics, who listens to
// them, and how an event lies in an outbox until it is published.
//
// An event is made in the same step that changes what it is about, so there is none without the change and no change
// without it. From there it comes at least once to everybody who listens. So each of them is done once by a state of
// its own: which, and why so, stands with the consumer.
package events

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/resilience"
)

// The topics. The messages on them are in proto/shop/events/v1.
const (
	OrdersPlaced    = "orders.placed"
	OrdersPaid      = "orders.paid"
	OrdersCancelled = "orders.cancelled"
	PaymentsSettled = "payments.settled"
	PaymentsFailed  = "payments.failed"
)

// The services, by which groups are called, too: each group gets all messages of the topics that it listens to.
const (
	Orders        = "orders"
	Payment       = "payment"
	Shipping      = "shipping"
	Notifications = "notifications"
	Analytics     = "analytics"
)

// Topics are those that service publishes.
func Topics(service string) []string {
	switch service {
	case Orders:
		return []string{OrdersPlaced, OrdersPaid, OrdersCancelled}
	case Payment:
		return []string{PaymentsSettled, PaymentsFailed}
	}
	return nil
}

// Groups are those that listen to topic. Who publishes declares them, so that nothing is missed by a group that has not
// run yet, on an engine that keeps messages only for groups that it knows, too.
func Groups(topic string) []string {
	switch topic {
	case OrdersPlaced, OrdersCancelled:
		return []string{Notifications, Analytics}
	case OrdersPaid:
		return []string{Shipping, Notifications, Analytics}
	case PaymentsSettled, PaymentsFailed:
		return []string{Orders}
	}
	return nil
}

// Declare says to q which groups the topics of service have; the first message of each makes them.
func Declare(q *queue.Queue, service string) error {
	for _, topic := range Topics(service) {
		if _, err := queue.NewTopic[[]byte](q, topic, queue.Groups(Groups(topic)...)); err != nil {
			return err
		}
	}
	return nil
}

// Handling is how messages are handled. Those that an instance had in hand when it died come to another one after Hold: a
// customer is waiting for the parcel.
func Handling() queue.SubscriptionConfig { return queue.SubscriptionConfig{Hold: 10 * time.Second} }

// Event is a message that is still to be published, as JSON, which outboxes keep.
type Event struct {
	Topic string    `json:"topic"`
	Key   string    `json:"key"` // the order
	Type  string    `json:"type"`
	Time  time.Time `json:"time"`
	Data  []byte    `json:"data"`
	// Trace is that of the request which it happened in, as the header traceparent says it; empty if it is not known.
	Trace string `json:"trace,omitempty"`
}

// New returns the event of that topic for an order. There is at most one: what happens to an order happens once.
func New(topic, order string, at time.Time, about proto.Message) (Event, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(about)
	if err != nil {
		return Event{}, failure.Wrap(err, failure.Internal, "encode an event of %s", topic)
	}
	return Event{Topic: topic, Key: order, Type: string(about.ProtoReflect().Descriptor().FullName()), Time: at, Data: b}, nil
}

// ID is the same whoever publishes the event, and whenever.
func (e Event) ID() string { return ID(e.Topic, e.Key) }

// ID is that of the event of topic for an order.
func ID(topic, order string) string { return order + "/" + About(topic) }

// About is what topic says of an order: placed, paid, cancelled; settled, failed.
func About(topic string) string { return topic[strings.LastIndexByte(topic, '.')+1:] }

// Message is the event as it is published by source.
func (e Event) Message(source string) *driver.Message {
	m := &driver.Message{
		ID: e.ID(), Source: source, Type: e.Type, Key: e.Key, Time: e.Time,
		ContentType: "application/protobuf", Data: slices.Clone(e.Data),
	}
	if e.Trace != "" {
		m.Attributes = map[string]string{resilience.HeaderTraceparent: e.Trace}
	}
	return m
}
