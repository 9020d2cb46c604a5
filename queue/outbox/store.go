package outbox

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Event is a message that waits in a Store to be published.
type Event struct {
	// Seq names the event in its store, and is never used for another one, or the store is a Marker. Events with the same key are
	// published in its order.
	Seq   uint64
	Topic string
	// Message is complete (queue.NewMessage makes one): its ID is what tells a second publication from a second message.
	Message *driver.Message
	// Added is when it was stored.
	Added time.Time
}

// Query says which events are wanted.
type Query struct {
	// Limit is the most events.
	Limit int
	// MaxBytes is about how much data they may have together: the one with which it is reached is the last one.
	MaxBytes int
	// Skip says which are not wanted now.
	Skip Skip
}

// Skip is what is not wanted now, because it is being published or has to wait: all of some topics, all with some keys,
// some single events. It is bounded by the relay: of each topic about a thousand keys and events together, or Config.Batch
// if that is more.
type Skip struct {
	Topics []string
	Keys   []Key
	Seqs   []uint64
}

func (s *Skip) empty() bool { return len(s.Topics)+len(s.Keys)+len(s.Seqs) == 0 }

// Key is a key of a topic, "" is none.
type Key struct{ Topic, Key string }

// Has reports whether e is not wanted. Stores that go through their events one by one use it; others ask their engine.
func (s *Skip) Has(e *Event) bool {
	return slices.Contains(s.Topics, e.Topic) ||
		e.Message.Key != "" && slices.Contains(s.Keys, Key{e.Topic, e.Message.Key}) ||
		slices.Contains(s.Seqs, e.Seq)
}

// Store keeps events from the transaction that adds them until they are published. How events are added is the store's
// own affair, as long as an event is there if and only if the change is that it tells of, and events of one key have
// their Seq in the order in which the changes happened.
//
// Methods are safe for concurrent use, honour ctx promptly, and may fail at any time: the relay tries again.
type Store interface {
	// Pending returns events that are not Done, in the order of Seq, leaving out what q.Skip has. It must not leave out
	// others: an event that became visible late, after some with higher Seq, is returned all the same. That it returns none
	// says that there is nothing but what is skipped. It may return events that are Done if somebody else just did them.
	Pending(ctx context.Context, q Query) ([]Event, error)

	// Done takes events out of what is Pending, for good: they are published. Those that are Done already, or never were,
	// are left alone, so that it can be repeated.
	Done(ctx context.Context, seqs []uint64) error

	// Wait returns nil when there may be an event that the last Pending did not know of, soon after there is. It may return
	// nil without one, at most some ten times a second. It is called by one goroutine at a time, and with a ctx that is
	// over when the relay ends or does not lead any more: what was kept for waiting, such as a connection, is let go of then.
	Wait(ctx context.Context) error
}

// Marker is a Store that may give a Seq out again, as a database does after a failover that lost its last transactions. Mark is
// called instead of Done.
type Marker interface {
	// Mark is Done for events that have both, the Seq and the ID: an event that got the Seq of another one stays.
	Mark(ctx context.Context, marks []Mark) error
}

// Mark names an event that is published.
type Mark struct {
	Seq uint64
	ID  string // of its message
}

// Leader is a Store that lets one relay at a time work. It is asked if Config.Lead is nil; without either the relay leads at
// once, and it is up to the program that there is only one.
type Leader interface {
	// Lead waits until nobody else leads and calls fn. fn's ctx ends when leadership is lost. It returns when fn has.
	Lead(ctx context.Context, fn func(ctx context.Context) error) error
}

// Counter is a Store that knows how far behind its relay is.
type Counter interface {
	Lag(ctx context.Context) (Lag, error)
}

// Lag is how far behind a relay is.
type Lag struct {
	// Pending is how many events are not published; from MaxLag on it is not counted further.
	Pending int64
	// Oldest is when the oldest of them was added, zero if there is none.
	Oldest time.Time
}

// MaxLag is where counting ends.
const MaxLag = 100_000

// Cleaner is a Store that keeps events for a while after they are Done.
type Cleaner interface {
	// Clean removes at most limit of them whose time is over and says how many it did.
	Clean(ctx context.Context, limit int) (int, error)
}
