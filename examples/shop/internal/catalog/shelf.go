// Package catalog is the service that knows what the shop sells. The assortment is compiled in, changes to it lie in
// the store and are followed in memory: every read is answered from memory, store or no store.
package catalog

import (
	"context"
	"slices"

	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
)

// Prefix is where changes to the assortment lie in the store, by product.
const Prefix = "shop/catalog/changes/"

// Change is what differs from the data file for one product. Empty fields do not differ.
type Change struct {
	Name   string `json:"name,omitempty"`
	Price  int64  `json:"price,omitempty"` // in the currency's smallest unit
	Hidden bool   `json:"hidden,omitempty"`
}

// Store keeps changes to the assortment.
type Store interface {
	// Change returns what is known of a product's change. It answers from memory.
	Change(product string) (Change, bool)
	// SetChange replaces the change of a product; the zero Change takes it back.
	SetChange(ctx context.Context, product string, c Change) error
}

// NewStore returns a Store that writes to db and reads from view, a view of Prefix.
func NewStore(db kv.KV, view *kv.View[Change]) Store { return &changes{db, view} }

type changes struct {
	db   kv.KV
	view *kv.View[Change]
}

func (c *changes) Change(product string) (Change, bool) { return c.view.Get(product) }

// SetChange writes on condition that nothing else was written meanwhile: a write that hung in a frozen member of the store and
// was made again elsewhere is carried out there when it thaws, however late. The zero Change is written, too. Without an entry
// that condition would hold again.
func (c *changes) SetChange(ctx context.Context, product string, change Change) error {
	put, err := kv.Put(Prefix+product, change)
	if err != nil {
		return err
	}
	return kv.Update(ctx, c.db, func(ctx context.Context) (kv.Txn, error) {
		read, err := c.db.Get(ctx, put.Key)
		if err != nil {
			return kv.Txn{}, err
		}
		return kv.Txn{If: []kv.Condition{read[0].Unchanged()}, Put: []kv.Entry{put}}, nil
	})
}

// Shelf is the assortment with its changes. Safe for concurrent use.
type Shelf struct {
	assortment *assortment.Assortment
	byID       map[string]int
	store      Store
}

// NewShelf returns the shelf of a. It owns a from then on.
func NewShelf(a *assortment.Assortment, store Store) *Shelf {
	s := &Shelf{assortment: a, byID: make(map[string]int, len(a.Products)), store: store}
	for i, p := range a.Products {
		s.byID[p.ID] = i
	}
	return s
}

// Products returns what is for sale, in the order of the data file.
func (s *Shelf) Products() []assortment.Product {
	out := make([]assortment.Product, 0, len(s.assortment.Products))
	for _, p := range s.assortment.Products {
		if p, hidden := s.changed(p); !hidden {
			out = append(out, p)
		}
	}
	return out
}

// Product returns a product if it is for sale.
func (s *Shelf) Product(id string) (assortment.Product, bool) {
	i, ok := s.byID[id]
	if !ok {
		return assortment.Product{}, false
	}
	p, hidden := s.changed(s.assortment.Products[i])
	return p, !hidden
}

// Change changes a product for all instances; the zero Change takes earlier ones back. failure.NotFound if the
// data file does not have the product.
func (s *Shelf) Change(ctx context.Context, id string, c Change) error {
	if _, ok := s.byID[id]; !ok {
		return shop.NoProduct(id)
	}
	return s.store.SetChange(ctx, id, c)
}

func (s *Shelf) changed(p assortment.Product) (_ assortment.Product, hidden bool) {
	c, ok := s.store.Change(p.ID)
	if !ok {
		return p, false
	}
	if c.Name != "" {
		p.Name = c.Name
	}
	if c.Price > 0 {
		p.Price = c.Price
	}
	return p, c.Hidden
}

// Currency is that of all prices.
func (s *Shelf) Currency() string { return s.assortment.Currency }

// Categories returns the categories in their order. The slice is the caller's.
func (s *Shelf) Categories() []assortment.Category { return slices.Clone(s.assortment.Categories) }
