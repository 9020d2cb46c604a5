package lock

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Held is a lock that is held. Safe for concurrent use.
type Held struct {
	s            *session
	name, ticket string
	token        uint64
	since        time.Time
	ctx          *heldContext
	cancel       context.CancelCauseFunc

	once sync.Once
	err  error           // of Unlock
	left <-chan struct{} // closed when the engine knows, or need not any more
}

func newHeld(ctx context.Context, s *session, name, ticket string, token uint64) *Held {
	h := &Held{s: s, name: name, ticket: ticket, token: token, since: time.Now()}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	h.ctx, h.cancel = &heldContext{Context: inner, h: h}, cancel
	return h
}

// Context has the values of the ctx given to Lock and ends when the lock is not held any more: by Unlock (its cause is
// ErrUnlocked), or because it was lost (ErrLost), and then before another can hold it; or by Close (ErrClosed). Its Err
// looks at the clock: after the process was stopped for too long it is not nil, although nothing ran that could have
// ended it; contexts made of it end a moment later. It has no deadline, since it lasts as long as the session is renewed.
func (h *Held) Context() context.Context { return h.ctx }

// Token is larger than that of all who held this lock before. Pass it with each write, so that storage can refuse a
// holder that lost the lock without knowing. It is never 0 and, in microseconds since 1970, about the time of the hold:
// it fits into a signed 64-bit integer, and into a float64 without loss until the year 2255.
func (h *Held) Token() uint64 { return h.token }

// Until is when Context ends if the session is not renewed again. It moves on with each renewal.
func (h *Held) Until() time.Time { return h.s.deadline() }

// Unlock ends Context and gives the lock back. It returns ErrLost if the lock was lost before: what was done may have
// overlapped with another's. ctx bounds only how long it waits for the engine's answer: the lock is given back in any
// case, in the background if need be, by the end of the session at the latest. Calling it again changes nothing.
func (h *Held) Unlock(ctx context.Context) error {
	h.once.Do(func() {
		if why := h.s.drop(h); why != nil {
			h.err = fmt.Errorf("unlock %s: %w", h.name, why)
			return
		}
		h.left = h.s.leave(h.name, h.ticket)
	})
	if h.err != nil {
		return h.err
	}
	select {
	case <-h.left:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-h.left:
		return nil
	default:
		return fmt.Errorf("unlock %s: given back in the background: %w", h.name, ctx.Err())
	}
}

// heldContext is a cancel context that looks at the clock when it is asked. Done and Value are such that contexts made of
// it are told by it directly, without a goroutine each.
type heldContext struct {
	context.Context
	h *Held
}

type tokenKey struct{}

func (c *heldContext) Err() error {
	if c.Context.Err() == nil {
		c.h.s.alive()
	}
	return c.Context.Err()
}

func (c *heldContext) Done() <-chan struct{} {
	if c.Context.Err() == nil {
		c.h.s.alive()
	}
	return c.Context.Done()
}

func (c *heldContext) Value(key any) any {
	if key == (tokenKey{}) {
		return c.h.token
	}
	return c.Context.Value(key)
}

func (c *heldContext) String() string { return "lock " + c.h.name }

// Token returns the token of the hold that ctx belongs to: one made of Held.Context, or given to a leader's function.
// Of a hold within another it is the inner one's.
func Token(ctx context.Context) (token uint64, ok bool) {
	token, ok = ctx.Value(tokenKey{}).(uint64)
	return token, ok
}
