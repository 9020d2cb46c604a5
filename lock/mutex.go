package lock

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// Mutex is a lock that one at a time holds, of all the processes on an engine. Its zero value is of no use; get it from a
// Locker. Safe for concurrent use: goroutines of one process exclude each other as processes do. It is not reentrant.
type Mutex struct {
	l    *Locker
	name string
}

// Name returns the lock's name.
func (m *Mutex) Name() string { return m.name }

// Lock waits until it is its turn, in the order in which callers came, and returns the hold; or until ctx is done. It
// survives an engine that does not answer. A session that is lost while Lock waits costs it its place in the queue.
// When it returns an error, the caller holds nothing and waits for nothing.
func (m *Mutex) Lock(ctx context.Context) (*Held, error) { return m.l.acquire(ctx, m.name, "", false) }

// TryLock returns the hold if nobody holds or waits, and otherwise ErrHeld. It waits for the engine's answer, at most for
// Config.CallTimeout, not for others. An engine that does not answer, or does not grant anything yet (Config.Settle), is
// an error with the code UNAVAILABLE.
func (m *Mutex) TryLock(ctx context.Context) (*Held, error) {
	return m.l.acquire(ctx, m.name, "", true)
}

// Holder returns who holds the lock now; ok is false if nobody does. It may be over when it returns. An engine that does
// not answer is an error with the code UNAVAILABLE.
func (m *Mutex) Holder(ctx context.Context) (h Holder, ok bool, err error) {
	return m.l.holder(ctx, m.name)
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

func (l *Locker) holder(ctx context.Context, name string) (Holder, bool, error) {
	if err := ValidateName(name); err != nil {
		return Holder{}, false, failure.Wrap(err, failure.InvalidArgument, "the lock's name is wrong")
	}
	d, _, err := l.askHolder(ctx, name)
	if err != nil {
		err = fmt.Errorf("holder of lock %s: %w", name, err)
		if ctx.Err() == nil {
			err = failure.Wrap(err, failure.Unavailable, "locks do not answer")
		}
		return Holder{}, false, err
	}
	return Holder(d), d.Token != 0, nil
}

// askHolder asks the engine, and remembers the token, which the engine may forget.
func (l *Locker) askHolder(ctx context.Context, name string) (driver.Holder, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.CallTimeout)
	defer cancel()
	h, revision, err := l.engine.Holder(ctx, name)
	if err == nil {
		l.saw(h.Token)
	}
	return h, revision, err
}
