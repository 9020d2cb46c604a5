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

func open(t *testing.T, addr string) *etcdidempotency.Store {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return etcdidempotency.New(client, "")
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
