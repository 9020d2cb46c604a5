package kvinbox

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// Store keeps claims in a kv.Store: give it to inbox.New. It implements idempotency.Store, and can serve a
// Ledger of calls, too. Safe for concurrent use.
type Store struct {
	kv     *kv.Store
	prefix string
}

var _ idempotency.Store = (*Store)(nil)

// NewStore returns a Store whose records lie under prefix ("": "inbox/"). The kv.Store has to be run (kv.Store.Run), since
// records end by their TTL.
func NewStore(store *kv.Store, prefix string) *Store { return &Store{store, orDefault(prefix)} }

func orDefault(prefix string) string {
	if prefix == "" {
		return DefaultPrefix
	}
	return prefix
}

// Swap implements idempotency.Store.
func (s *Store) Swap(ctx context.Context, id idempotency.ID, version uint64, data []byte, ttl time.Duration) (idempotency.Entry, bool, error) {
	key := s.prefix + hex.EncodeToString(id[:])
	write := kv.DeleteOp(key)
	if data != nil {
		write = kv.PutOp(key, data, ttl)
	}
	res, err := s.kv.Do(ctx, kv.Txn{
		If: []kv.Compare{kv.Revision(key, kv.Equal, version)}, Then: []kv.Op{write}, Else: []kv.Op{kv.GetOp(key)},
	})
	switch {
	case err != nil:
		return idempotency.Entry{}, false, fmt.Errorf("swap %s: %w", key, err)
	case res.Succeeded && data == nil:
		return idempotency.Entry{}, true, nil
	case res.Succeeded:
		return idempotency.Entry{Version: res.Revision, Data: data}, true, nil
	case res.Before[0] == nil:
		return idempotency.Entry{}, false, nil
	}
	return idempotency.Entry{Version: res.Before[0].Revision, Data: res.Before[0].Value}, false, nil
}
