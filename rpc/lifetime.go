package rpc

import (
	"context"
	"sync"
	"time"
)

// lifetime is the context of an attempt: that of the call, which an attempt may end before. It is what
// context.WithDeadline would make, and a hedge's clock, in one: attempts are made for every call, and this needs an
// allocation where the standard library needs seven.
//
// Invariant: err is not nil if and only if done, once it was asked for, is closed.
type lifetime struct {
	context.Context      //nolint:containedctx // it is one
	own             bool // may end before Context does

	lock     sync.Mutex
	deadline time.Time // if own; may become later, until it has come
	expired  bool      // it has
	done     chan struct{}
	err      error
	then     []func()    // run when it ends
	room     [1]func()   // for then: grpc-go derives one context
	unlink   func() bool // from Context

	// Guarded by the target's alarms.
	place int  // in their heap, from 1; 0: not in it
	asked bool // for a hedge, or there is not to be one
}

// live begins a lifetime of its own.
func (l *lifetime) live(deadline time.Time) {
	l.own, l.deadline = true, deadline
	l.then = l.room[:0]
	if l.Context.Done() != nil {
		l.unlink = context.AfterFunc(l.Context, func() { l.cancel(l.Context.Err()) })
	}
}

// Deadline implements context.Context.
func (l *lifetime) Deadline() (time.Time, bool) {
	if !l.own {
		return l.Context.Deadline()
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.deadline, true
}

// extend makes the deadline a later one, and reports whether it did: not if it is one already, or has come.
func (l *lifetime) extend(deadline time.Time) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.expired || !deadline.After(l.deadline) {
		return false
	}
	l.deadline = deadline
	return true
}

// expire returns how much of it there is at now. If that is nothing, the deadline stays what it is.
func (l *lifetime) expire(now time.Time) time.Duration {
	l.lock.Lock()
	defer l.lock.Unlock()
	left := l.deadline.Sub(now)
	l.expired = left <= 0
	return left
}

// left returns how much of it there is at now.
func (l *lifetime) left(now time.Time) time.Duration {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.deadline.Sub(now)
}

// Done implements context.Context.
func (l *lifetime) Done() <-chan struct{} {
	if !l.own {
		return l.Context.Done()
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.err != nil {
			close(l.done)
		}
	}
	return l.done
}

// Err implements context.Context.
func (l *lifetime) Err() error {
	if !l.own {
		return l.Context.Err()
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.err
}

// AfterFunc is how package context derives contexts from those of others without a goroutine for each.
func (l *lifetime) AfterFunc(f func()) (stop func() bool) {
	if !l.own {
		return context.AfterFunc(l.Context, f)
	}
	l.lock.Lock()
	ended := l.err != nil
	if !ended {
		l.then = append(l.then, f)
	}
	l.lock.Unlock()
	if ended {
		go f() // package context calls this with the lock held that f takes
	}
	return unstoppable
}

// unstoppable stops nothing: what was derived from an attempt is gone with it, and is ended at most once.
func unstoppable() bool { return false }

// cancel ends the lifetime, once.
func (l *lifetime) cancel(err error) {
	l.lock.Lock()
	if l.err != nil || !l.own {
		l.lock.Unlock()
		return
	}
	l.err = err
	if l.done != nil {
		close(l.done)
	}
	then := l.then
	l.then = nil
	l.lock.Unlock()
	for _, f := range then {
		f()
	}
}

// end ends the lifetime when the attempt is over.
func (l *lifetime) end() {
	if !l.own {
		return
	}
	if l.unlink != nil {
		l.unlink()
	}
	l.cancel(context.Canceled)
}
