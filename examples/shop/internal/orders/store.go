package orders

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/failure"
)

// Store keeps orders. An Order that it returned remembers its version.
type Store interface {
	// Load returns an order, or failure.NotFound.
	Load(ctx context.Context, id string) (*Order, error)
	// Create stores o if there is no order with its id yet, and returns the one that is stored: o's or the other.
	Create(ctx context.Context, o *Order) (*Order, error)
	// Update replaces the order that o is a later state of. It reports false if that is not the stored one any more. After
	// an error the update may have been made, or may be later.
	Update(ctx context.Context, o *Order) (bool, error)
	// OfCustomer returns up to limit orders of one customer, the newest first.
	OfCustomer(ctx context.Context, customer string, limit int) ([]*Order, error)
	// Unfinished returns up to limit orders that are not final, the oldest first, and where to go on after them: "" at
	// the end, and to begin with. One that cannot be read does not keep the others back: it returns them with the error.
	Unfinished(ctx context.Context, after string, limit int) (found []*Order, next string, err error)
	// Page returns up to limit orders in the order of their ids, those behind the id after.
	Page(ctx context.Context, after string, limit int) ([]*Order, error)
}

// Where things lie in the store: orders by id, and their ids by customer (newest first) and by age (oldest first, only
// those that are not final).
const (
	orderPrefix      = "shop/orders/by-id/"
	customerPrefix   = "shop/orders/by-customer/"
	unfinishedPrefix = "shop/orders/unfinished/"
)

// NewStore returns a Store on db.
func NewStore(db kv.KV) Store { return shelves{db} }

type shelves struct{ db kv.KV }

func (s shelves) Load(ctx context.Context, id string) (*Order, error) {
	read, err := s.db.Get(ctx, orderPrefix+id)
	if err != nil {
		return nil, err
	}
	if !read[0].Exists() {
		return nil, failure.New(failure.NotFound, "there is no order %q", id)
	}
	return order(read[0])
}

func (s shelves) Create(ctx context.Context, o *Order) (*Order, error) {
	tx := kv.Txn{If: []kv.Condition{{Key: orderPrefix + o.ID}}}
	for key, value := range map[string]any{
		orderPrefix + o.ID: o, customerKey(o): o.ID, unfinishedKey(o): o.ID,
	} {
		put, err := kv.Put(key, value)
		if err != nil {
			return nil, err
		}
		tx.Put = append(tx.Put, put)
	}
	// Whether this call or another one created it does not matter: what is stored counts.
	if _, err := s.db.Commit(ctx, tx); err != nil {
		return nil, err
	}
	return s.Load(ctx, o.ID)
}

func (s shelves) Update(ctx context.Context, o *Order) (bool, error) {
	put, err := kv.Put(orderPrefix+o.ID, o)
	if err != nil {
		return false, err
	}
	tx := kv.Txn{If: []kv.Condition{{Key: put.Key, Revision: o.revision}}, Put: []kv.Entry{put}}
	if o.Status.Final() {
		tx.Delete = []string{unfinishedKey(o)}
	}
	revision, err := s.db.Commit(ctx, tx)
	if err != nil || revision == 0 {
		return false, err
	}
	o.revision = revision
	return true, nil
}

func (s shelves) OfCustomer(ctx context.Context, customer string, limit int) ([]*Order, error) {
	found, _, err := s.indexed(ctx, kv.Range{Prefix: customerPrefix + customer + "/", Limit: limit})
	return found, err
}

func (s shelves) Unfinished(ctx context.Context, after string, limit int) ([]*Order, string, error) {
	return s.indexed(ctx, kv.Range{Prefix: unfinishedPrefix, After: after, Limit: limit})
}

// indexed returns the orders whose ids lie in r, and the key to go on after: "" if there are no more.
func (s shelves) indexed(ctx context.Context, r kv.Range) ([]*Order, string, error) {
	page, err := s.db.List(ctx, r)
	if err != nil || len(page.Entries) == 0 {
		return nil, "", err
	}
	next := ""
	if page.More {
		next = page.Entries[len(page.Entries)-1].Key
	}
	keys := make([]string, len(page.Entries))
	for i, e := range page.Entries {
		var id string
		if err := e.Decode(&id); err != nil {
			return nil, next, err
		}
		keys[i] = orderPrefix + id
	}
	read, err := s.db.Get(ctx, keys...)
	if err != nil {
		return nil, "", err
	}
	found, err := orders(read)
	return found, next, err
}

func (s shelves) Page(ctx context.Context, after string, limit int) ([]*Order, error) {
	r := kv.Range{Prefix: orderPrefix, Limit: limit}
	if after != "" {
		r.After = orderPrefix + after
	}
	page, err := s.db.List(ctx, r)
	if err != nil {
		return nil, err
	}
	return orders(page.Entries)
}

func order(e kv.Entry) (*Order, error) {
	o := &Order{revision: e.Revision}
	return o, e.Decode(o)
}

// orders returns those of entries that can be read, and the first error of those that cannot.
func orders(entries []kv.Entry) (out []*Order, first error) {
	for _, e := range entries {
		if !e.Exists() {
			continue
		}
		o, err := order(e)
		if err != nil {
			if first == nil {
				first = fmt.Errorf("%s: %w", strings.TrimPrefix(e.Key, orderPrefix), err)
			}
			continue
		}
		out = append(out, o)
	}
	return out, first
}

// The keys sort as text, so the times in them have a fixed width.
func customerKey(o *Order) string {
	return fmt.Sprintf("%s%s/%019d-%s", customerPrefix, o.Customer, math.MaxInt64-o.Created.UnixMilli(), o.ID)
}

func unfinishedKey(o *Order) string {
	return fmt.Sprintf("%s%019d-%s", unfinishedPrefix, o.Created.UnixMilli(), o.ID)
}
