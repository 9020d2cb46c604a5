package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/internal/sqldb"
)

// ErrLost ends the ctx of a leader whose lease could not be renewed in time.
var ErrLost error = failure.New(failure.Aborted, "the lease of the outbox was lost").WithReason("OUTBOX_LEASE_LOST", failure.Domain)

// Lead implements outbox.Leader: by a lease in the database, by the database's clock (SQLite: this machine's). Whoever waits
// looks for it five times a lease.
func (s *Store) Lead(ctx context.Context, fn func(ctx context.Context) error) error {
	holder := rand.Text()
	pause := backoff.Backoff{Base: 50 * time.Millisecond, Max: s.cfg.Lease / 5}
	for {
		until, ok, err := s.acquire(ctx, holder)
		if ok {
			return s.reign(ctx, holder, until, fn)
		}
		wait := backoff.Jitter(s.cfg.Lease/10, s.cfg.Lease/5)
		if err != nil {
			if ctx.Err() == nil && !sqldb.Busy(err) {
				s.cfg.Logger.Warn("the relay cannot find out whether it leads", "outbox", s.cfg.Prefix, "error", err)
			}
			wait = pause.Next()
		}
		if !backoff.Pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// acquire returns until when the lease is held, by this process's clock.
func (s *Store) acquire(ctx context.Context, holder string) (until time.Time, ok bool, err error) {
	sent := time.Now()
	call, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	args := []any{holder, s.cfg.Lease.Seconds()}
	if s.dialect == SQLite {
		args = append(args, s.time(sent))
	}
	var token int64
	err = s.db.QueryRowContext(call, s.sql.lead, args...).Scan(&token)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, false, nil
	}
	if err != nil {
		// It may have been given all the same, to a holder that nobody is: it ends by itself.
		return time.Time{}, false, s.failed(ctx, "lead the outbox", err)
	}
	return sent.Add(s.cfg.Lease * 4 / 5), true, nil
}

// reign runs fn while the lease is renewed.
func (s *Store) reign(ctx context.Context, holder string, until time.Time, fn func(ctx context.Context) error) error {
	inner, cancel := context.WithCancelCause(ctx)
	r := &reign{Context: inner, cancel: cancel, until: until}
	var wg sync.WaitGroup
	wg.Go(func() { s.renew(r, holder) })
	defer func() {
		cancel(nil)
		wg.Wait()
		end, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		if _, err := s.db.ExecContext(end, s.sql.resign, holder); err != nil { // the lease ends by itself
			s.cfg.Logger.Debug("the lease of the outbox was not given back", "outbox", s.cfg.Prefix, "error", err)
		}
	}()
	err := fn(r)
	if why := context.Cause(r); errors.Is(why, ErrLost) && (err == nil || errors.Is(err, context.Canceled)) {
		return why
	}
	return err
}

// reign is the ctx of a leader. Its Err looks at the clock: a process that was stopped for too long is told by it, though
// nothing ran that could have ended it.
type reign struct {
	context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	until time.Time
}

func (r *reign) Err() error {
	r.mu.Lock()
	until := r.until
	r.mu.Unlock()
	if r.Context.Err() == nil && !time.Now().Before(until) {
		r.cancel(ErrLost)
	}
	return r.Context.Err()
}

func (r *reign) extend(until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = until
}

// renew renews the lease five times as often as it has to, until it is lost or given back.
func (s *Store) renew(r *reign, holder string) {
	for backoff.Pause(r.Context, s.cfg.Lease/5) && r.Err() == nil {
		sent := time.Now()
		args := []any{holder, s.cfg.Lease.Seconds()}
		if s.dialect == SQLite {
			args = append(args, s.time(sent))
		}
		call, cancel := context.WithDeadline(r.Context, r.deadline())
		res, err := s.db.ExecContext(call, s.sql.renew, args...)
		cancel()
		if err != nil {
			continue // until the time is over
		}
		if n, err := res.RowsAffected(); err == nil && n == 0 {
			r.cancel(ErrLost)
			return
		}
		r.extend(sent.Add(s.cfg.Lease * 4 / 5))
	}
}

func (r *reign) deadline() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until
}
