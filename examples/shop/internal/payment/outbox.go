package payment

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Outbox is the outbox of a Store, for the relay that publishes what lies in it. An event got there by the transaction that
// ended its charge. There is one for each charge at most, so they have no order among themselves.
type Outbox struct{ db kv.KV }

// NewOutbox returns the outbox of the Store on db.
func NewOutbox(db kv.KV) *Outbox { return &Outbox{db} }

// outboxPage is how much of the outbox is looked at in one step.
const outboxPage = 500

// Pending implements outbox.Store.
func (o *Outbox) Pending(ctx context.Context, q outbox.Query) ([]outbox.Event, error) {
	var found []outbox.Event
	size := 0
	err := o.each(ctx, func(e kv.Entry) (bool, error) {
		event, err := read(e)
		if err != nil {
			return false, err
		}
		if !q.Skip.Has(&event) {
			found = append(found, event)
			size += len(event.Message.Data)
		}
		return len(found) < q.Limit && (q.MaxBytes <= 0 || size < q.MaxBytes), nil
	})
	// The keys are those of the charges: what was settled first is to be told first all the same.
	slices.SortFunc(found, func(a, b outbox.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return found, err
}

func read(e kv.Entry) (outbox.Event, error) {
	var event events.Event
	if err := e.Decode(&event); err != nil {
		return outbox.Event{}, err
	}
	return outbox.Event{Seq: seq(e), Topic: event.Topic, Message: event.Message(events.Payment), Added: event.Time}, nil
}

// seq is the revision at which the entry was made: it is never changed.
func seq(e kv.Entry) uint64 { return uint64(max(0, e.Revision)) }

// Done implements outbox.Store.
func (o *Outbox) Done(ctx context.Context, seqs []uint64) error {
	const atOnce = 100 // a transaction has no room for more than 128
	var done []string
	err := o.each(ctx, func(e kv.Entry) (bool, error) {
		if slices.Contains(seqs, seq(e)) {
			done = append(done, e.Key)
		}
		return len(done) < len(seqs), nil
	})
	if err != nil {
		return err
	}
	for part := range slices.Chunk(done, atOnce) {
		if _, err := o.db.Commit(ctx, kv.Txn{Delete: part}); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn with the entries of the outbox while it returns true.
func (o *Outbox) each(ctx context.Context, fn func(kv.Entry) (bool, error)) error {
	for r := (kv.Range{Prefix: outboxPrefix, Limit: outboxPage}); ; {
		page, err := o.db.List(ctx, r)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if more, err := fn(e); !more || err != nil {
				return err
			}
			r.After = e.Key
		}
		if !page.More {
			return nil
		}
	}
}

// Wait implements outbox.Store: the outbox is looked at as often as charges are settled.
func (o *Outbox) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settleEvery):
		return nil
	}
}
