package orders

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// RecoveryConfig says when an order counts as left behind. The zero value works.
type RecoveryConfig struct {
	// Every is the pause between two looks, ±20 %. Default 2 s.
	Every time.Duration
	// Settle is how long an order that only has to be finished is left to whoever works on it. Default 5 s: longer than
	// a checkout takes. This and the times below are counted from when the recovery first saw the order as it is.
	Settle time.Duration
	// GiveUp is how long a customer may take to repeat a checkout that failed half-way. Then what it holds is
	// given back. Default 2 min; it should be longer than customers are told to wait.
	GiveUp time.Duration
	// Ask is how long an order waits to be told of its payment before the payment provider is asked. Default 5 min: messages
	// come late when what carries them is away, and this is only for one that nobody will ever bring.
	Ask time.Duration
	// AtOnce is how many orders are worked on at the same time. Default 8: one that waits for another service must not
	// hold up the others.
	AtOnce int
	// When, if set, is asked before every look whether this process is the one to do it. It saves work and nothing else:
	// two at once are as good as one.
	When func() bool
}

// Recovery picks up orders that were left on the way, because a process died or a customer went away: what was promised
// (Paid) is finished, what was not is undone; and what waits for a message that does not come asks. It may run in any number
// of processes at once.
//
// How long an order was left is counted here, from the first look that found it as it is, and not by the times in it: those are
// of the clocks of other processes, and one that is some minutes off would have orders given up in the middle of a checkout, or
// never. So whoever takes over from another process begins to count anew.
type Recovery struct {
	store   Store
	process *Process
	cfg     RecoveryConfig
	log     *slog.Logger

	last *Order // of those that wait, where the last look has ended; nil to begin with the oldest

	// What was found in the round of looks before this one and in this one, by order. A round ends with the last of those that
	// wait; what it did not find is forgotten.
	before, found map[string]sighting
}

// sighting is when an order was first seen in a version.
type sighting struct {
	version uint64
	at      time.Time // with a monotonic part
}

// NewRecovery returns a recovery of store's orders.
func NewRecovery(store Store, process *Process, cfg RecoveryConfig, log *slog.Logger) *Recovery {
	if cfg.Every <= 0 {
		cfg.Every = 2 * time.Second
	}
	if cfg.Settle <= 0 {
		cfg.Settle = 5 * time.Second
	}
	if cfg.GiveUp <= 0 {
		cfg.GiveUp = 2 * time.Minute
	}
	if cfg.Ask <= 0 {
		cfg.Ask = 5 * time.Minute
	}
	if cfg.AtOnce <= 0 {
		cfg.AtOnce = 8
	}
	return &Recovery{store: store, process: process, cfg: cfg, log: log, found: make(map[string]sighting)}
}

// Run looks for orders that were left until ctx ends. It returns nil.
func (r *Recovery) Run(ctx context.Context) error {
	for {
		// Spread, so that several processes do not always meet at the same order.
		pause := r.cfg.Every*4/5 + rand.N(r.cfg.Every*2/5)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if r.cfg.When != nil && !r.cfg.When() {
			continue
		}
		if err := r.Once(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("recovery of orders", "error", err) // next time
		}
	}
}

const (
	maxUnfinished = 1000            // in one look
	maxWaiting    = 100             // in one look
	recoverTime   = 5 * time.Second // for one order
)

// Once looks at unfinished orders and works on those that were left: first those that were promised, then the others,
// the oldest first. One that fails does not hold up the others; the first error is returned. It is called by one goroutine at a
// time.
func (r *Recovery) Once(ctx context.Context) error {
	unfinished, err := r.store.Unfinished(ctx, maxUnfinished)
	if err != nil {
		return err
	}
	waiting, err := r.store.Waiting(ctx, r.last, maxWaiting)
	if err != nil {
		return err
	}
	if r.last = nil; len(waiting) == maxWaiting {
		r.last = waiting[maxWaiting-1] // there may be more, and none waits for those who are before it to be answered
	}
	// While another service is away, those that wait for it are many, and each takes its time to fail.
	slices.SortStableFunc(unfinished, func(a, b *Order) int { return promised(b) - promised(a) })
	now := time.Now()
	var work errgroup.Group
	work.SetLimit(r.cfg.AtOnce)
	for _, o := range append(unfinished, waiting...) {
		left := r.left(now, o)
		work.Go(func() error { return r.recover(ctx, o, left) })
	}
	if r.last == nil {
		r.before, r.found = r.found, make(map[string]sighting)
	}
	return work.Wait()
}

// left returns how long o has been as it is now, as far as this process can tell.
func (r *Recovery) left(now time.Time, o *Order) time.Duration {
	s, ok := r.found[o.ID]
	if !ok {
		s = r.before[o.ID]
	}
	if s.version != o.version || s.at.IsZero() {
		s = sighting{o.version, now}
	}
	r.found[o.ID] = s
	return now.Sub(s.at)
}

func promised(o *Order) int {
	if o.Status == Paid {
		return 1
	}
	return 0
}

func (r *Recovery) recover(ctx context.Context, o *Order, left time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, recoverTime)
	defer cancel()
	switch o.Status {
	case Pending, Reserved:
		if left < r.cfg.GiveUp {
			return nil
		}
		ok, err := r.process.GiveUp(ctx, o)
		if err != nil || !ok {
			return err
		}
		if o, err = r.store.Load(ctx, o.ID); err != nil {
			return err
		}
	case Placed:
		if left < r.cfg.Ask {
			return nil
		}
		asked, err := r.process.Ask(ctx, o)
		if err != nil {
			return err
		}
		o = asked
	default:
		if left < r.cfg.Settle {
			return nil
		}
	}
	o, err := r.process.Finish(ctx, o)
	if err == nil && !o.Status.Waits() {
		r.log.Info("order recovered", "order", o.ID, "status", string(o.Status), "age", time.Since(o.Created).Round(time.Second))
	}
	return err
}
