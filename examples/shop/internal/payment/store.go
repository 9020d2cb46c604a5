package payment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/queue"
)

// Where things lie in the store. A charge that is captured is under all of the first two, and one whose end is still to be
// told under the first and the last. Each step is one transaction over all that it changes.
const (
	chargesPrefix = "shop/payment/charges/" // by key
	duePrefix     = "shop/payment/due/"     // by time, then key
	outboxPrefix  = "shop/payment/outbox/"  // by topic, then key
)

// dueKey sorts by time, so the time in it has a fixed width.
func dueKey(key string, c *Charge) string {
	return fmt.Sprintf("%s%019d/%s", duePrefix, c.Due.UnixMilli(), key)
}

// NewStore returns a Store on db.
func NewStore(db kv.KV) Store { return charges{db} }

type charges struct{ db kv.KV }

// change is what a decision makes of a charge and what lies beside it.
type change struct {
	charge *Charge
	put    []kv.Entry
	remove []string
}

func (s charges) Charge(ctx context.Context, key string, c Charge) (recorded Charge, before bool, err error) {
	c.Trace, _ = queue.TraceParent(ctx)
	err = s.update(ctx, key, func(now *Charge) (change, error) {
		before = now != nil
		switch {
		case !before:
			recorded = c
		case now.State == Captured && now.Due.IsZero():
			// It was captured before charges had to be settled, and somebody still asks for it.
			recorded = *now
			recorded.Due = c.Due
		default:
			recorded = *now
			return change{}, nil
		}
		if recorded.State != Captured {
			return change{charge: &recorded}, nil
		}
		due, err := kv.Put(dueKey(key, &recorded), struct{}{})
		return change{charge: &recorded, put: []kv.Entry{due}}, err
	})
	return recorded, before, err
}

func (s charges) Void(ctx context.Context, key string) error {
	return s.update(ctx, key, func(now *Charge) (change, error) {
		switch {
		case now == nil:
			return change{charge: &Charge{State: Voided}}, nil
		case now.State == Settled: // it is given back; that it was settled is told all the same
			now.State = Voided
			return change{charge: now}, nil
		case now.State != Captured:
			return change{}, nil
		}
		remove := dueKey(key, now)
		now.State = Voided
		return change{charge: now, remove: []string{remove}}, nil
	})
}

func (s charges) Due(ctx context.Context, now time.Time, limit int) ([]string, error) {
	at := func(t time.Time) string { return dueKey("", &Charge{Due: t.Add(time.Millisecond)}) }
	until, ahead := at(now), at(now.Add(maxMS*time.Millisecond))
	var keys []string
	for _, after := range []string{"", ahead} {
		page, err := s.db.List(ctx, kv.Range{Prefix: duePrefix, After: after, Limit: limit - len(keys)})
		if err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			if e.Key < until || e.Key >= ahead {
				keys = append(keys, e.Key[strings.LastIndexByte(e.Key, '/')+1:])
			}
		}
		if !page.More || len(keys) == limit {
			break // those that are ahead are the last
		}
	}
	return keys, nil
}

func (s charges) Settle(ctx context.Context, key string, at time.Time) error {
	return s.update(ctx, key, func(now *Charge) (change, error) {
		if now == nil || now.State != Captured {
			return change{}, nil
		}
		remove := dueKey(key, now)
		var event events.Event
		var err error
		if now.Card == shop.CardThatFails {
			now.State = Failed
			event, err = events.New(events.PaymentsFailed, key, at, &eventspb.PaymentFailed{Key: key})
		} else {
			now.State = Settled
			event, err = events.New(events.PaymentsSettled, key, at, &eventspb.PaymentSettled{Key: key, Currency: now.Currency, Minor: now.Minor})
		}
		if err != nil {
			return change{}, err
		}
		event.Trace = now.Trace
		put, err := kv.Put(outboxKey(event.Topic, key), event)
		return change{charge: now, put: []kv.Entry{put}, remove: []string{remove}}, err
	})
}

func (s charges) Page(ctx context.Context, after string, limit int) ([]Keyed, error) {
	r := kv.Range{Prefix: chargesPrefix, Limit: limit}
	if after != "" {
		r.After = chargesPrefix + after
	}
	page, err := s.db.List(ctx, r)
	if err != nil {
		return nil, err
	}
	out := make([]Keyed, len(page.Entries))
	for i, e := range page.Entries {
		out[i].Key = strings.TrimPrefix(e.Key, chargesPrefix)
		if err := e.Decode(&out[i].Charge); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// update writes what decide makes of the charge under key (nil if there is none); a change without a charge means to leave it.
func (s charges) update(ctx context.Context, key string, decide func(*Charge) (change, error)) error {
	return kv.Update(ctx, s.db, func(ctx context.Context) (kv.Txn, error) {
		read, err := s.db.Get(ctx, chargesPrefix+key)
		if err != nil {
			return kv.Txn{}, err
		}
		var now *Charge
		if read[0].Exists() {
			now = new(Charge)
			if err := read[0].Decode(now); err != nil {
				return kv.Txn{}, err
			}
		}
		next, err := decide(now)
		if err != nil || next.charge == nil {
			return kv.Txn{}, err
		}
		put, err := kv.Put(read[0].Key, next.charge)
		return kv.Txn{If: []kv.Condition{read[0].Unchanged()}, Put: append(next.put, put), Delete: next.remove}, err
	})
}
