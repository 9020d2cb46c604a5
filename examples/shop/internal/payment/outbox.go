package payment

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Outbox is the outbox of a Store, for the relay that publishes what lies in it. An event got there by the transaction that
// ended its charge.
//
// There is one event for each charge at most, so none has to come before another: what is returned is in the order of Seq,
// and when there is more than was asked for, the rest may be older. Safe for concurrent use.
type Outbox struct {
	db kv.KV

	mu   sync.Mutex
	keys map[uint64]string // of the events that Pending has returned and Done has not had: where they lie
}

// NewOutbox returns the outbox of the Store on db.
func NewOutbox(db kv.KV) *Outbox { return &Outbox{db: db, keys: make(map[uint64]string)} }

// outboxPage is how much of the outbox is looked at in one step.
const outboxPage = 500

// outboxKey is where the event of a topic about a charge lies.
func outboxKey(topic, key string) string { return outboxOf(topic) + key }

func outboxOf(topic string) string { return outboxPrefix + topic + "/" }

// Pending implements outbox.Store. Topics that are skipped, as all are while the queue is away, are not read at all.
func (o *Outbox) Pending(ctx context.Context, q outbox.Query) ([]outbox.Event, error) {
	var found []outbox.Event
	size := 0
	for _, topic := range events.Topics(events.Payment) {
		if slices.Contains(q.Skip.Topics, topic) {
			continue
		}
		look := outbox.Event{Topic: topic, Message: new(driver.Message)}
		err := o.each(ctx, outboxOf(topic), func(e kv.Entry) (bool, error) {
			look.Seq, look.Message.Key = seq(e), strings.TrimPrefix(e.Key, outboxOf(topic))
			if q.Skip.Has(&look) {
				return true, nil
			}
			var event events.Event
			if err := e.Decode(&event); err != nil {
				return false, err
			}
			o.remember(seq(e), e.Key)
			found = append(found, outbox.Event{Seq: seq(e), Topic: topic, Message: event.Message(events.Payment), Added: event.Time})
			size += len(event.Data)
			return len(found) < q.Limit && (q.MaxBytes <= 0 || size < q.MaxBytes), nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b outbox.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return found, nil
}

// seq is the revision at which the entry was made: it is never changed.
func seq(e kv.Entry) uint64 { return uint64(max(0, e.Revision)) }

func (o *Outbox) remember(seq uint64, key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys[seq] = key
}

// Done implements outbox.Store. Events that this Outbox never returned are left alone: whoever did takes them out, or they
// are published again.
func (o *Outbox) Done(ctx context.Context, seqs []uint64) error {
	const atOnce = 100 // a transaction has no room for more than 128
	for part := range slices.Chunk(seqs, atOnce) {
		var tx kv.Txn
		o.mu.Lock()
		for _, seq := range part {
			if key, ok := o.keys[seq]; ok {
				tx.Delete = append(tx.Delete, key)
			}
		}
		o.mu.Unlock()
		if len(tx.Delete) == 0 {
			continue
		}
		if _, err := o.db.Commit(ctx, tx); err != nil {
			return err
		}
		o.mu.Lock()
		for _, seq := range part {
			delete(o.keys, seq)
		}
		o.mu.Unlock()
	}
	return nil
}

// each calls fn with the entries below prefix while it returns true.
func (o *Outbox) each(ctx context.Context, prefix string, fn func(kv.Entry) (bool, error)) error {
	for r := (kv.Range{Prefix: prefix, Limit: outboxPage}); ; {
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
