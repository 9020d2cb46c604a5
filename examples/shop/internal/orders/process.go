package orders

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
)

// Process takes orders along their way, one step after the other. Several processes may work on one order at the same
// time: every step can be repeated, and of two writes of an order one loses and reads again. Safe for concurrent use.
type Process struct {
	store     Store
	inventory inventorypb.InventoryClient
	payment   paymentpb.PaymentClient
}

// NewProcess returns a process that works on store's orders.
func NewProcess(store Store, inventory inventorypb.InventoryClient, payment paymentpb.PaymentClient) *Process {
	return &Process{store, inventory, payment}
}

// maxSteps is far beyond what two processes can make each other repeat.
const maxSteps = 50

// Finish takes o as far as it goes and returns it as it is then: final or waiting, unless there is an error. The order that
// it returns with an error is as it was stored last.
func (p *Process) Finish(ctx context.Context, o *Order) (*Order, error) {
	for range maxSteps {
		if o.Status.Final() || o.Status.Waits() {
			return o, nil
		}
		next, err := p.step(ctx, o)
		if err != nil {
			return o, err
		}
		ok, err := p.write(ctx, o, next)
		if err != nil {
			return o, err
		}
		if ok {
			o = next
			continue
		}
		// Somebody else wrote first, or it was us and the answer was lost: what is stored counts.
		stored, err := p.store.Load(ctx, o.ID)
		if err != nil {
			return o, err
		}
		o = stored
	}
	return o, shop.Busy(time.Second, "the order is being worked on; please try again")
}

// step does what o's status asks for and returns the order as it is to be written.
func (p *Process) step(ctx context.Context, o *Order) (*Order, error) {
	switch o.Status {
	case Pending:
		_, err := p.inventory.Reserve(ctx, &inventorypb.ReserveRequest{Order: o.ID, Lines: stockLines(o)})
		switch {
		case err == nil:
			return o.to(Reserved), nil
		case errors.Is(err, shop.ErrOutOfStock):
			return o.undo(err), nil
		case errors.Is(err, shop.ErrReleased):
			// Another process has undone it, and its write comes or has come before ours.
			return o.undo(shop.ErrGivenUp), nil
		}
		return nil, err
	case Reserved:
		return p.charge(ctx, o)
	case Paid:
		if _, err := p.inventory.Commit(ctx, &inventorypb.CommitRequest{Order: o.ID}); err != nil {
			return nil, err
		}
		return o.to(Confirmed), nil
	case Undoing:
		if o.Chargeable {
			if _, err := p.payment.Void(ctx, &paymentpb.VoidRequest{Key: o.ID}); err != nil {
				return nil, err
			}
		}
		if _, err := p.inventory.Release(ctx, &inventorypb.ReleaseRequest{Order: o.ID}); err != nil {
			return nil, err
		}
		return o.to(Rejected), nil
	case Placed, Confirmed, Rejected:
	}
	return o, nil
}

// charge captures the payment, or asks how one stands that was captured before.
func (p *Process) charge(ctx context.Context, o *Order) (*Order, error) {
	resp, err := p.payment.Charge(ctx, &paymentpb.ChargeRequest{
		Key: o.ID, Customer: o.Customer, Currency: o.Currency, Minor: o.Total, Card: o.Card,
	})
	switch {
	case err == nil && resp.GetSettled():
		return o.to(Paid), nil
	case err == nil:
		return o.to(Placed), nil
	case errors.Is(err, shop.ErrDeclined), errors.Is(err, shop.ErrPaymentFailed):
		return o.undo(err), nil
	case errors.Is(err, shop.ErrVoided):
		return o.undo(shop.ErrGivenUp), nil
	}
	return nil, err
}

// GiveUp begins to undo an order that nobody has been promised. It reports false if the order has moved on.
func (p *Process) GiveUp(ctx context.Context, o *Order) (bool, error) {
	if o.Status != Pending && o.Status != Reserved {
		return false, nil
	}
	return p.write(ctx, o, o.undo(shop.ErrGivenUp))
}

// write stores next, a later state of o, and what happened by that.
func (p *Process) write(ctx context.Context, o, next *Order) (bool, error) {
	next.Updated = time.Now()
	happened, err := o.happened(next)
	if err != nil {
		return false, err
	}
	trace, _ := queue.TraceParent(ctx)
	for i := range happened {
		happened[i].Trace = trace
	}
	return p.store.Update(ctx, next, happened...)
}

// to returns a copy of o with another status.
func (o *Order) to(s Status) *Order {
	next := *o
	next.Status = s
	next.Chargeable = o.Chargeable || s == Reserved
	next.Placed = o.Placed || s == Placed || s == Paid
	return &next
}

// undo returns a copy of o that is to be undone because of err.
func (o *Order) undo(err error) *Order {
	e := failure.From(err)
	next := o.to(Undoing)
	next.Reason, next.Detail, next.Facts = e.Reason, e.Message, e.Metadata
	return next
}

// rejection is the error for whoever asks for an order that is or will be rejected. It is always the same.
func (o *Order) rejection() error {
	err := failure.New(failure.FailedPrecondition, "%s", o.Detail).WithReason(o.Reason, shop.Domain).WithMetadata("order", o.ID)
	for name, fact := range o.Facts {
		err = err.WithMetadata(name, fact)
	}
	return err
}

func stockLines(o *Order) []*inventorypb.Line {
	lines := make([]*inventorypb.Line, len(o.Lines))
	for i, line := range o.Lines {
		lines[i] = &inventorypb.Line{Product: line.Product, Quantity: int64(line.Quantity)}
	}
	return lines
}
