package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// The defaults of a Config.
const (
	DefaultBatch          = 500
	DefaultBatchBytes     = 4 << 20
	DefaultPublishTimeout = 10 * time.Second
	DefaultStoreTimeout   = 10 * time.Second
	DefaultDrainTimeout   = 5 * time.Second
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
	// Lead calls fn while this relay is the only one that works: ByElection, usually. fn's ctx ends when it is not any more.
	// Default: the store's own way (Leader).
	Lead func(ctx context.Context, fn func(ctx context.Context) error) error
	// Batch is the most events that are read at a time, BatchBytes about how much data they have. Both bound what is held
	// in memory, and what is published twice after a crash, for each of 8 topics at a time. Default: 500, 4 MiB.
	Batch, BatchBytes int
	// PublishTimeout bounds the publication of a batch, with the queue's own repetitions. Default: 10 s.
	PublishTimeout time.Duration
	// StoreTimeout bounds each call of the store. Default: 10 s.
	StoreTimeout time.Duration
	// DrainTimeout is how long after the end of Run's ctx events that are there already go on to be published.
	// Default: 5 s.
	DrainTimeout time.Duration
	// Logger is told of what fails. Default: discards.
	Logger *slog.Logger
}

func (c Config) defaults() Config {
	if c.Name == "" {
		c.Name = "outbox"
	}
	if c.Batch <= 0 {
		c.Batch = DefaultBatch
	}
	if c.BatchBytes <= 0 {
		c.BatchBytes = DefaultBatchBytes
	}
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{{&c.PublishTimeout, DefaultPublishTimeout}, {&c.StoreTimeout, DefaultStoreTimeout}, {&c.DrainTimeout, DefaultDrainTimeout}} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// ByElection leads by an election; value is what others see of the leader.
func ByElection(e *lock.Election, value string) func(ctx context.Context, fn func(ctx context.Context) error) error {
	return func(ctx context.Context, fn func(ctx context.Context) error) error {
		return e.Lead(ctx, value, func(ctx context.Context, _ uint64) error { return fn(ctx) })
	}
}

// Relay publishes the events of a Store. It is a lifecycle.Component. Any number of processes run one for the same store;
// one of them works. Safe for concurrent use.
type Relay struct {
	store Store
	pub   Publisher
	cfg   Config

	mu     sync.Mutex
	status Status
}

// New returns a Relay that is to be run. It makes no call.
func New(store Store, pub Publisher, cfg Config) *Relay {
	cfg = cfg.defaults()
	if l, ok := store.(Leader); ok && cfg.Lead == nil {
		cfg.Lead = l.Lead
	}
	if cfg.Lead == nil {
		cfg.Lead = func(ctx context.Context, fn func(ctx context.Context) error) error { return fn(ctx) }
	}
	return &Relay{store: store, pub: pub, cfg: cfg}
}

// Name implements lifecycle.Namer.
func (r *Relay) Name() string { return r.cfg.Name }

// Run leads, publishes and marks until ctx ends, whatever becomes of the store, the queue and the lock meanwhile. Then it goes on
// with what is there, for DrainTimeout at most, gives leadership back and returns nil. It is called once.
func (r *Relay) Run(ctx context.Context) error {
	pause := backoff.Backoff{Base: 50 * time.Millisecond, Max: 2 * time.Second}
	for ctx.Err() == nil {
		began := time.Now()
		err := r.lead(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // this is how it ends
		}
		if time.Since(began) > 10*time.Second {
			pause.Reset()
		}
		r.cfg.Logger.Warn("the relay of an outbox does not lead, and stands again", "relay", r.cfg.Name, "error", err)
		backoff.Pause(ctx, pause.Next())
	}
	return nil
}

// lead works while this relay leads. While it does not, ctx ends it at once; while it does, after the drain.
func (r *Relay) lead(stop context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(stop))
	defer cancel()
	var mu sync.Mutex
	leading := false
	defer context.AfterFunc(stop, func() {
		mu.Lock()
		defer mu.Unlock()
		if !leading {
			cancel()
		}
	})()
	err := r.cfg.Lead(ctx, func(ctx context.Context) error {
		mu.Lock()
		leading = stop.Err() == nil
		begin := leading
		mu.Unlock()
		if !begin {
			return nil
		}
		r.update(func(s *Status) { s.Leading = true })
		defer r.update(func(s *Status) { s.Leading, s.Held = false, nil })
		return newWork(r, ctx.Err).run(ctx, stop)
	})
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("lead %s: %w", r.cfg.Name, err)
}

// Status says how the relay is getting on.
func (r *Relay) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *Relay) update(f func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.status)
}

// Status is how a Relay is getting on.
type Status struct {
	// Leading: this relay is the one that works.
	Leading bool
	// Published are the events that this relay had confirmed, Failed those whose attempts were not confirmed, counted each
	// time, Marked those that were taken out of the store: what was Published and not Marked is published again.
	Published, Failed, Marked uint64
	// Cleaned are the events that were removed, long after they were marked.
	Cleaned uint64
	// Lag is what it was when it was looked at last, every few seconds while this relay leads. A store that is no Counter has
	// none.
	Lag Lag
	// Held is what waits for its next attempt: keys, single events, whole topics; the longest first. It must not be changed.
	Held []Held
}

// Held is a key, or a topic, whose oldest event could not be published.
type Held struct {
	Topic string
	// Key is "" for single events without a key, and for all of a topic.
	Key string
	// Seq is the event's, 0 for all of a topic.
	Seq      uint64
	Attempts int
	Since    time.Time
	Err      error
}
