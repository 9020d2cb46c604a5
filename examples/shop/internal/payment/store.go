package payment

import (
	"context"
	"strings"

	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
)

// chargesPrefix is where charges lie in the store, by key.
const chargesPrefix = "shop/payment/charges/"

// NewStore returns a Store on db.
func NewStore(db kv.KV) Store { return charges{db} }

type charges struct{ db kv.KV }

func (s charges) Charge(ctx context.Context, key string, c Charge) (recorded Charge, before bool, err error) {
	err = s.update(ctx, key, func(now *Charge) *Charge {
		if before = now != nil; before {
			recorded = *now
			return nil
		}
		recorded = c
		return &c
	})
	return recorded, before, err
}

func (s charges) Void(ctx context.Context, key string) error {
	return s.update(ctx, key, func(now *Charge) *Charge {
		switch {
		case now == nil:
			return &Charge{State: Voided}
		case now.State != Captured:
			return nil
		}
		now.State = Voided
		return now
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

// update writes what decide makes of the charge under key (nil if there is none); nil means to leave it.
func (s charges) update(ctx context.Context, key string, decide func(*Charge) *Charge) error {
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
		next := decide(now)
		if next == nil {
			return kv.Txn{}, nil
		}
		put, err := kv.Put(read[0].Key, next)
		return kv.Txn{If: []kv.Condition{read[0].Unchanged()}, Put: []kv.Entry{put}}, err
	})
}
