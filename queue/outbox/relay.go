package outbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Publisher is what a Relay publishes through: a *queue.Queue.
type Publisher interface {
	// PublishMessages returns nil if all are confirmed, or one error for each message. Messages of the same key keep their
	// order: after one that failed none of its key is tried.
	PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error
}

// Config tunes a Relay. Its zero value works.
type Config struct {
	// Name is what the relay is called in logs and by its lifecycle. Default: "outbox".
	Name string
	// Lead calls fn while this relay is the only one that works: ByElection, usually. Default: the store's own way (Leader).
	Lead func(ctx context.Context, fn func(ctx context.Context) error) error
	// Batch is the most events that are read at a time, BatchBytes about how much data they may have. Default: 500, 4 MiB.
	Batch, BatchBytes int
	// PublishTimeout bounds the publication of a batch. Default: 10 s.
	PublishTimeout time.Duration
	// StoreTimeout bounds each call of the store. Default: 10 s.
	StoreTimeout time.Duration
	// DrainTimeout is how long, after the end of Run's ctx, what is published may take to be confirmed and marked.
	// Default: 5 s.
	DrainTimeout time.Duration
	// Logger is told of what fails. Default: discards.
	Logger *slog.Logger
}

// ByElection leads by an election.
func ByElection(e *lock.Election, value string) func(ctx context.Context, fn func(ctx context.Context) error) error {
	return func(ctx context.Context, fn func(ctx context.Context) error) error {
		return e.Lead(ctx, value, func(ctx context.Context, _ uint64) error { return fn(ctx) })
	}
}

// Relay publishes the events of a Store. It is a lifecycle.Component. Any number of processes run one for the same store;
// one of them works.
type Relay struct {
	store Store
	pub   Publisher
	cfg   Config
}

// New returns a Relay that is to be run.
func New(store Store, pub Publisher, cfg Config) *Relay {
	return &Relay{store: store, pub: pub, cfg: cfg}
}

// Run leads, publishes and marks until ctx ends. It returns nil then; nothing else ends it.
func (r *Relay) Run(ctx context.Context) error { panic("not yet") }

// Name implements lifecycle.Namer.
func (r *Relay) Name() string { return r.cfg.Name }

// Status says how the relay is getting on.
func (r *Relay) Status() Status { panic("not yet") }

// Status is how a Relay is getting on.
type Status struct {
	// Leading: this relay is the one that works.
	Leading bool
	// Published are the events that were confirmed and marked by this relay, Failed the attempts that were not confirmed, Unmarked those
	// that were confirmed but could not be marked: they are published again.
	Published, Failed, Unmarked uint64
	// Lag is what it was when it was looked at last, every few seconds while this relay leads.
	Lag Lag
	// Held is what waits for its next attempt: keys, or whole topics.
	Held []Held
}

// Held is a key, or a topic, whose oldest event could not be published.
type Held struct {
	Topic string
	// Key is "" for single events without a key, and for all of a topic.
	Key string
	// Seq is the event's, 0 for a topic.
	Seq      uint64
	Attempts int
	Since    time.Time
	Err      error
}
