package orders

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
)

// Settled is the handler of payments.settled: the order is paid.
//
// It is idempotent by the order itself: the write is made on condition that the order still waits, so a message that comes
// twice, late, or after a recovery that asked by itself finds it further on and does nothing.
func (p *Process) Settled(ctx context.Context, m queue.Message[*eventspb.PaymentSettled]) error {
	return p.told(ctx, m.Value.GetKey(), func(o *Order) (*Order, error) {
		switch o.Status {
		case Reserved, Placed:
			// Reserved: whoever captured the charge has not written so yet, or died before.
			return o.to(Paid), nil
		case Pending:
			return nil, impossible(o, "settled")
		case Paid, Confirmed:
		case Undoing, Rejected:
			// Undoing voids the charge: it is settled and given back.
		}
		return nil, nil
	})
}

// Failed is the handler of payments.failed: the order is undone. Idempotent as Settled.
func (p *Process) Failed(ctx context.Context, m queue.Message[*eventspb.PaymentFailed]) error {
	return p.told(ctx, m.Value.GetKey(), func(o *Order) (*Order, error) {
		switch o.Status {
		case Reserved, Placed:
			return o.undo(shop.ErrPaymentFailed), nil
		case Pending, Paid, Confirmed:
			return nil, impossible(o, "failed")
		case Undoing, Rejected:
		}
		return nil, nil
	})
}

// impossible is about a message that no payment of ours can have led to. No repetition makes it right: it is set aside for
// people to look at.
func impossible(o *Order, what string) error {
	return failure.New(failure.FailedPrecondition, "the payment of order %s, which is %s, is said to have %s", o.ID, o.Status, what).
		WithReason("CONTRADICTION", shop.Domain)
}

// told writes what decide makes of the order; nil is nothing.
func (p *Process) told(ctx context.Context, id string, decide func(*Order) (*Order, error)) error {
	for range maxSteps {
		o, err := p.store.Load(ctx, id)
		if err != nil {
			return err
		}
		next, err := decide(o)
		if next == nil || err != nil {
			return err
		}
		ok, err := p.write(ctx, o, next)
		if err != nil {
			return err
		}
		if ok {
			// The message has done its work: from here the order itself says what is to be done. What fails now is for the
			// recovery, not for the message to come again.
			_, _ = p.Finish(ctx, next)
			return nil
		}
	}
	return shop.Busy(time.Second, "order %s is being worked on", id)
}

// Ask asks the payment provider how the payment of an order stands that waits to be told, writes that down, and returns the
// order as it is then.
func (p *Process) Ask(ctx context.Context, o *Order) (*Order, error) {
	next, err := p.charge(ctx, o)
	if err != nil || next.Status == o.Status {
		return o, err
	}
	ok, err := p.write(ctx, o, next)
	if err != nil {
		return o, err
	}
	if !ok {
		return p.store.Load(ctx, o.ID)
	}
	return next, nil
}

// happened returns what there is to tell of an order that becomes next. It follows from the two, so that whoever makes the
// write tells the same.
func (o *Order) happened(next *Order) ([]events.Event, error) {
	var out []events.Event
	var failed error
	add := func(e events.Event, err error) {
		out = append(out, e)
		if err != nil {
			failed = err
		}
	}
	if next.Placed && !o.Placed {
		add(events.New(events.OrdersPlaced, next.ID, next.Updated, &eventspb.OrderPlaced{
			Order: next.ID, Customer: next.Customer, Currency: next.Currency, TotalMinor: next.Total, Lines: eventLines(next),
		}))
	}
	if next.Status == Paid {
		add(events.New(events.OrdersPaid, next.ID, next.Updated, &eventspb.OrderPaid{
			Order: next.ID, Customer: next.Customer, Currency: next.Currency, TotalMinor: next.Total, Lines: eventLines(next),
		}))
	}
	if next.Status == Rejected && next.Placed {
		add(events.New(events.OrdersCancelled, next.ID, next.Updated, &eventspb.OrderCancelled{
			Order: next.ID, Customer: next.Customer, Currency: next.Currency, TotalMinor: next.Total, Reason: next.Reason,
		}))
	}
	return out, failed
}

func eventLines(o *Order) []*eventspb.Line {
	lines := make([]*eventspb.Line, len(o.Lines))
	for i, line := range o.Lines {
		lines[i] = &eventspb.Line{Product: line.Product, Name: line.Name, Quantity: line.Quantity}
	}
	return lines
}
