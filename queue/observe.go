package queue

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Observer is told what happens, for metrics. It must not block and is called by many goroutines.
type Observer interface{ Observe(e Event) }

// Event is one thing that happened.
type Event struct {
	Kind         EventKind
	Topic, Group string // Group is "" for Published
	// Count is how many messages.
	Count int
	// Took is how long until the engine confirmed (Published) or the attempt ended (Handled).
	Took time.Duration
	// Age is the time between a message's being stored, or published, and its being received (Received, of the oldest) or
	// done (Handled).
	Age time.Duration
	// Lag is of Behind.
	Lag driver.Lag
	// Err is of a publication or attempt that failed.
	Err error
}

// EventKind is what happened.
type EventKind int

// The kinds of events.
const (
	// Published: messages were confirmed, or given up (Err).
	Published EventKind = iota + 1
	// Received: messages came from the engine.
	Received
	// Handled: an attempt ended; Err is nil if the message is done.
	Handled
	// Retried: a message is tried again, here or by giving it back to the engine.
	Retried
	// Buried: a message became a dead letter.
	Buried
	// Returned: messages were given back to the engine unhandled.
	Returned
	// Lost: messages were given to somebody else before they were settled, and will come twice.
	Lost
	// Slowed: attempts fail for want of a dependency, and the subscription probes for it.
	Slowed
	// Resumed: a probe succeeded.
	Resumed
	// Behind: how far the group is, measured by each of its instances every 15 s.
	Behind
)

// Propagator carries what belongs to a request along with messages, as attributes. OpenTelemetry's fits with a few lines.
type Propagator interface {
	// Inject calls set for each attribute of ctx.
	Inject(ctx context.Context, set func(name, value string))
	// Extract returns ctx with what get finds.
	Extract(ctx context.Context, get func(name string) string) context.Context
}
