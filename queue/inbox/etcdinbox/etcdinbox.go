// Package etcdinbox is an inbox in etcd for handlers whose effect is there, too: they make it with [Do], in the transaction
// that marks the message, and it happens exactly once.
//
//	in := etcdinbox.NewAtomic(client, etcdinbox.Config{})
//	func(ctx context.Context, m queue.Message[Paid]) error {
//		_, err := etcdinbox.Do(ctx, nil, clientv3.OpPut("shipments/"+m.Value.Order, data))
//		return err
//	}
//
// Handlers whose effect is elsewhere have claims: inbox.New(etcdidempotency.New(client, prefix), …).
//
// A message costs a read and a transaction. etcd keeps all of its keys in memory: some hundreds of messages a second, for a
// Keep of days, are as many marks as it should have.
package etcdinbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/etcdlease"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox"
)

// DefaultPrefix is where marks lie.
const DefaultPrefix = "holdfast/inbox/"

// ErrDone is returned by Do when the message had its effect before: the handler has nothing to do, and returns it, or nil.
var ErrDone = errors.New("etcdinbox: the message is done")

// Config tunes an Atomic. The zero value works.
type Config struct {
	// Prefix is what the keys of the marks begin with. "": "holdfast/inbox/".
	Prefix string
	// Keep is how long a message that was handled is remembered, or somewhat longer: a thousand marks share a lease. It should be longer
	// than the queue keeps messages. 0: 7 days.
	Keep time.Duration
	// Timeout bounds each call of etcd. 0: 5 s.
	Timeout time.Duration
}

// Atomic is a queue.Inbox whose marks are written with the handlers' effects. Two instances that get the same message at
// once both begin to handle it; one of them has the effect, the other one's Do returns ErrDone. Safe for concurrent use.
type Atomic struct {
	client *clientv3.Client
	cfg    Config
	leases *etcdlease.Leases // of marks
}

var _ queue.Inbox = (*Atomic)(nil)

// NewAtomic returns an Atomic. The caller keeps client, and closes it after the last call.
func NewAtomic(client *clientv3.Client, cfg Config) *Atomic {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Keep <= 0 {
		cfg.Keep = inbox.DefaultKeep
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	return &Atomic{client: client, cfg: cfg, leases: etcdlease.New(client)}
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
// or UNAVAILABLE; what was not answered is found done when the message comes again.
func (a *Atomic) Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	key := inbox.KeyOf(scope, id)
	m := &message{a: a, mark: a.cfg.Prefix + key}
	call, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	found, err := a.client.Get(call, m.mark, clientv3.WithCountOnly())
	cancel()
	if err != nil {
		return failed(ctx, err)
	}
	if found.Count > 0 {
		return nil
	}
	err = run(context.WithValue(inbox.WithKey(ctx, key), messageKey{}, m))
	if !m.found && !m.committed && err == nil {
		_, err = m.do(ctx, nil, nil)
	}
	if m.found {
		return nil // whatever the handler made of it
	}
	return err
}

// Do runs ops and marks the message that ctx's handler handles as done, both or neither, if all comparisons hold. The response is
// that of ops; if it did not succeed, a comparison did not hold, nothing was done, and Do can be called again with what
// is true now. It must succeed at most once for a message.
//
// ErrDone says that the message was done before. INVALID_ARGUMENT says that etcd will never do such a transaction: too many
// operations, too large, the same key twice. Another error may come after the transaction, which shows when the
// message is handled again.
func Do(ctx context.Context, ifs []clientv3.Cmp, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	m, ok := ctx.Value(messageKey{}).(*message)
	switch {
	case !ok:
		return nil, failure.New(failure.FailedPrecondition, "etcdinbox.Do outside of a handler with an etcdinbox.Atomic")
	case m.committed:
		return nil, failure.New(failure.FailedPrecondition, "etcdinbox.Do: the message has had its transaction")
	}
	return m.do(ctx, ifs, ops)
}

func (m *message) do(ctx context.Context, ifs []clientv3.Cmp, ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	call, cancel := context.WithTimeout(ctx, m.a.cfg.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		lease, err := m.a.leases.Take(call, m.a.cfg.Keep)
		if err != nil {
			return nil, failed(ctx, err)
		}
		resp, err := m.a.client.Txn(call).
			If(append([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(m.mark), "=", 0)}, ifs...)...).
			Then(append([]clientv3.Op{clientv3.OpPut(m.mark, "", clientv3.WithLease(lease))}, ops...)...).
			Else(clientv3.OpGet(m.mark, clientv3.WithCountOnly())).
			Commit()
		switch {
		case try == 1 && errors.Is(err, rpctypes.ErrLeaseNotFound): // etcd has lost it, or took too long
			m.a.leases.Forget(lease)
			continue
		case err != nil:
			return nil, failed(ctx, err)
		case resp.Succeeded:
			m.committed = true
			resp.Responses = resp.Responses[1:] // of ops
			return resp, nil
		case resp.Responses[0].GetResponseRange().GetCount() > 0:
			m.found = true
			return nil, ErrDone
		}
		resp.Responses = nil
		return resp, nil
	}
}

func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("inbox: %w", ctx.Err())
	}
	for _, wrong := range impossible {
		if errors.Is(err, wrong) {
			return failure.Wrap(err, failure.InvalidArgument, "etcd refuses the transaction")
		}
	}
	return failure.Wrap(err, failure.Unavailable, "the etcd of the inbox does not do it")
}

// impossible are etcd's words on a transaction that it will never do. That they are INVALID_ARGUMENT to etcd does not tell:
// so is a token of yesterday.
var impossible = []error{
	rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey, rpctypes.ErrValueProvided, rpctypes.ErrLeaseProvided, rpctypes.ErrRequestTooLarge,
}
