package inbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/queue"
)

// The defaults of inboxes.
const (
	// DefaultKeep is how long marks are kept: as long as queues keep messages, by default.
	DefaultKeep = 7 * 24 * time.Hour
	// DefaultMaxWait is how long a message waits for a run of it elsewhere.
	DefaultMaxWait = 2 * time.Second
)

// ErrUnderWay says that the message is being handled by another instance, and was not handled here: the queue is to bring it
// again in about a second. That is no failed attempt, however often it happens: it makes no dead letter, and counts as neither
// a success nor a failure when the queue judges whether handling works.
var ErrUnderWay = failure.New(failure.Aborted, "the message is being handled elsewhere").
	WithReason(queue.ReasonUnderWay, failure.Domain).WithRetryAfter(time.Second)

// Config tunes an Inbox of claims. The zero value works.
type Config struct {
	// Keep is how long a message that was handled is remembered. It should be longer than the queue keeps messages. 0: 7 days.
	Keep time.Duration
	// Lease is how long a message counts as being handled when nothing more is heard of its process; it is renewed five times
	// as often while that lives. 0: 5 s; at least 1 s.
	Lease time.Duration
	// MaxWait is how long a message waits when another instance handles it. 0: 2 s, negative: not at all.
	MaxWait time.Duration
	// StoreTimeout bounds each access to the store. 0: 2 s.
	StoreTimeout time.Duration
	// Logger is told of marks that could not be kept. nil: slog.Default().
	Logger *slog.Logger
}

// Inbox is one of claims: a message is claimed, handled, marked. Safe for concurrent use.
type Inbox struct{ ledger *idempotency.Ledger }

var _ queue.Inbox = (*Inbox)(nil)

// New returns an Inbox on a store, which the instances of the group share: etcdinbox.Store, kvinbox.Store, or any other
// that passes idempotencytest.
func New(store idempotency.Store, cfg Config) *Inbox {
	if cfg.Keep <= 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = DefaultMaxWait
	}
	return &Inbox{idempotency.New(store, idempotency.Config{
		Keep: cfg.Keep, Lease: cfg.Lease, MaxWait: cfg.MaxWait, StoreTimeout: cfg.StoreTimeout, Logger: cfg.Logger,
	})}
}

// NewMemory returns an Inbox of this process: for tests, and for a service of one instance whose effects end with it. It
// remembers at most records messages (0: 100,000); with more it forgets the oldest early.
func NewMemory(records int, cfg Config) *Inbox {
	return New(&idempotency.Memory{MaxRecords: records}, cfg)
}

// Once implements queue.Inbox. The error is run's; ErrUnderWay; or UNAVAILABLE when the store cannot be asked, and then run was
// not called.
func (i *Inbox) Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	key := KeyOf(scope, id)
	claim, err := i.ledger.Begin(ctx, idempotency.Key{Method: "queue", Key: key}, idempotency.Fingerprint{})
	switch {
	case errors.Is(err, idempotency.ErrUnderWay):
		return ErrUnderWay
	case err != nil:
		return err //nolint:wrapcheck // says what it is
	}
	if _, done := claim.Replayed(); done {
		return nil
	}
	defer claim.Release(ctx)
	if err := run(WithKey(ctx, key)); err != nil {
		return err
	}
	// The effect has happened. If that cannot be kept, it is logged, and to fail here would only make it happen again.
	_ = claim.Finish(ctx, nil)
	return nil
}

type keyKey struct{}

// KeyOf returns what names a message in its scope, over all instances and deliveries: 64 characters of hex.
func KeyOf(scope, id string) string {
	h := sha256.New()
	h.Write([]byte(scope))
	h.Write([]byte{0}) // in no scope
	h.Write([]byte(id))
	return hex.EncodeToString(h.Sum(nil))
}

// WithKey returns ctx with the message's key, for implementations of inboxes.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyKey{}, key)
}

// Key returns the KeyOf the message that ctx's handler handles, if its subscription has an Inbox of this package or of one
// below, Keyed if nothing else. It goes along with the effect to whoever is idempotent by a key: replica.Once, an
// Idempotency-Key, a unique column.
func Key(ctx context.Context) (key string, ok bool) {
	key, ok = ctx.Value(keyKey{}).(string)
	return key, ok
}

// Keyed is an Inbox that remembers nothing: it gives handlers their Key, and leaves it to where the effect is. Its zero
// value is ready for use.
type Keyed struct{}

var _ queue.Inbox = Keyed{}

// Once calls run.
func (Keyed) Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error {
	return run(WithKey(ctx, KeyOf(scope, id)))
}
