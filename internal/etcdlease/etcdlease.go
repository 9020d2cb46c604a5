// Package etcdlease gives keys of etcd a time to live by leases that they share: each lease is a burden to etcd until its
// end, and one with many keys, too, at its end.
package etcdlease

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// PerLease bounds the keys of a lease: when it ends etcd removes them in one transaction, and does nothing else meanwhile.
	PerLease = 1000
	// maxTTLs bounds the times to live that are remembered.
	maxTTLs = 16
)

// Leases are those of one client. Safe for concurrent use.
type Leases struct {
	client *clientv3.Client
	turn   chan struct{} // has room for who asks for a lease

	mu  sync.Mutex              // never held during a call of etcd
	now map[time.Duration]lease // what keys are put under, by their time to live
}

// lease takes keys until it is too old for another one, or full.
type lease struct {
	id    clientv3.LeaseID
	until time.Time
	room  int // keys
}

// New returns Leases. The caller keeps client.
func New(client *clientv3.Client) *Leases {
	return &Leases{client: client, turn: make(chan struct{}, 1), now: make(map[time.Duration]lease)}
}

// Take returns a lease for one more key, which lasts for ttl and up to a quarter, and a second, more. When another one is due
// one at a time asks for it, and those who wait have it, too. The error is ctx's or etcd's.
func (l *Leases) Take(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	if id, ok := l.take(ttl); ok {
		return id, nil
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-l.turn }()
	if id, ok := l.take(ttl); ok {
		return id, nil
	}
	now := time.Now()
	spare := ttl / 4
	granted, err := l.client.Grant(ctx, int64((ttl+spare+time.Second-1)/time.Second))
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.now[ttl]; !ok && len(l.now) >= maxTTLs {
		clear(l.now)
	}
	l.now[ttl] = lease{id: granted.ID, until: now.Add(spare), room: PerLease - 1} // from before it was asked for
	return granted.ID, nil
}

func (l *Leases) take(ttl time.Duration) (clientv3.LeaseID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.now[ttl]
	if have.room == 0 || !time.Now().Before(have.until) {
		return 0, false
	}
	have.room--
	l.now[ttl] = have
	return have.id, true
}

// Forget says that etcd does not have a lease any more (rpctypes.ErrLeaseNotFound): it has lost it, or took too long.
func (l *Leases) Forget(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ttl, have := range l.now {
		if have.id == id {
			delete(l.now, ttl)
		}
	}
}
