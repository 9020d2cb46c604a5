// Package etcdguard makes etcd refuse writes of those who held a lock and do not any more, whatever keeps the lock; see
// package guard. The largest token seen is the value of a key beside what it guards.
package etcdguard

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/lock/guard"
)

// Do runs ops as one transaction if no larger token than this one was used with key, which it remembers; otherwise it
// returns an error that is guard.ErrStale, and nothing was done. key must be that of nothing else. ops must not contain
// it, nor any key twice, as in any transaction of etcd. A token may be used any number of times.
func Do(ctx context.Context, kv clientv3.KV, key string, token uint64, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	// The comparison of values fails for a key that is not there, so it has to be there first.
	_, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, digits(0))).Commit()
	if err != nil {
		return nil, fmt.Errorf("guard %s: %w", key, err)
	}
	may := []clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "<", digits(token)+"0")} // at most digits(token)
	if bugFence {
		may = nil
	}
	resp, err := kv.Txn(ctx).
		If(may...).
		Then(append([]clientv3.Op{clientv3.OpPut(key, digits(token))}, ops...)...).
		Commit()
	if err != nil {
		return nil, fmt.Errorf("guard %s: %w", key, err)
	}
	if !resp.Succeeded {
		return nil, fmt.Errorf("guard %s: %w", key, guard.ErrStale)
	}
	resp.Responses = resp.Responses[1:] // of ops
	return resp, nil
}

// digits are of one length, since etcd compares bytes.
func digits(token uint64) string { return fmt.Sprintf("%020d", token) }
