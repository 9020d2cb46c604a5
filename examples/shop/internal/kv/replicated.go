package kv

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// Replicated is a KV among the instances of the service itself: it needs no store beside them, and a majority of them
// is enough.
type Replicated struct{ store *kv.Store }

// OpenReplicated makes host a member of the store of that name.
func OpenReplicated(host *replica.Host, name string) (*Replicated, error) {
	s, err := kv.New(host, name, kv.Config{})
	if err != nil {
		return nil, err
	}
	return &Replicated{s}, nil
}

// Leads reports whether this instance leads the store, as far as it knows. What only one instance needs to do is best done
// there.
func (r *Replicated) Leads() bool {
	_, self := r.store.Group().Leader()
	return self
}

// Get implements KV.
func (r *Replicated) Get(ctx context.Context, keys ...string) ([]Entry, error) {
	view, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(keys))
	for i, key := range keys {
		out[i].Key = key
		if item, ok := view.Get(key); ok {
			out[i] = replicated(item)
		}
	}
	return out, nil
}

// List implements KV.
func (r *Replicated) List(ctx context.Context, in Range) (Page, error) {
	view, err := r.view(ctx)
	if err != nil {
		return Page{}, err
	}
	page := Page{Revision: signed(view.Revision())}
	for item := range view.Range(max(in.Prefix, in.After), "") {
		if !strings.HasPrefix(item.Key, in.Prefix) {
			break
		}
		if item.Key == in.After {
			continue
		}
		if in.Limit > 0 && len(page.Entries) == in.Limit {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, replicated(item))
	}
	return page, nil
}

func (r *Replicated) view(ctx context.Context) (*kv.View, error) {
	view, err := r.store.View(ctx, replica.Linearizable)
	if errors.Is(err, replica.ErrNoQuorum) {
		return nil, away(err)
	}
	return view, err
}

// Commit implements KV.
func (r *Replicated) Commit(ctx context.Context, tx Txn) (int64, error) {
	var t kv.Txn
	for _, c := range tx.If {
		if c.Revision < 0 {
			return 0, failure.New(failure.InvalidArgument, "%s: revision %d", c.Key, c.Revision)
		}
		t.If = append(t.If, kv.Revision(c.Key, kv.Equal, uint64(c.Revision)))
	}
	for _, e := range tx.Put {
		t.Then = append(t.Then, kv.PutOp(e.Key, e.Value, tx.Keep))
	}
	for _, key := range tx.Delete {
		t.Then = append(t.Then, kv.DeleteOp(key))
	}
	done, err := r.store.Do(ctx, t)
	switch {
	case errors.Is(err, replica.ErrNoQuorum):
		return 0, away(err)
	case err != nil || !done.Succeeded:
		return 0, err
	}
	return signed(done.Revision), nil
}

// Watch implements KV.
func (r *Replicated) Watch(ctx context.Context, prefix string, after int64, apply func([]Entry)) error {
	w := r.store.Watch(prefix, uint64(max(after, 0)))
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		entries := make([]Entry, len(events))
		for i, e := range events {
			entries[i] = Entry{Key: e.Item.Key, Revision: signed(e.Revision())}
			if e.Type == kv.Put {
				entries[i] = replicated(*e.Item)
			}
		}
		apply(entries)
	}
}

func replicated(item kv.Item) Entry {
	return Entry{Key: item.Key, Value: item.Value, Revision: signed(item.Revision)}
}

// signed returns a revision as this package has them. There will be no more than fit.
func signed(revision uint64) int64 { return int64(min(revision, math.MaxInt64)) }
