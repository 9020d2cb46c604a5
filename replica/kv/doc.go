// Package kv is a small ordered map of keys and values, replicated: get, put, delete, compare-and-swap, transactions,
// ranges, keys that end by themselves (TTL) and watches, with every guarantee of the [replica.Group] under it.
//
//	store, err := kv.New(host, "settings", kv.Config{})
//	…
//	rev, err := store.Put(ctx, "color", []byte("blue"))
//	item, ok, err := store.Get(ctx, replica.Linearizable, "color")
//	_, err = store.CompareAndSwap(ctx, "color", item.Revision, []byte("green"))
//
// Any member can be asked for anything. A write has happened on a majority of disks when it returns. A linearizable
// read sees every write that returned before it began, wherever that was; [replica.Stale] and [replica.Eventual] reads
// do not leave the process.
//
// It is for state that fits into memory and that services need consistent: settings, ownership, stock, small records. It
// is also the model for machines of one's own: [Machine] is pure (no clock, no randomness, no goroutine; an entry in, a
// result out), command.go is how commands travel, snapshot.go how the state does, and [Store] is the thin
// part that callers meet. Read them in this order.
//
// # Revisions
//
// Every command that changes something raises the store's revision by one. An [Item] knows at which revision it was
// created and last changed, so that a compare-and-swap can say "if nobody changed it since I read it". Revisions are
// the same on all members and never go back; they say nothing about time.
//
// # Keys that end
//
// A key with a TTL ends when the leader's clock says so, in one place of the log and so on all members alike. It lives at
// least as long as was asked for (by that clock, which never goes back) and is gone, with an event to those who watch,
// usually within [Config.ExpiryInterval] after that, later while there is no leader or too much ends at once. Until
// then it is there for every read and every comparison.
package kv
