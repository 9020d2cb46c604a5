package etcdlock_test

import (
	"context"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/etcdlock"
	"github.com/holdfast-go/holdfast/lock/guard/etcdguard"
)

// A lock in etcd, and data in etcd that goes by its tokens.
func Example() {
	engine, err := etcdlock.Open(etcdlock.Config{Endpoints: []string{"127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	locker := lock.New(engine, lock.Config{Name: "billing-1"})
	defer locker.Close()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	held, err := locker.Mutex("ledger").Lock(context.Background())
	if err != nil {
		log.Print(err)
		return
	}
	defer held.Unlock(context.Background())
	_, err = etcdguard.Do(held.Context(), client, "ledger/guard", held.Token(), clientv3.OpPut("ledger/balance", "42"))
	if err != nil { // guard.ErrStale: somebody else has held the lock since, and nothing was written
		log.Print(err)
	}
}
