package orders

import (
	"context"
	"fmt"
	"math"

	"github.com/tidwall/btree"

	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// Store keeps orders. An Order that it returned remembers its version. What it returns is what was there at some time
// during the call, wherever it was written.
type Store interface {
	// Load returns an order, or failure.NotFound.
	Load(ctx context.Context, id string) (*Order, error)
	// Create stores o if there is no order with its id yet, and returns the one that is stored: o's or the other.
	Create(ctx context.Context, o *Order) (*Order, error)
	// Update replaces the order that o is a later state of, and has what happened by that published. It reports false,
	// and nothing is published, if that is not the stored one any more. After an error the update may have been made, or
	// may be later.
	Update(ctx context.Context, o *Order, happened ...events.Event) (bool, error)
	// OfCustomer returns up to limit orders of one customer, the newest first.
	OfCustomer(ctx context.Context, customer string, limit int) ([]*Order, error)
	// Promised returns up to limit orders that are paid and have to be finished, the oldest first: those behind the order
	// after, nil for all.
	Promised(ctx context.Context, after *Order, limit int) ([]*Order, error)
	// Unfinished returns those with something to do that nobody was promised, as Promised does.
	Unfinished(ctx context.Context, after *Order, limit int) ([]*Order, error)
	// Waiting returns those that wait for a message, as Promised does.
	Waiting(ctx context.Context, after *Order, limit int) ([]*Order, error)
	// Page returns up to limit orders in the order of their ids, those behind the id after.
	Page(ctx context.Context, after string, limit int) ([]*Order, error)
}

// Group is a replicated [Book]; a *replica.Typed[*Book, Command, Answer] is one.
type Group interface {
	Propose(ctx context.Context, c Command, opts ...replica.ProposeOption) (Answer, error)
	Read(ctx context.Context, level replica.Level, fn func(*Book) error) error
}

// NewStore returns a Store on group.
func NewStore(group Group) Store { return store{group} }

type store struct{ group Group }

func (s store) Load(ctx context.Context, id string) (o *Order, err error) {
	err = s.group.Read(ctx, replica.Linearizable, func(b *Book) error {
		var ok bool
		if o, ok = b.load(id); !ok {
			return failure.New(failure.NotFound, "there is no order %q", id)
		}
		return nil
	})
	return o, err
}

func (s store) Create(ctx context.Context, o *Order) (*Order, error) {
	a, err := s.group.Propose(ctx, Command{Format: format, Op: Create, Order: o})
	if err != nil {
		return nil, err
	}
	a.Order.version = a.Version
	return a.Order, nil
}

func (s store) Update(ctx context.Context, o *Order, happened ...events.Event) (bool, error) {
	a, err := s.group.Propose(ctx, Command{Format: format, Op: Update, Order: o, Version: o.version, Events: happened})
	if err != nil || !a.Written {
		return false, err
	}
	o.version = a.Version
	return true, nil
}

func (s store) OfCustomer(ctx context.Context, customer string, limit int) (found []*Order, err error) {
	err = s.group.Read(ctx, replica.Linearizable, func(b *Book) error {
		found = b.page(byCustomer, customer+"/", "", limit)
		return nil
	})
	return found, err
}

func (s store) Promised(ctx context.Context, after *Order, limit int) ([]*Order, error) {
	return s.behind(ctx, byPromised, after, limit)
}

func (s store) Unfinished(ctx context.Context, after *Order, limit int) ([]*Order, error) {
	return s.behind(ctx, byUnfinished, after, limit)
}

func (s store) Waiting(ctx context.Context, after *Order, limit int) ([]*Order, error) {
	return s.behind(ctx, byWaiting, after, limit)
}

// behind returns up to limit orders of a tree whose keys are unfinishedKey's: those behind the order after, nil for all.
func (s store) behind(ctx context.Context, tree func(*Book) *btree.Map[string, *entry], after *Order, limit int) (found []*Order, err error) {
	from := ""
	if after != nil {
		from = unfinishedKey(after)
	}
	err = s.group.Read(ctx, replica.Linearizable, func(b *Book) error {
		found = b.page(tree, "", from, limit)
		return nil
	})
	return found, err
}

func (s store) Page(ctx context.Context, after string, limit int) (found []*Order, err error) {
	err = s.group.Read(ctx, replica.Linearizable, func(b *Book) error {
		found = b.page(byID, "", after, limit)
		return nil
	})
	return found, err
}

// The keys sort as text, so the times in them have a fixed width.
func customerKey(o *Order) string {
	return fmt.Sprintf("%s/%019d-%s", o.Customer, math.MaxInt64-o.Created.UnixMilli(), o.ID)
}

func unfinishedKey(o *Order) string {
	return fmt.Sprintf("%019d-%s", o.Created.UnixMilli(), o.ID)
}
