// Package kvinbox is an inbox in a replicated map (package replica/kv).
//
// An [Atomic] is for handlers whose effect is in that map: they make it with [Do], in the transaction that marks the message,
// and it happens exactly once.
//
//	in := kvinbox.NewAtomic(store, kvinbox.Config{})
//	func(ctx context.Context, m queue.Message[Paid]) error {
//		_, err := kvinbox.Do(ctx, kv.Txn{Then: []kv.Op{kv.PutOp("shipments/"+m.Value.Order, data, 0)}})
//		return err
//	}
//
// A [Store] keeps claims (inbox.New) for handlers whose effect is elsewhere.
package kvinbox

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// DefaultPrefix is where marks and claims lie.
const DefaultPrefix = "inbox/"

// ErrDone is returned by Do when the message had its effect before: the handler has nothing to do, and returns it, or nil.
var ErrDone = errors.New("kvinbox: the message is done")

// Config tunes an Atomic. The zero value works.
type Config struct {
	// Prefix is what the keys of the marks begin with. "": "inbox/".
	Prefix string
	// Keep is how long a message that was handled is remembered. It should be longer than the queue keeps messages, and the
	// map has to have room for that many marks (about 200 bytes each). 0: 7 days.
	Keep time.Duration
}

// Atomic is a queue.Inbox whose marks are written with the handlers' effects. Two instances that get the same message at
// once both begin to handle it; one of them has the effect, the other one's Do returns ErrDone. Safe for concurrent use.
type Atomic struct {
	kv  *kv.Store
	cfg Config
}

var _ queue.Inbox = (*Atomic)(nil)

// NewAtomic returns an Atomic on a map that has to be run (kv.Store.Run), since marks end by their TTL.
func NewAtomic(store *kv.Store, cfg Config) *Atomic {
	cfg.Prefix = orDefault(cfg.Prefix)
	if cfg.Keep <= 0 {
		cfg.Keep = inbox.DefaultKeep
	}
	return &Atomic{store, cfg}
}

// message is one that is being handled. It is for the handler's goroutine.
type message struct {
	a         *Atomic
	mark      string
	committed bool // by Do
	found     bool // by Do: somebody else has
}

type messageKey struct{}

// Once implements queue.Inbox. A handler that returns nil without having called Do is marked all the same. The error is run's,
// or that of the map; what was not answered is found done when the message comes again.
func (a *Atomic) Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	key := inbox.KeyOf(scope, id)
	m := &message{a: a, mark: a.cfg.Prefix + key}
	if _, done, err := a.kv.Get(ctx, replica.Linearizable, m.mark); err != nil || done {
		return err //nolint:wrapcheck // says what it is
	}
	err := run(context.WithValue(inbox.WithKey(ctx, key), messageKey{}, m))
	switch {
	case m.found:
		return nil // whatever the handler made of it
	case err != nil || m.committed:
		return err
	}
	_, err = a.kv.CompareAndSwap(ctx, m.mark, 0, nil, kv.TTL(a.cfg.Keep))
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	return err //nolint:wrapcheck // says what it is
}

// Do runs a transaction and marks the message that ctx's handler handles as done, both or neither, if all of txn.If holds.
// TxnResult is that of txn; if it did not succeed, nothing was done, and Do can be called again with what is true now. It
// must succeed at most once for a message. txn.Else has to be empty.
//
// ErrDone says that the message was done before. Another error may come after the transaction, which shows when the
// message is handled again.
func Do(ctx context.Context, txn kv.Txn) (kv.TxnResult, error) {
	m, ok := ctx.Value(messageKey{}).(*message)
	switch {
	case !ok:
		return kv.TxnResult{}, failure.New(failure.FailedPrecondition, "kvinbox.Do outside of a handler with a kvinbox.Atomic")
	case len(txn.Else) > 0:
		return kv.TxnResult{}, failure.New(failure.InvalidArgument, "kvinbox.Do: the transaction has an Else, which would not be once")
	case m.committed:
		return kv.TxnResult{}, failure.New(failure.FailedPrecondition, "kvinbox.Do: the message has had its transaction")
	}
	txn.If = append([]kv.Compare{kv.Absent(m.mark)}, txn.If...)
	txn.Then = append([]kv.Op{kv.PutOp(m.mark, nil, m.a.cfg.Keep)}, txn.Then...)
	txn.Else = []kv.Op{kv.GetOp(m.mark)}
	res, err := m.a.kv.Do(ctx, txn)
	switch {
	case err != nil:
		return kv.TxnResult{}, err //nolint:wrapcheck // says what it is
	case res.Succeeded:
		m.committed = true
		res.Before = res.Before[1:] // of txn's own
		return res, nil
	case res.Before[0] != nil:
		m.found = true
		return kv.TxnResult{}, ErrDone
	}
	res.Before = nil
	return res, nil
}
