package lock

import (
	"context"
	"errors"
	"time"
)

// Mutex is a lock that one at a time holds, of all the processes on an engine. Its zero value is of no use; get it from a
// Locker. Safe for concurrent use: goroutines of one process exclude each other as processes do.
type Mutex struct {
	l    *Locker
	name string
}

// Name returns the lock's name.
func (m *Mutex) Name() string { return m.name }

// Lock waits until it is its turn, in the order in which callers came, and returns the hold; or until ctx is done. It
// survives an engine that does not answer. A session that is lost while Lock waits costs it its place in the queue.
// When it returns an error, the caller holds nothing and waits for nothing.
func (m *Mutex) Lock(ctx context.Context) (*Held, error) { return nil, errors.ErrUnsupported }

// TryLock returns the hold if nobody holds or waits, and otherwise ErrHeld. It waits for the engine's answer, not for
// others. An engine that does not answer is an error with the code UNAVAILABLE.
func (m *Mutex) TryLock(ctx context.Context) (*Held, error) { return nil, errors.ErrUnsupported }

// Holder returns who holds the lock now; ok is false if nobody does. It may be over when it returns.
func (m *Mutex) Holder(ctx context.Context) (h Holder, ok bool, err error) {
	return Holder{}, false, errors.ErrUnsupported
}

// Holder is who holds a lock.
type Holder struct {
	// Name is Config.Name of the holder's Locker.
	Name string
	// Value is what a leader said of itself; empty for a Mutex.
	Value string
	// Token is the holder's; never 0.
	Token uint64
}

// Held is a lock that is held. Safe for concurrent use.
type Held struct{}

// Context has the values of the ctx given to Lock and ends when the lock is not held any more: by Unlock (its cause is
// ErrUnlocked), or because it was lost (ErrLost), and then before another can hold it. Its Err looks at the clock: after
// the process was stopped for too long it is not nil, although nothing ran that could have ended it. It has no deadline,
// since it lasts as long as the session is renewed.
func (h *Held) Context() context.Context { return context.Background() }

// Token is larger than that of all who held this lock before. Pass it with each write, so that storage can refuse a
// holder that lost the lock without knowing. It is never 0 and, in microseconds since 1970, about the time of the hold:
// it fits into a signed 64-bit integer, and into a float64 without loss until the year 2255.
func (h *Held) Token() uint64 { return 0 }

// Until is when Context ends if the session is not renewed again. It moves on with each renewal.
func (h *Held) Until() time.Time { return time.Time{} }

// Unlock ends Context and gives the lock back. It returns ErrLost if the lock was lost before: what was done may have
// overlapped with another's. ctx bounds only how long it waits for the engine's answer: the lock is given back in any
// case, in the background if need be, by the end of the session at the latest. Calling it again changes nothing.
func (h *Held) Unlock(ctx context.Context) error { return nil }

// Token returns the token of the hold that ctx belongs to: one made of Held.Context, or given to a leader's function.
func Token(ctx context.Context) (token uint64, ok bool) { return 0, false }
