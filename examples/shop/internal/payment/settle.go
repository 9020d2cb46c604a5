package payment

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

// Settler ends captures whose time has come, as a provider does at night. It may run in any number of processes: of two
// who settle one charge, one does.
type Settler struct {
	store Store
	when  func() bool
	log   *slog.Logger
}

// NewSettler returns one that looks at store's charges while when says so.
func NewSettler(store Store, when func() bool, log *slog.Logger) *Settler {
	return &Settler{store, when, log}
}

const (
	settleEvery  = 250 * time.Millisecond
	settleTime   = 2 * time.Second // for one charge
	settleAtOnce = 8
	maxDue       = 500 // in one look
)

// Run settles until ctx ends. It returns nil.
func (s *Settler) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settleEvery*4/5 + rand.N(settleEvery*2/5)):
		}
		if !s.when() {
			continue
		}
		if err := s.Once(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("settlement of charges", "error", err) // next time
		}
	}
}

// Once settles all charges that are due. One that fails does not hold up the others; the first error is returned.
func (s *Settler) Once(ctx context.Context) error {
	now := time.Now()
	keys, err := s.store.Due(ctx, now, maxDue)
	if err != nil {
		return err
	}
	var work errgroup.Group
	work.SetLimit(settleAtOnce)
	for _, key := range keys {
		work.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, settleTime)
			defer cancel()
			return s.store.Settle(ctx, key, now)
		})
	}
	return work.Wait()
}
