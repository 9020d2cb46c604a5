package kv

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// perLease bounds what is put under a lease: when it ends etcd removes all of it in one transaction, and does nothing else
// meanwhile.
const perLease = 1000

// leases are what entries that do not stay are put under. Many share one: each lease is a burden to etcd until its end.
type leases struct {
	mu  sync.Mutex // never held during a call of etcd
	now map[time.Duration]lease
}

// lease takes entries until it is too old for another one, or full.
type lease struct {
	id    clientv3.LeaseID
	until time.Time
	room  int
}

// of returns a lease that lasts for keep, or up to a quarter longer, for n entries. Those who need another one at the same
// moment may get one each.
func (l *leases) of(ctx context.Context, client *clientv3.Client, keep time.Duration, n int) (clientv3.LeaseID, error) {
	now := time.Now()
	l.mu.Lock()
	got := l.now[keep]
	fits := got.room >= n && now.Before(got.until)
	if fits {
		got.room -= n
		l.now[keep] = got
	}
	l.mu.Unlock()
	if fits {
		return got.id, nil
	}
	spare := keep / 4
	granted, err := client.Grant(ctx, int64((keep+spare+time.Second-1)/time.Second))
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		l.now = make(map[time.Duration]lease)
	}
	l.now[keep] = lease{granted.ID, now.Add(spare), perLease - n} // from before it was asked for
	return granted.ID, nil
}

// lost says that etcd does not have a lease any more.
func (l *leases) lost(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for keep, have := range l.now {
		if have.id == id {
			delete(l.now, keep)
		}
	}
}
