// Package kv is the part of etcd that the shop's services keep their state with: values under keys, transactions
// that compare before they write, and watched views. [Etcd] is the real one; [Memory] is for tests.
//
// All of a service's logic stands above this contract: read, decide, [KV.Commit] on condition that nothing that was
// read has changed; when it has, begin again. Such a loop also swallows the worst answer that a store can give, an
// error after which nobody knows whether the write happened: the next read shows it.
package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// KV is a store of JSON values. All methods are safe for concurrent use and bounded in time, also when the store
// does not answer: they then return failure.Unavailable with a time to come back after or, if the caller's deadline came
// first, failure.DeadlineExceeded.
type KV interface {
	// Get returns one entry for each key, in the order of keys, as they were at one moment. An entry that does not
	// exist has Revision 0 and no value.
	Get(ctx context.Context, keys ...string) ([]Entry, error)
	// List returns entries in the order of their keys.
	List(ctx context.Context, r Range) (Page, error)
	// Commit carries out all of tx, or nothing, and returns the revision that the changed entries have from then on. It
	// returns 0, without an error, when a condition of tx does not hold, and possibly also when tx was carried out but
	// the first answer was lost. After an error, tx may or may not have been carried out, or may be later.
	Commit(ctx context.Context, tx Txn) (revision int64, err error)
	// Watch hands changes below prefix that came after revision to apply, in their order, until ctx ends or the
	// watch breaks. The error, never nil, says why it ended.
	Watch(ctx context.Context, prefix string, after int64, apply func([]Entry)) error
}

// Entry is one key with its value.
type Entry struct {
	Key   string
	Value []byte // JSON; nil if the entry does not exist
	// Revision is that of the last change to the entry: it grows with every change in the whole store. 0 means that
	// the entry does not exist, except in a Watch, where a removed entry has the revision of its removal.
	Revision int64
}

// Exists reports whether the entry was there when it was read.
func (e Entry) Exists() bool { return e.Value != nil }

// Unchanged is the condition that the entry still is as it was read.
func (e Entry) Unchanged() Condition { return Condition{e.Key, e.Revision} }

// Decode decodes the entry's value into v.
func (e Entry) Decode(v any) error {
	if err := json.Unmarshal(e.Value, v); err != nil {
		return failure.Wrap(err, failure.DataLoss, "the store holds an unreadable record").WithMetadata("key", e.Key)
	}
	return nil
}

// Put makes an entry for Txn.Put. It fails only if v cannot be JSON at all.
func Put(key string, v any) (Entry, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Entry{}, fmt.Errorf("encode %s: %w", key, err)
	}
	return Entry{Key: key, Value: b}, nil
}

// Condition holds while the entry at Key has Revision (0: does not exist).
type Condition struct {
	Key      string
	Revision int64
}

// Txn is a transaction. At most 128 of each; no key twice among Put and Delete.
type Txn struct {
	If     []Condition
	Put    []Entry
	Delete []string
	// Keep is how long what is put stays, or up to a quarter longer. 0: until it is deleted.
	Keep time.Duration
}

// Range selects entries for List.
type Range struct {
	Prefix string
	After  string // key; only entries behind it. Empty: from the start
	Limit  int    // 0: all
}

// Page is the answer to List.
type Page struct {
	Entries  []Entry
	Revision int64 // of the moment that was read
	More     bool  // Limit cut it short
}

// comeBack is what callers are told to wait when the store is away.
const comeBack = 2 * time.Second

func away(cause error) error {
	return failure.Wrap(cause, failure.Unavailable, "the store does not answer; please try again").WithRetryAfter(comeBack)
}

const (
	updateTimeout = 2500 * time.Millisecond
	maxConflicts  = 20
)

// Update commits what decide returns, calling it again for as long as something else changes what it has read. An
// empty Txn means that nothing is left to do. decide is called with the ctx of the whole update, which has a deadline.
func Update(ctx context.Context, kv KV, decide func(context.Context) (Txn, error)) error {
	all, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	err := update(all, kv, decide)
	if failure.CodeOf(err) == failure.DeadlineExceeded && ctx.Err() == nil {
		return away(err) // it was our time, not the caller's
	}
	return err
}

func update(ctx context.Context, kv KV, decide func(context.Context) (Txn, error)) error {
	for conflicts := range maxConflicts {
		tx, err := decide(ctx)
		if err != nil {
			return err
		}
		if len(tx.Put)+len(tx.Delete) == 0 {
			return nil
		}
		if revision, err := kv.Commit(ctx, tx); err != nil || revision != 0 {
			return err
		}
		// Somebody else was faster. Whoever lost wins soon: the pause is about as long as a commit, and random.
		select {
		case <-ctx.Done():
			return failure.Wrap(ctx.Err(), failure.CodeOf(ctx.Err()), "store write: out of time after %d conflicts", conflicts+1)
		case <-time.After(rand.N(time.Duration(conflicts+1) * 4 * time.Millisecond)):
		}
	}
	return failure.New(failure.Unavailable, "too many changes at once; please try again").WithRetryAfter(time.Second)
}
