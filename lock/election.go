package lock

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// Election makes one of many processes the leader. Get it from a Locker. Safe for concurrent use.
type Election struct {
	l    *Locker
	name string
}

// Name returns the election's name.
func (e *Election) Name() string { return e.name }

// Lead stands for election, in the order in which candidates came, and calls fn once it is the leader. value, of at most
// 4096 bytes, is what others see of it: an address, for instance. The ctx of fn ends when ctx does or when leadership is
// lost, before another can be leader; fn has to return soon then. token is larger than that of all leaders before.
//
// Lead returns when fn has, after it has resigned: with fn's error, or ErrLost if leadership was lost and fn returned nil
// or its ctx's error. It returns ctx's error if that ends before it was elected.
func (e *Election) Lead(ctx context.Context, value string, fn func(ctx context.Context, token uint64) error) error {
	h, err := e.l.acquire(ctx, e.name, value, false)
	if err != nil {
		return err
	}
	err = e.reign(ctx, h, fn)
	if why := h.err; why != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, why)) {
		return fmt.Errorf("lead %s: %w", e.name, why)
	}
	return err
}

// reign runs fn and resigns, also when fn panics.
func (e *Election) reign(ctx context.Context, h *Held, fn func(ctx context.Context, token uint64) error) error {
	inner, cancel := context.WithCancelCause(h.ctx)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer func() {
		stop()
		cancel(nil)
		end, done := context.WithTimeout(context.WithoutCancel(ctx), e.l.cfg.CallTimeout)
		defer done()
		_ = h.Unlock(end) // what it says is in h.err, or is done in the background
	}()
	return fn(&heldContext{Context: inner, h: h}, h.token)
}

// Leader returns who leads now; ok is false if nobody does. It may be over when it returns.
func (e *Election) Leader(ctx context.Context) (leader Holder, ok bool, err error) {
	return e.l.holder(ctx, e.name)
}

// Observe yields who leads, at once and after each change, until ctx or the Locker ends. A Holder without a Token says
// that nobody does. Leaders that were short may be skipped. It never gives up on an engine: while that does not answer,
// it yields nothing, and what it said last may be over. Tokens go back only when the engine has lost its memory. A wrong
// name yields nothing.
func (e *Election) Observe(ctx context.Context) iter.Seq[Holder] {
	return func(yield func(Holder) bool) {
		if ValidateName(e.name) != nil {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(e.l.ctx, cancel)()
		e.observe(ctx, yield)
	}
}

func (e *Election) observe(ctx context.Context, yield func(Holder) bool) {
	var last driver.Holder
	var highest uint64
	var epoch string // of highest; empty: not known
	pause := backoff.Backoff{Base: pauseMin, Max: pauseMax}
	for known := false; ctx.Err() == nil; {
		h, revision, err := e.l.askHolder(ctx, e.name)
		if err != nil {
			backoff.Pause(ctx, pause.Next())
			continue
		}
		switch {
		case h.Token == 0:
		case h.Token >= highest && epoch == "":
			epoch = e.l.askEpoch(ctx)
		case h.Token < highest && epoch != "":
			if now := e.l.askEpoch(ctx); now != "" && now != epoch {
				epoch, highest = now, 0
			}
		}
		// One that is behind another is an answer from the past, or what an engine was restored to.
		if h.Token == 0 || h.Token >= highest {
			highest = max(highest, h.Token)
			if !known || h != last {
				known, last = true, h
				if !yield(Holder(h)) {
					return
				}
			}
		}
		turn, cancel := context.WithTimeout(ctx, recheck)
		err = e.l.engine.Await(turn, e.name, revision)
		expected := turn.Err() != nil
		cancel()
		if err != nil && !expected {
			backoff.Pause(ctx, pause.Next())
			continue
		}
		pause.Reset()
	}
}

// askEpoch returns the ID of the engine's epoch, and nothing if it does not answer. Where somebody holds a lock there is one.
func (l *Locker) askEpoch(ctx context.Context) (id string) {
	_ = l.within(ctx, func(ctx context.Context) error {
		epoch, err := l.engine.Epoch(ctx)
		id = epoch.ID
		return err
	})
	return id
}
