package inventory

import (
	"slices"
	"strconv"

	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
)

// Stock is how much there is of one product. For all time, Initial = Available + what open and committed
// reservations hold.
type Stock struct {
	Initial   int64 `json:"initial"`
	Available int64 `json:"available"` // never negative
}

// State is the state of a reservation.
type State string

// The states of a reservation: Open, then one of the others for good.
const (
	Open      State = "open"
	Committed State = "committed" // sold
	Released  State = "released"  // back on the shelf, or never taken
)

// Line is a quantity of one product.
type Line struct {
	Product  string `json:"product"`
	Quantity int64  `json:"quantity"`
}

// Reservation is what is set aside for one order.
type Reservation struct {
	State State  `json:"state"`
	Lines []Line `json:"lines,omitempty"`
}

// change is what a decision changes; nil and empty mean nothing.
type change struct {
	reservation *Reservation
	stock       map[string]Stock
}

// reserve decides on taking lines out of stock for an order with the reservation r (nil if it has none). stock has
// every product of lines that exists.
func reserve(r *Reservation, stock map[string]Stock, lines []Line) (change, error) {
	switch {
	case r != nil && r.State == Released:
		return change{}, shop.ErrReleased
	case r != nil:
		return change{}, nil // done before
	}
	left := make(map[string]Stock, len(lines))
	for _, line := range lines {
		s, ok := stock[line.Product]
		if !ok {
			return change{}, shop.NoProduct(line.Product)
		}
		if s.Available < line.Quantity {
			return change{}, shop.ErrOutOfStock.With("only %d of %s left", s.Available, line.Product).
				WithMetadata("product", line.Product).
				WithMetadata("available", strconv.FormatInt(s.Available, 10))
		}
		s.Available -= line.Quantity
		left[line.Product] = s
	}
	return change{&Reservation{Open, slices.Clone(lines)}, left}, nil
}

// commit decides on the sale of what r holds.
func commit(r *Reservation) (change, error) {
	switch {
	case r == nil:
		return change{}, failure.New(failure.NotFound, "the order has no reservation")
	case r.State == Released:
		return change{}, shop.ErrReleased
	case r.State == Committed:
		return change{}, nil
	}
	return change{reservation: &Reservation{Committed, r.Lines}}, nil
}

// release decides on putting back what r holds. stock has every product that r holds.
func release(r *Reservation, stock map[string]Stock) (change, error) {
	switch {
	case r == nil:
		return change{reservation: &Reservation{State: Released}}, nil
	case r.State == Committed:
		return change{}, shop.ErrCommitted
	case r.State == Released:
		return change{}, nil
	}
	back := make(map[string]Stock, len(r.Lines))
	for _, line := range r.Lines {
		s := stock[line.Product]
		s.Available += line.Quantity
		back[line.Product] = s
	}
	return change{&Reservation{Released, r.Lines}, back}, nil
}
