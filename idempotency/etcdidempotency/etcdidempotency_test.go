//go:build real

package etcdidempotency_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/idempotency/etcdidempotency"
	"github.com/holdfast-go/holdfast/idempotency/idempotencytest"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
)

func client(t *testing.T, addr string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func open(t *testing.T, addr string) *etcdidempotency.Store {
	t.Helper()
	return etcdidempotency.New(client(t, addr), "")
}

func TestRealStore(t *testing.T) {
	etcd := etcdtest.Start(t)
	idempotencytest.Run(t, idempotencytest.Config{
		Open: func(t *testing.T) (a, b idempotency.Store) {
			t.Parallel()
			return open(t, etcd.Addr()), open(t, etcd.Addr())
		},
		TTL: 5 * time.Second, Late: 3 * time.Second,
	})
}

// An etcd that comes back without its data has no leases either: requests begin anew, with new ones.
func TestRealEtcdThatLostEverything(t *testing.T) {
	etcd := etcdtest.Start(t)
	ledger := idempotency.New(open(t, etcd.Addr()), idempotency.Config{})
	var runs atomic.Int64
	place := func() {
		t.Helper()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				claim, err := ledger.Begin(ctx, idempotency.Key{Key: "key"}, idempotency.Fingerprint{})
				for failure.CodeOf(err) == failure.Unavailable && ctx.Err() == nil {
					claim, err = ledger.Begin(ctx, idempotency.Key{Key: "key"}, idempotency.Fingerprint{})
				}
				if err != nil {
					t.Error(err)
					return
				}
				if result, ok := claim.Replayed(); ok {
					if string(result) != "done" {
						t.Errorf("%q", result)
					}
					return
				}
				runs.Add(1)
				if err := claim.Finish(ctx, []byte("done")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	place()
	place()
	if n := runs.Load(); n != 1 {
		t.Errorf("%d runs", n)
	}
	etcd.RestartEmpty()
	place()
	if n := runs.Load(); n != 2 {
		t.Errorf("%d runs after everything was lost", n)
	}
}

// etcd removes all records of a lease at once when it ends, and does nothing else meanwhile: no lease has many, however fast they
// come. Those who need one at the same time share it: each that is asked for stays until its end.
func TestRealALeaseHasNotManyRecords(t *testing.T) {
	const records, most = 2200, 1000
	c := client(t, etcdtest.Start(t).Addr())
	store := etcdidempotency.New(c, "")
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := g; i < records; i += 20 {
				id := idempotency.ID{byte(i), byte(i >> 8)}
				if _, ok, err := store.Swap(t.Context(), id, 0, []byte("done"), time.Hour); err != nil || !ok {
					t.Errorf("%v, %v", ok, err)
					return
				}
			}
		})
	}
	wg.Wait()
	leases, err := c.Leases(t.Context())
	if err != nil || len(leases.Leases) != 3 {
		t.Fatalf("%d leases, %v; want 3", len(leases.Leases), err)
	}
	sum := 0
	for _, l := range leases.Leases {
		got, err := c.TimeToLive(t.Context(), l.ID, clientv3.WithAttachedKeys())
		if err != nil || len(got.Keys) > most {
			t.Errorf("%d records of a lease, %v; want %d at most", len(got.Keys), err, most)
		}
		sum += len(got.Keys)
	}
	if sum != records {
		t.Errorf("%d records, want %d", sum, records)
	}
}
