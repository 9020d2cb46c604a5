package lock

import (
	"context"
	"errors"
	"iter"
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
	return errors.ErrUnsupported
}

// Leader returns who leads now; ok is false if nobody does. It may be over when it returns.
func (e *Election) Leader(ctx context.Context) (leader Holder, ok bool, err error) {
	return Holder{}, false, errors.ErrUnsupported
}

// Observe yields who leads, at once and after each change, until ctx ends. A Holder without a Token says that nobody
// does. Leaders that were short may be skipped. It never gives up on an engine: while that does not answer, it yields
// nothing, and what it said last may be over. Tokens never go back.
func (e *Election) Observe(ctx context.Context) iter.Seq[Holder] {
	return func(func(Holder) bool) {}
}
