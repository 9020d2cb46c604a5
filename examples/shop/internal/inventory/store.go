package inventory

import (
	"context"
	"time"

	"github.com/tidwall/btree"

	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/replica"
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
	// Shown returns how much there is of those of products that exist, from this instance's memory: never later than
	// moments, at most seconds old while most instances are up, older when they are not.
	Shown(ctx context.Context, products []string) map[string]int64
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

// Group is a replicated [Ledger]; a *replica.Typed[*Ledger, Command, Done] is one.
type Group interface {
	Propose(ctx context.Context, c Command, opts ...replica.ProposeOption) (Done, error)
	Read(ctx context.Context, level replica.Level, fn func(*Ledger) error) error
}

// NewStore returns a Store on group. A product of which the ledger has no stock yet has that of opening.
func NewStore(group Group, opening *assortment.Assortment) Store {
	s := &store{group: group, opening: make(map[string]int64, len(opening.Products))}
	for _, p := range opening.Products {
		s.opening[p.ID] = p.Stock
	}
	return s
}

type store struct {
	group   Group
	opening map[string]int64
}

func (s *store) Reserve(ctx context.Context, order string, lines []Line) error {
	opening := make(map[string]int64, len(lines))
	for _, line := range lines {
		if n, ok := s.opening[line.Product]; ok {
			opening[line.Product] = n
		}
	}
	_, err := s.group.Propose(ctx, Command{Format: format, Op: Reserve, Order: order, Lines: lines, Opening: opening})
	return err
}

func (s *store) Commit(ctx context.Context, order string) error {
	_, err := s.group.Propose(ctx, Command{Format: format, Op: Commit, Order: order})
	return err
}

func (s *store) Release(ctx context.Context, order string) error {
	_, err := s.group.Propose(ctx, Command{Format: format, Op: Release, Order: order})
	return err
}

const (
	// shownAge is how old what customers are shown may be, as long as there is anybody to ask.
	shownAge = 5 * time.Second
	// shownWait is how long they wait for that.
	shownWait = 200 * time.Millisecond
)

// Shown never fails for the others' sake: browsing goes on when no majority is left.
func (s *store) Shown(ctx context.Context, products []string) map[string]int64 {
	available := make(map[string]int64, len(products))
	read := func(l *Ledger) error {
		for _, p := range products {
			if stock, ok := l.Stock(p); ok {
				available[p] = stock.Available
			} else if n, ok := s.opening[p]; ok {
				available[p] = n
			}
		}
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, shownWait)
	defer cancel()
	if s.group.Read(wait, replica.Stale(shownAge), read) != nil {
		_ = s.group.Read(ctx, replica.Eventual, read) // what is left out is shown as unknown
	}
	return available
}

func (s *store) Audit(ctx context.Context) (Audit, error) {
	a := Audit{Products: make(map[string]Count), Reservations: make(map[State]int)}
	for product, n := range s.opening {
		a.Products[product] = Count{Stock: Stock{Initial: n, Available: n}}
	}
	var stock map[string]Stock
	var reservations *btree.Map[string, *Reservation]
	if err := s.group.Read(ctx, replica.Linearizable, func(l *Ledger) error {
		stock, reservations = l.view()
		return nil
	}); err != nil {
		return Audit{}, err
	}
	for product, s := range stock {
		a.Products[product] = Count{Stock: s}
	}
	reservations.Scan(func(_ string, r *Reservation) bool {
		a.count(r)
		return true
	})
	return a, nil
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
