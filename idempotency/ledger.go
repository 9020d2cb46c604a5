package idempotency

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// The defaults of a Config.
const (
	DefaultKeep         = 24 * time.Hour
	DefaultLease        = 5 * time.Second
	DefaultMaxResult    = 64 << 10
	DefaultMaxWait      = 10 * time.Second
	DefaultMaxWaiting   = 1024
	DefaultStoreTimeout = 2 * time.Second
)

// leastLease is the shortest lease: as long as a pause that every process may make.
const leastLease = time.Second

// Config configures a Ledger. The zero value works.
type Config struct {
	// Keep is how long an answer is kept. 0: 24 h. It has to be longer than anybody goes on repeating a request.
	Keep time.Duration
	// Lease is how long a run counts as under way when nothing more is heard of its process; while that lives, it renews
	// the lease five times as often. 0: 5 s; at least 1 s. Repetitions after a crash wait for that long; a pause of the
	// process that is longer lets a second run begin.
	Lease time.Duration
	// MaxResult bounds an answer, in bytes. 0: 64 KiB. A larger one is not kept, and its repetitions get ErrNotKept.
	MaxResult int
	// MaxWait bounds how long a repetition waits for the run that is under way, if its deadline does not. 0: 10 s.
	// Negative: it does not wait. One that waits holds its place in the server, as any request that is handled.
	MaxWait time.Duration
	// MaxWaiting bounds the repetitions that wait, in this process. 0: 1024. A further one gets ErrUnderWay at once.
	MaxWaiting int
	// StoreTimeout bounds each access to the store. 0: 2 s.
	StoreTimeout time.Duration
	// Logger is told of answers that could not be stored, and of leases that were lost. nil: slog.Default().
	Logger *slog.Logger
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"Keep", c.Keep}, {"Lease", c.Lease}, {"StoreTimeout", c.StoreTimeout}} {
		if d.d < 0 {
			errs = append(errs, fmt.Errorf("idempotency: %s %v is negative", d.name, d.d))
		}
	}
	if c.Lease > 0 && c.Lease < leastLease {
		errs = append(errs, fmt.Errorf("idempotency: Lease %v is shorter than %v, a pause that every process may make", c.Lease, leastLease))
	}
	if c.MaxResult < 0 {
		errs = append(errs, fmt.Errorf("idempotency: MaxResult %d is negative", c.MaxResult))
	}
	if c.MaxWaiting < 0 {
		errs = append(errs, fmt.Errorf("idempotency: MaxWaiting %d is negative", c.MaxWaiting))
	}
	return errors.Join(errs...)
}

func (c Config) defaults() Config {
	or := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	or(&c.Keep, DefaultKeep)
	if c.Lease < leastLease {
		c.Lease = DefaultLease
	}
	or(&c.StoreTimeout, DefaultStoreTimeout)
	if c.MaxWait == 0 {
		c.MaxWait = DefaultMaxWait
	}
	if c.MaxResult <= 0 {
		c.MaxResult = DefaultMaxResult
	}
	if c.MaxWaiting <= 0 {
		c.MaxWaiting = DefaultMaxWaiting
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Ledger knows which requests were answered, and with what. It is safe for concurrent use; any number of them, in any
// number of processes, may share a store, which is what makes them know the same.
type Ledger struct {
	store   Store
	cfg     Config
	waiting atomic.Int64

	mu   sync.Mutex
	here map[ID]*Claim // those under way in this process
}

// New returns a Ledger on store. Wrong values in cfg count as their defaults; use cfg.Validate to know.
func New(store Store, cfg Config) *Ledger {
	return &Ledger{store: store, cfg: cfg.defaults(), here: make(map[ID]*Claim)}
}

// MaxResult returns how large an answer may be.
func (l *Ledger) MaxResult() int { return l.cfg.MaxResult }

// Begin is called for each request before it is run. It returns
//
//   - a Claim that is not replayed: the caller runs the request and must then call Finish or Release;
//   - a Claim with the answer of the first one: see [Claim.Replayed]; the caller runs nothing;
//   - ErrKey, ErrReused, ErrUnderWay, ErrNotKept: the caller runs nothing and answers with the error;
//   - UNAVAILABLE if the store cannot be reached, since without it nobody knows whether the request has run; or the
//     store's own refusal (RESOURCE_EXHAUSTED).
//
// While the request is under way elsewhere, in this process or another one, Begin waits until shortly before ctx's
// deadline. When the run that it waits for fails or its process dies, one of those that wait begins.
func (l *Ledger) Begin(ctx context.Context, key Key, print Fingerprint) (*Claim, error) {
	if !ValidKey(key.Key) {
		return nil, ErrKey
	}
	w := wait{ledger: l, end: l.patience(ctx)}
	defer w.done()
	id := key.ID()
	for {
		c, other := l.enter(id, print)
		if other == nil {
			return l.take(ctx, c, &w)
		}
		r, err := other.await(ctx, &w, print)
		if err != nil {
			return nil, err
		}
		if r.State != 0 {
			return replay(r, print)
		}
	}
}

// take has c acquire the record. Whatever happens, c is not left behind: nobody would ever end it.
func (l *Ledger) take(ctx context.Context, c *Claim, w *wait) (_ *Claim, err error) {
	taken := false
	defer func() {
		if !taken {
			c.leave(Record{})
		}
	}()
	if err := c.acquire(ctx, w); err != nil {
		return nil, err
	}
	taken = true
	return c, nil
}

// enter returns a new Claim, or the one that is under way in this process.
func (l *Ledger) enter(id ID, print Fingerprint) (c, other *Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.here[id]; other != nil {
		return nil, other
	}
	c = &Claim{ledger: l, id: id, print: print, ended: make(chan struct{})}
	l.here[id] = c
	return c, nil
}

// patience returns when a repetition that began now gives up to wait: early enough for its caller to read why.
func (l *Ledger) patience(ctx context.Context) time.Time {
	now := time.Now()
	end := now.Add(max(0, l.cfg.MaxWait))
	if d, ok := ctx.Deadline(); ok {
		left := d.Sub(now)
		if early := d.Add(-min(max(left/20, 2*time.Millisecond), 50*time.Millisecond)); early.Before(end) {
			end = early
		}
	}
	return end
}

// replay is what a repetition gets of a request that has been answered.
func replay(r Record, print Fingerprint) (*Claim, error) {
	switch {
	case !r.Fingerprint.matches(print):
		return nil, ErrReused
	case r.State == NotKept:
		return nil, ErrNotKept
	}
	return &Claim{result: r.Result, replayed: true}, nil
}

// swap accesses the store within StoreTimeout.
func (l *Ledger) swap(ctx context.Context, id ID, version uint64, data []byte, ttl time.Duration) (Entry, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.StoreTimeout)
	defer cancel()
	return l.store.Swap(ctx, id, version, data, ttl)
}

// wait is one repetition that waits, or may have to.
type wait struct {
	ledger  *Ledger
	end     time.Time
	counted bool
}

// begin is false if it may not wait.
func (w *wait) begin() bool {
	if !w.counted {
		w.counted = true
		if w.ledger.waiting.Add(1) > int64(w.ledger.cfg.MaxWaiting) {
			return false
		}
	}
	return time.Now().Before(w.end)
}

func (w *wait) done() {
	if w.counted {
		w.ledger.waiting.Add(-1)
	}
}

// until waits for done, at most for d (0: not bounded), and not beyond its end. The error is why it must not go on.
func (w *wait) until(ctx context.Context, done <-chan struct{}, d time.Duration) error {
	if !w.begin() {
		return ErrUnderWay
	}
	left := time.Until(w.end)
	last := d <= 0 || left <= d
	if !last {
		left = d
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		if last {
			return ErrUnderWay
		}
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// ended is the failure of a request whose context is done.
func ended(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return failure.Wrap(err, failure.DeadlineExceeded, "no time left")
	}
	return failure.Wrap(err, failure.Canceled, "canceled by the caller")
}

// The pauses between looks at a request that is under way in another process.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// jitter spreads looks over ±25 %, so that those who wait for the same do not all come at once.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2) //nolint:gosec // not a secret
}
