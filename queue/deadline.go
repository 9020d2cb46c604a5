package queue

import (
	"context"
	"sync/atomic"
	"time"
)

// deadline is the context of a handler: what context.WithDeadline would make, which is made when somebody asks for Done. Most
// handlers of a message are over before they or what they call do, and a timer, its place in the runtime's heap and one among
// the children of the run are most of what it costs to handle one.
type deadline struct {
	context.Context //nolint:containedctx // it is one
	at              time.Time
	state           atomic.Pointer[deadlineState]
}

// deadlineState is nil at first, then either over or with a context to ask.
type deadlineState struct {
	context.Context //nolint:containedctx // nil: over before anybody asked
	cancel          context.CancelFunc
}

var overUnasked deadlineState

func withDeadline(parent context.Context, at time.Time) *deadline {
	return &deadline{Context: parent, at: at}
}

// made returns the context that there is to ask.
func (d *deadline) made() context.Context {
	for {
		if s := d.state.Load(); s != nil && s.Context != nil {
			return s.Context
		}
		next := new(deadlineState)
		next.Context, next.cancel = context.WithDeadline(d.Context, d.at)
		switch {
		case d.state.CompareAndSwap(nil, next):
			return next.Context
		case d.state.Load() == &overUnasked:
			next.cancel()
			if d.state.CompareAndSwap(&overUnasked, next) {
				return next.Context
			}
		}
		next.cancel()
	}
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) {
	if at, ok := d.Context.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} { return d.made().Done() }

// Err implements context.Context.
func (d *deadline) Err() error {
	switch s := d.state.Load(); {
	case s == &overUnasked:
		return context.Canceled
	case s != nil:
		return s.Err()
	}
	if err := d.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(d.at) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. Package context finds what it has made by it, and so needs no goroutine for those that
// are derived from it.
func (d *deadline) Value(key any) any {
	if s := d.state.Load(); s != nil && s.Context != nil {
		return s.Value(key)
	}
	return d.Context.Value(key)
}

// end ends it, if it has not: the handler has returned.
func (d *deadline) end() {
	if !d.state.CompareAndSwap(nil, &overUnasked) {
		if s := d.state.Load(); s.cancel != nil {
			s.cancel()
		}
	}
}
