// Package etcdidempotency keeps the records of package idempotency in etcd, for all instances of a service. A request that
// is run costs two small transactions, and each second of its run one more; a repetition costs one.
//
// It fits where etcd is there anyway and what is kept is little: a record takes about 500 bytes beside its answer, for Keep
// and up to a quarter longer, and all records together have to fit into etcd's quota with everything else that it holds, or it
// refuses all writes, registrations and locks included. With a Keep of a day, 512 MiB are full at 10 requests a second with
// short answers; some hundreds a second take a Keep of half an hour, or an etcd of their own with a larger quota. A service
// with a database of its own does better with an idempotency.Store on that: a table, a conditional write, a time of expiry.
package etcdidempotency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/internal/etcdlease"
)

// DefaultPrefix is where records lie: DefaultPrefix + hex ID.
const DefaultPrefix = "holdfast/idempotency/"

// Store implements idempotency.Store. It is safe for concurrent use.
//
// Records end by etcd's leases, which a thousand of them share, so that not each needs one of its own: a record lasts for its
// time and up to a quarter more, and one second. After a change of its leader etcd may keep it longer.
type Store struct {
	client *clientv3.Client
	prefix string
	leases *etcdlease.Leases
}

// New returns a Store whose records lie under prefix ("": DefaultPrefix). Services that share an etcd should
// have prefixes of their own. The caller keeps client, and closes it after the last call.
func New(client *clientv3.Client, prefix string) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return &Store{client: client, prefix: prefix, leases: etcdlease.New(client)}
}

// Swap implements idempotency.Store.
func (s *Store) Swap(ctx context.Context, id idempotency.ID, version uint64, data []byte, ttl time.Duration) (idempotency.Entry, bool, error) {
	key := fmt.Sprintf("%s%x", s.prefix, id[:])
	for try := 1; ; try++ {
		var lease clientv3.LeaseID
		var err error
		if data != nil {
			lease, err = s.leases.Take(ctx, ttl)
		}
		var e idempotency.Entry
		var ok bool
		if err == nil {
			e, ok, err = s.swap(ctx, key, version, data, lease)
		}
		if try == 1 && errors.Is(err, rpctypes.ErrLeaseNotFound) { // etcd has lost it, or took too long
			s.leases.Forget(lease)
			continue
		}
		if err != nil {
			return idempotency.Entry{}, false, fmt.Errorf("etcd swap %s: %w", key, err)
		}
		return e, ok, nil
	}
}

func (s *Store) swap(ctx context.Context, key string, version uint64, data []byte, lease clientv3.LeaseID) (idempotency.Entry, bool, error) {
	write := clientv3.OpDelete(key)
	if data != nil {
		write = clientv3.OpPut(key, string(data), clientv3.WithLease(lease))
	}
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", int64(version))). //nolint:gosec // a revision
		Then(write).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return idempotency.Entry{}, false, err
	}
	if resp.Succeeded {
		if data == nil {
			return idempotency.Entry{}, true, nil
		}
		return idempotency.Entry{Version: uint64(resp.Header.Revision), Data: data}, true, nil //nolint:gosec // not negative
	}
	found := resp.Responses[0].GetResponseRange().GetKvs()
	if len(found) == 0 {
		return idempotency.Entry{}, false, nil
	}
	return idempotency.Entry{Version: uint64(found[0].ModRevision), Data: found[0].Value}, false, nil //nolint:gosec // not negative
}
