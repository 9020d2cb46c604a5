// Package analytics is the service that counts what becomes of orders: how many, and what they bring in. It listens to
// what orders publishes.
//
// A sum does not show what went into it, so one that counts a message twice is wrong for good and nobody can tell. What it
// counts therefore is a machine of its own ([Tally]), replicated over its instances, that knows the events that went into
// it: that an event is counted and that it is known are one command.
package analytics

import (
	"context"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/replica"
)

// Group is a replicated [Tally]; a *replica.Typed[*Tally, Command, Counted] is one.
type Group interface {
	Propose(ctx context.Context, c Command, opts ...replica.ProposeOption) (Counted, error)
	Read(ctx context.Context, level replica.Level, fn func(*Tally) error) error
}

// Service implements the Analytics service, and what it does with messages.
type Service struct {
	analyticspb.UnimplementedAnalyticsServer
	group Group
}

// New returns a service that counts in group.
func New(group Group) *Service { return &Service{group: group} }

// Placed is the handler of orders.placed.
func (s *Service) Placed(ctx context.Context, m queue.Message[*eventspb.OrderPlaced]) error {
	return s.count(ctx, m.ID, m.Value.GetOrder(), Totals{Placed: 1})
}

// Paid is the handler of orders.paid.
func (s *Service) Paid(ctx context.Context, m queue.Message[*eventspb.OrderPaid]) error {
	c := Totals{Paid: 1, Revenue: map[string]int64{m.Value.GetCurrency(): m.Value.GetTotalMinor()}, Sold: make(map[string]int64)}
	for _, line := range m.Value.GetLines() {
		c.Sold[line.GetProduct()] += int64(line.GetQuantity())
	}
	return s.count(ctx, m.ID, m.Value.GetOrder(), c)
}

// Cancelled is the handler of orders.cancelled.
func (s *Service) Cancelled(ctx context.Context, m queue.Message[*eventspb.OrderCancelled]) error {
	return s.count(ctx, m.ID, m.Value.GetOrder(), Totals{Cancelled: 1})
}

func (s *Service) count(ctx context.Context, id, order string, c Totals) error {
	var check shop.Check
	if !check.ID("order", order) {
		return check.Err()
	}
	_, err := s.group.Propose(ctx, Command{Format: format, ID: id, Count: c})
	return err
}

// Totals implements analyticspb.AnalyticsServer.
func (s *Service) Totals(ctx context.Context, _ *analyticspb.TotalsRequest) (*analyticspb.TotalsResponse, error) {
	var t Totals
	err := s.group.Read(ctx, replica.Linearizable, func(y *Tally) error {
		t = y.Totals()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &analyticspb.TotalsResponse{
		Placed: t.Placed, Paid: t.Paid, Cancelled: t.Cancelled, Revenue: t.Revenue, Sold: t.Sold,
	}, nil
}
