// Package etcdidempotency keeps the records of package idempotency in etcd, for all instances of a service. A request that
// is run costs two small transactions, and each second of its run one more; a repetition costs one.
//
// It fits where etcd is there anyway and requests with keys are some hundreds a second. A service with a database
// of its own does better with an idempotency.Store on that: a table, a conditional write, a time of expiry.
package etcdidempotency

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/idempotency"
)

// DefaultPrefix is where records lie: DefaultPrefix + hex ID.
const DefaultPrefix = "holdfast/idempotency/"

// Store implements idempotency.Store. It is safe for concurrent use.
//
// Records end by etcd's leases, which they share, so that not each needs one of its own: a record lasts for its time and up to
// a quarter more, and one second. After a change of its leader etcd may keep it longer.
type Store struct {
	client *clientv3.Client
	prefix string

	mu     sync.Mutex
	leases map[time.Duration]lease
}

// lease is what records of one TTL are put under, until it is too old for another one.
type lease struct {
	id    clientv3.LeaseID
	until time.Time
}

// maxLeases bounds the TTLs that are remembered; a Ledger uses two.
const maxLeases = 16

// New returns a Store whose records lie under prefix ("": DefaultPrefix). Services that share an etcd should
// have prefixes of their own. The caller keeps client, and closes it after the last call.
func New(client *clientv3.Client, prefix string) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return &Store{client: client, prefix: prefix, leases: make(map[time.Duration]lease)}
}

// Swap implements idempotency.Store.
func (s *Store) Swap(ctx context.Context, id idempotency.ID, version uint64, data []byte, ttl time.Duration) (idempotency.Entry, bool, error) {
	key := fmt.Sprintf("%s%x", s.prefix, id[:])
	for try := 1; ; try++ {
		e, ok, err := s.swap(ctx, key, version, data, ttl)
		if try == 1 && errors.Is(err, rpctypes.ErrLeaseNotFound) { // etcd has lost it, or took too long
			s.forget(ttl)
			continue
		}
		if err != nil {
			return idempotency.Entry{}, false, fmt.Errorf("etcd swap %s: %w", key, err)
		}
		return e, ok, nil
	}
}

func (s *Store) swap(ctx context.Context, key string, version uint64, data []byte, ttl time.Duration) (idempotency.Entry, bool, error) {
	write := clientv3.OpDelete(key)
	if data != nil {
		lease, err := s.lease(ctx, ttl)
		if err != nil {
			return idempotency.Entry{}, false, err
		}
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

// lease returns one that lasts for ttl or somewhat longer.
func (s *Store) lease(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	s.mu.Lock()
	l, ok := s.leases[ttl]
	s.mu.Unlock()
	now := time.Now()
	if ok && now.Before(l.until) {
		return l.id, nil
	}
	spare := ttl / 4
	granted, err := s.client.Grant(ctx, int64((ttl+spare+time.Second-1)/time.Second))
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) >= maxLeases {
		clear(s.leases)
	}
	s.leases[ttl] = lease{id: granted.ID, until: now.Add(spare)} // from before it was asked for
	return granted.ID, nil
}

func (s *Store) forget(ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, ttl)
}
