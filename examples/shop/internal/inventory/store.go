package inventory

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
)

// Store keeps stock and reservations. Every method is one step: it happens or it does not. After an error it may have
// happened, and can be repeated.
type Store interface {
	// Reserve sets lines aside for order: shop.ErrOutOfStock, shop.ErrReleased, failure.NotFound for a product
	// that does not exist.
	Reserve(ctx context.Context, order string, lines []Line) error
	// Commit ends order's reservation with the sale: shop.ErrReleased, failure.NotFound without a reservation.
	Commit(ctx context.Context, order string) error
	// Release puts back what order's reservation holds: shop.ErrCommitted.
	Release(ctx context.Context, order string) error
	// Audit counts stock against reservations, at one moment.
	Audit(ctx context.Context) (Audit, error)
}

// Audit is the stock, counted.
type Audit struct {
	Products     map[string]Count
	Reservations map[State]int
}

// Count is one product's part of an Audit.
type Count struct {
	Stock
	Reserved int64 // in open reservations
	Sold     int64 // in committed reservations
}

// Where things lie in the store: stock by product, reservations by order.
const (
	StockPrefix        = "shop/inventory/stock/"
	reservationsPrefix = "shop/inventory/reservations/"
)

// auditPage bounds one read of an audit.
const auditPage = 500

// NewStore returns a Store on db. A product of which db has no stock yet has that of opening: nothing needs to be
// written before the first sale.
func NewStore(db kv.KV, opening *assortment.Assortment) Store {
	l := &ledger{db: db, opening: make(map[string]Stock, len(opening.Products))}
	for _, p := range opening.Products {
		l.opening[p.ID] = Stock{Initial: p.Stock, Available: p.Stock}
	}
	return l
}

// ledger is the Store on a kv.KV: it reads what a decision needs, decides, and writes on condition that nothing of
// it has changed.
type ledger struct {
	db      kv.KV
	opening map[string]Stock
}

func (l *ledger) Reserve(ctx context.Context, order string, lines []Line) error {
	return kv.Update(ctx, l.db, func(ctx context.Context) (kv.Txn, error) {
		entries, err := l.db.Get(ctx, append(stockKeys(lines), reservationsPrefix+order)...)
		if err != nil {
			return kv.Txn{}, err
		}
		r, err := reservation(entries[len(lines)])
		if err != nil {
			return kv.Txn{}, err
		}
		stock, err := l.stock(entries[:len(lines)])
		if err != nil {
			return kv.Txn{}, err
		}
		c, err := reserve(r, stock, lines)
		if err != nil {
			return kv.Txn{}, err
		}
		return l.txn(order, c, entries)
	})
}

func (l *ledger) Commit(ctx context.Context, order string) error {
	return kv.Update(ctx, l.db, func(ctx context.Context) (kv.Txn, error) {
		entries, err := l.db.Get(ctx, reservationsPrefix+order)
		if err != nil {
			return kv.Txn{}, err
		}
		r, err := reservation(entries[0])
		if err != nil {
			return kv.Txn{}, err
		}
		c, err := commit(r)
		if err != nil {
			return kv.Txn{}, err
		}
		return l.txn(order, c, entries)
	})
}

func (l *ledger) Release(ctx context.Context, order string) error {
	return kv.Update(ctx, l.db, func(ctx context.Context) (kv.Txn, error) {
		entries, err := l.db.Get(ctx, reservationsPrefix+order)
		if err != nil {
			return kv.Txn{}, err
		}
		r, err := reservation(entries[0])
		if err != nil {
			return kv.Txn{}, err
		}
		var stock map[string]Stock
		if r != nil && r.State == Open {
			shelves, err := l.db.Get(ctx, stockKeys(r.Lines)...)
			if err != nil {
				return kv.Txn{}, err
			}
			if stock, err = l.stock(shelves); err != nil {
				return kv.Txn{}, err
			}
			entries = append(entries, shelves...)
		}
		c, err := release(r, stock)
		if err != nil {
			return kv.Txn{}, err
		}
		return l.txn(order, c, entries)
	})
}

// txn writes c on condition that what was read is as it was.
func (l *ledger) txn(order string, c change, read []kv.Entry) (kv.Txn, error) {
	if c.reservation == nil {
		return kv.Txn{}, nil
	}
	var tx kv.Txn
	for _, e := range read {
		tx.If = append(tx.If, e.Unchanged())
	}
	put, err := kv.Put(reservationsPrefix+order, c.reservation)
	if err != nil {
		return kv.Txn{}, err
	}
	tx.Put = append(tx.Put, put)
	for _, product := range slices.Sorted(maps.Keys(c.stock)) {
		if put, err = kv.Put(StockPrefix+product, c.stock[product]); err != nil {
			return kv.Txn{}, err
		}
		tx.Put = append(tx.Put, put)
	}
	return tx, nil
}

func (l *ledger) Audit(ctx context.Context) (Audit, error) {
	a := Audit{Products: make(map[string]Count), Reservations: make(map[State]int)}
	page, err := l.db.List(ctx, kv.Range{Prefix: StockPrefix})
	if err != nil {
		return Audit{}, err
	}
	for product, stock := range l.opening {
		a.Products[product] = Count{Stock: stock}
	}
	stock, err := l.stock(page.Entries)
	if err != nil {
		return Audit{}, err
	}
	for product, s := range stock {
		a.Products[product] = Count{Stock: s}
	}
	// The reservations of the same moment.
	next := kv.Range{Prefix: reservationsPrefix, Limit: auditPage, Revision: page.Revision}
	for {
		page, err := l.db.List(ctx, next)
		if err != nil {
			return Audit{}, err
		}
		for _, e := range page.Entries {
			r, err := reservation(e)
			if err != nil {
				return Audit{}, err
			}
			a.count(r)
			next.After = e.Key
		}
		if !page.More {
			return a, nil
		}
	}
}

func (a *Audit) count(r *Reservation) {
	a.Reservations[r.State]++
	for _, line := range r.Lines {
		c := a.Products[line.Product]
		switch r.State {
		case Open:
			c.Reserved += line.Quantity
		case Committed:
			c.Sold += line.Quantity
		case Released:
		}
		a.Products[line.Product] = c
	}
}

// stock decodes entries below StockPrefix, by product.
func (l *ledger) stock(entries []kv.Entry) (map[string]Stock, error) {
	out := make(map[string]Stock, len(entries))
	for _, e := range entries {
		product := strings.TrimPrefix(e.Key, StockPrefix)
		s, ok := l.opening[product]
		if e.Exists() {
			ok = true
			if err := e.Decode(&s); err != nil {
				return nil, err
			}
		}
		if ok {
			out[product] = s
		}
	}
	return out, nil
}

func reservation(e kv.Entry) (*Reservation, error) {
	if !e.Exists() {
		return nil, nil
	}
	r := new(Reservation)
	return r, e.Decode(r)
}

func stockKeys(lines []Line) []string {
	keys := make([]string, len(lines), len(lines)+1)
	for i, line := range lines {
		keys[i] = StockPrefix + line.Product
	}
	return keys
}
