package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/failure"
)

// The times of one call. Retrying is safe whatever became of the try before: reads change nothing, and commits
// are guarded by their conditions.
const (
	// tryTimeout has to be longer than a slow write to disk, and short enough that a frozen member costs one try
	// and the next goes elsewhere.
	tryTimeout = 700 * time.Millisecond
	// callTimeout spans the election of a new leader (about 1 s) and stays well below the patience of a checkout.
	callTimeout = 2 * time.Second
	// awayTimeout is all that a call gets while the store is known to be away.
	awayTimeout = 300 * time.Millisecond
	// fairTry is long enough to say, when it comes to nothing, that the store does not answer.
	fairTry    = 200 * time.Millisecond
	maxBackoff = 200 * time.Millisecond
)

// Etcd is a KV on an etcd cluster.
type Etcd struct {
	client *clientv3.Client
	pulse  pulse
	leases leases
}

// OpenEtcd returns a KV on the cluster with these endpoints (host:port), to which dial connects: a Service's Dialer. It does
// not wait for the cluster: that need not be there yet.
func OpenEtcd(endpoints []string, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*Etcd, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("open etcd: no endpoints: HOLDFAST_REGISTRY is not an etcd:// URL")
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		PermitWithoutStream:  true,
		MaxUnaryRetries:      1, // a single attempt: the retrying is done here, and by one layer only
		Logger:               zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dial(ctx, "tcp", address)
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("open etcd %v: %w", endpoints, err)
	}
	return &Etcd{client: client}, nil
}

// Close gives the connections back.
func (e *Etcd) Close() error { return e.client.Close() }

// Get implements KV.
func (e *Etcd) Get(ctx context.Context, keys ...string) ([]Entry, error) {
	ops := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		ops[i] = clientv3.OpGet(key)
	}
	entries := make([]Entry, len(keys))
	err := e.call(ctx, "read", func(ctx context.Context) error {
		resp, err := e.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return err
		}
		for i, r := range resp.Responses {
			entries[i] = Entry{Key: keys[i]}
			if kvs := r.GetResponseRange().Kvs; len(kvs) == 1 {
				entries[i] = entry(kvs[0])
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// List implements KV.
func (e *Etcd) List(ctx context.Context, r Range) (Page, error) {
	from := r.Prefix
	if r.After != "" {
		from = max(from, r.After+"\x00")
	}
	opts := []clientv3.OpOption{
		clientv3.WithRange(clientv3.GetPrefixRangeEnd(r.Prefix)),
		clientv3.WithLimit(int64(r.Limit)),
	}
	var page Page
	err := e.call(ctx, "list", func(ctx context.Context) error {
		resp, err := e.client.Get(ctx, from, opts...)
		if err != nil {
			return err
		}
		page = Page{Entries: make([]Entry, 0, len(resp.Kvs)), Revision: resp.Header.Revision, More: resp.More}
		for _, kv := range resp.Kvs {
			page.Entries = append(page.Entries, entry(kv))
		}
		return nil
	})
	return page, err
}

// Commit implements KV.
func (e *Etcd) Commit(ctx context.Context, tx Txn) (int64, error) {
	conditions := make([]clientv3.Cmp, len(tx.If))
	for i, c := range tx.If {
		conditions[i] = clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.Revision)
	}
	var revision int64
	err := e.call(ctx, "write", func(ctx context.Context) error {
		var opts []clientv3.OpOption
		var lease clientv3.LeaseID
		if tx.Keep > 0 {
			var err error
			if lease, err = e.leases.of(ctx, e.client, tx.Keep, len(tx.Put)); err != nil {
				return err
			}
			opts = append(opts, clientv3.WithLease(lease))
		}
		ops := make([]clientv3.Op, 0, len(tx.Put)+len(tx.Delete))
		for _, p := range tx.Put {
			ops = append(ops, clientv3.OpPut(p.Key, string(p.Value), opts...))
		}
		for _, key := range tx.Delete {
			ops = append(ops, clientv3.OpDelete(key))
		}
		resp, err := e.client.Txn(ctx).If(conditions...).Then(ops...).Commit()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) { // etcd has lost what it had
			e.leases.lost(lease)
		}
		if err != nil {
			return err
		}
		revision = 0 // not that of an earlier try
		if resp.Succeeded {
			revision = resp.Header.Revision
		}
		return nil
	})
	return revision, err
}

// Watch implements KV.
func (e *Etcd) Watch(ctx context.Context, prefix string, after int64, apply func([]Entry)) error {
	// Without a leader a watch would stay silent for as long as that lasts.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for resp := range e.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1)) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch %s: %w", prefix, err)
		}
		entries := make([]Entry, 0, len(resp.Events))
		for _, ev := range resp.Events {
			changed := entry(ev.Kv)
			if ev.Type == clientv3.EventTypeDelete {
				changed.Value = nil
			}
			entries = append(entries, changed)
		}
		if len(entries) > 0 {
			apply(entries)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("watch %s: %w", prefix, err)
	}
	return fmt.Errorf("watch %s: closed", prefix)
}

// call runs try until it works, the error is one that trying again does not mend, or time is up. Whose time matters: when
// it is ours, the store is away and the caller is told to come back. When it is the caller's, that may be the short time
// of one attempt of a call that is tried again elsewhere at once; to tell it to wait would end that.
func (e *Etcd) call(ctx context.Context, verb string, try func(context.Context) error) error {
	limit := callTimeout
	if e.pulse.gone(time.Now()) {
		limit = awayTimeout
	}
	all, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for backoff := 25 * time.Millisecond; ; backoff = min(2*backoff, maxBackoff) {
		start := time.Now()
		one, cancelOne := context.WithTimeout(all, tryTimeout)
		err := try(one)
		cancelOne()
		// A try that its caller broke off, or gave next to no time, says nothing about the store; after a fair time
		// without an answer it does, whoever ended it.
		if ended := time.Now(); err == nil || ctx.Err() == nil || ended.Sub(start) >= fairTry {
			e.pulse.beat(start, ended, err == nil || ctx.Err() == nil && !transient(err))
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return theirs(ctx, verb, err)
		case !transient(err):
			return failure.Wrap(err, failure.Internal, "store %s failed", verb)
		case e.pulse.gone(time.Now()):
			return away(err)
		}
		select {
		case <-all.Done():
		case <-time.After(rand.N(backoff)):
			continue
		}
		if ctx.Err() != nil {
			return theirs(ctx, verb, err)
		}
		return away(err)
	}
}

func theirs(ctx context.Context, verb string, cause error) error {
	return failure.Wrap(cause, failure.CodeOf(ctx.Err()), "store %s: the caller's time is over", verb)
}

// transient reports whether another try may fare better: no leader, no connection, an answer too late, a member that has too
// much to do, or a lease that is gone.
func transient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return true
	}
	// etcd's client turns statuses into errors of its own, which keep the code.
	var coded interface{ Code() codes.Code }
	code := status.Code(err)
	if errors.As(err, &coded) {
		code = coded.Code()
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled, codes.Aborted:
		return true
	default:
		return false
	}
}

func entry(kv *mvccpb.KeyValue) Entry {
	return Entry{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision}
}
