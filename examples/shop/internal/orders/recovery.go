package orders

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
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
	// AtOnce is how many orders of each kind are worked on at the same time. Default 8: one that waits for another service
	// must not hold up the others.
	AtOnce int
	// When, if set, is asked before every look whether this process is the one to do it. It saves work and nothing else:
	// two at once are as good as one.
	When func() bool
}

// Recovery picks up orders that were left on the way, because a process died or a customer went away: what was promised
// (Paid) is finished, what was not is undone; and what waits for a message that does not come asks. These are three kinds, and
// none waits for another: while a service is away, those that need it are many, and each takes its time to fail. It may run in
// any number of processes at once.
//
// How long an order was left is counted here, from the first look that found it as it is, and not by the times in it: those are
// of the clocks of other processes, and one that is some minutes off would have orders given up in the middle of a checkout, or
// never. So whoever takes over from another process begins to count anew.
type Recovery struct {
	store   Store
	process *Process
	cfg     RecoveryConfig
	log     *slog.Logger

	kinds []*kind
}

// kind is the orders of one kind, as the recovery goes through them. Each look begins where the last one has ended, so that
// those that hang keep none of those behind them from their turn.
type kind struct {
	page  func(ctx context.Context, after *Order, limit int) ([]*Order, error)
	limit int // of a look

	last *Order // where the last look has ended; nil to begin with the oldest

	// What was found in the round of looks before this one and in this one, by order. A round ends with the newest order; what
	// it did not find is forgotten.
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
	return &Recovery{store: store, process: process, cfg: cfg, log: log, kinds: []*kind{
		{page: store.Promised, limit: 1000, found: make(map[string]sighting)},
		{page: store.Unfinished, limit: 1000, found: make(map[string]sighting)},
		{page: store.Waiting, limit: 100, found: make(map[string]sighting)},
	}}
}

// Run looks for orders that were left until ctx ends. It returns nil.
func (r *Recovery) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, k := range r.kinds {
		all.Go(func() { r.run(ctx, k) })
	}
	all.Wait()
	return nil
}

func (r *Recovery) run(ctx context.Context, k *kind) {
	for {
		// Spread, so that several processes do not always meet at the same order.
		pause := r.cfg.Every*4/5 + rand.N(r.cfg.Every*2/5)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if r.cfg.When != nil && !r.cfg.When() {
			continue
		}
		if err := r.look(ctx, k); err != nil && ctx.Err() == nil {
			r.log.Warn("recovery of orders", "error", err) // next time
		}
	}
}

const (
	lookTime    = 10 * time.Second // after that a look begins no more
	recoverTime = 5 * time.Second  // for one order
)

// Once looks at the orders of each kind once, one kind after the other, and works on those that were left. One that fails does
// not hold up the others; errors are returned. It is called by one goroutine at a time, and not beside Run.
func (r *Recovery) Once(ctx context.Context) error {
	var errs []error
	for _, k := range r.kinds {
		errs = append(errs, r.look(ctx, k))
	}
	return errors.Join(errs...)
}

// look works on the orders of a kind that were left, the oldest first. It returns the first error.
func (r *Recovery) look(ctx context.Context, k *kind) error {
	page, err := k.page(ctx, k.last, k.limit)
	if err != nil {
		return err
	}
	if k.last = nil; len(page) == k.limit {
		k.last = page[k.limit-1] // there may be more
	}
	begun := time.Now()
	for _, o := range page {
		k.see(begun, o)
	}
	var work errgroup.Group
	work.SetLimit(r.cfg.AtOnce)
	for i, o := range page {
		if i > 0 && time.Since(begun) >= lookTime {
			k.last = page[i-1]
			break
		}
		left := begun.Sub(k.found[o.ID].at)
		work.Go(func() error { return r.recover(ctx, o, left) })
	}
	if k.last == nil {
		k.before, k.found = k.found, make(map[string]sighting)
	}
	return work.Wait()
}

// see notes since when o is as it is now, as far as this process can tell.
func (k *kind) see(now time.Time, o *Order) {
	s, ok := k.found[o.ID]
	if !ok {
		s = k.before[o.ID]
	}
	if s.version != o.version || s.at.IsZero() {
		s = sighting{o.version, now}
	}
	k.found[o.ID] = s
}

// recover goes on with o, which has been as it is for so long, as far as this process can tell.
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
