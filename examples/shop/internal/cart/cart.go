// Package cart is the service that keeps what customers mean to buy.
package cart

import (
	"context"
	"slices"

	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
)

// Item is one line of a cart.
type Item struct {
	Product  string `json:"product"`
	Quantity int32  `json:"quantity"`
}

// Store keeps carts.
type Store interface {
	// Load returns the customer's items; none is no error.
	Load(ctx context.Context, customer string) ([]Item, error)
	// Update replaces the customer's items by what change makes of them, in one step, and returns those. change may
	// be called several times and gets a slice that it may use up.
	Update(ctx context.Context, customer string, change func([]Item) ([]Item, error)) ([]Item, error)
}

// Server implements the Cart service.
type Server struct {
	cartpb.UnimplementedCartServer
	store Store
}

// NewServer returns the service.
func NewServer(store Store) *Server { return &Server{store: store} }

// Get implements cartpb.CartServer.
func (s *Server) Get(ctx context.Context, req *cartpb.GetRequest) (*cartpb.GetResponse, error) {
	var check shop.Check
	if check.ID("customer", req.GetCustomer()); check.Err() != nil {
		return nil, check.Err()
	}
	items, err := s.store.Load(ctx, req.GetCustomer())
	if err != nil {
		return nil, err
	}
	return &cartpb.GetResponse{Items: wire(items)}, nil
}

// SetItem implements cartpb.CartServer.
func (s *Server) SetItem(ctx context.Context, req *cartpb.SetItemRequest) (*cartpb.SetItemResponse, error) {
	var check shop.Check
	check.ID("customer", req.GetCustomer())
	check.ID("product", req.GetProduct())
	check.That(req.GetQuantity() >= 0 && req.GetQuantity() <= shop.MaxQuantity, "quantity", "must be 0 to %d", shop.MaxQuantity)
	if err := check.Err(); err != nil {
		return nil, err
	}
	items, err := s.store.Update(ctx, req.GetCustomer(), func(items []Item) ([]Item, error) {
		return set(items, req.GetProduct(), req.GetQuantity())
	})
	if err != nil {
		return nil, err
	}
	return &cartpb.SetItemResponse{Items: wire(items)}, nil
}

// Clear implements cartpb.CartServer.
func (s *Server) Clear(ctx context.Context, req *cartpb.ClearRequest) (*cartpb.ClearResponse, error) {
	var check shop.Check
	if check.ID("customer", req.GetCustomer()); check.Err() != nil {
		return nil, check.Err()
	}
	_, err := s.store.Update(ctx, req.GetCustomer(), func([]Item) ([]Item, error) { return nil, nil })
	if err != nil {
		return nil, err
	}
	return &cartpb.ClearResponse{}, nil
}

// set puts quantity of product into items, at the place it had, or takes it out.
func set(items []Item, product string, quantity int32) ([]Item, error) {
	at := slices.IndexFunc(items, func(i Item) bool { return i.Product == product })
	switch {
	case at >= 0 && quantity == 0:
		return slices.Delete(items, at, at+1), nil
	case at >= 0:
		items[at].Quantity = quantity
		return items, nil
	case quantity == 0:
		return items, nil
	case len(items) >= shop.MaxItems:
		return nil, failure.New(failure.ResourceExhausted, "the cart is full: %d different products", shop.MaxItems)
	}
	return append(items, Item{product, quantity}), nil
}

func wire(items []Item) []*cartpb.Item {
	out := make([]*cartpb.Item, len(items))
	for i, item := range items {
		out[i] = &cartpb.Item{Product: item.Product, Quantity: item.Quantity}
	}
	return out
}

// Prefix is where carts lie in the store, by customer.
const Prefix = "shop/carts/"

// NewStore returns a Store on db.
func NewStore(db kv.KV) Store { return carts{db} }

type carts struct{ db kv.KV }

func (c carts) Load(ctx context.Context, customer string) ([]Item, error) {
	items, _, err := c.load(ctx, customer)
	return items, err
}

func (c carts) load(ctx context.Context, customer string) ([]Item, kv.Entry, error) {
	entries, err := c.db.Get(ctx, Prefix+customer)
	if err != nil {
		return nil, kv.Entry{}, err
	}
	var items []Item
	if entries[0].Exists() {
		err = entries[0].Decode(&items)
	}
	return items, entries[0], err
}

func (c carts) Update(ctx context.Context, customer string, change func([]Item) ([]Item, error)) ([]Item, error) {
	var after []Item
	err := kv.Update(ctx, c.db, func(ctx context.Context) (kv.Txn, error) {
		before, read, err := c.load(ctx, customer)
		if err != nil {
			return kv.Txn{}, err
		}
		if after, err = change(slices.Clone(before)); err != nil || slices.Equal(before, after) {
			return kv.Txn{}, err
		}
		tx := kv.Txn{If: []kv.Condition{read.Unchanged()}}
		if len(after) == 0 {
			tx.Delete = []string{read.Key}
			return tx, nil
		}
		put, err := kv.Put(read.Key, after)
		tx.Put = []kv.Entry{put}
		return tx, err
	})
	return after, err
}
