// Package payment stands for a payment provider outside the shop: it takes its time, is out of order now and then, and
// never moves money twice for one key. A charge is captured while its caller waits, and settled by itself some time later;
// or it turns out then that there is no money. How slow and how unreliable it is can be set while it runs.
package payment

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
)

// State is the state of a charge.
type State string

// The states of a charge:
//
//	Captured ──▶ Settled ──▶ Voided       Declined
//	    ├──────▶ Failed
//	    └──────▶ Voided
const (
	Captured State = "captured"
	Settled  State = "settled" // the money is there
	Failed   State = "failed"  // it never will be
	Declined State = "declined"
	Voided   State = "voided" // given back, or never taken
)

// Charge is the money taken for one key.
type Charge struct {
	Customer string `json:"customer,omitempty"`
	Currency string `json:"currency,omitempty"`
	Minor    int64  `json:"minor,omitempty"`
	Card     string `json:"card,omitempty"`
	State    State  `json:"state"`
	// Due is when it is settled if it is Captured.
	Due time.Time `json:"due,omitzero"`
	// Trace is that of the request which asked for it: what it comes to is told later, and belongs to it.
	Trace string `json:"trace,omitempty"`
}

// Store keeps charges.
type Store interface {
	// Charge records c under key unless there is a charge already, and returns the one that is recorded and whether
	// it was there before.
	Charge(ctx context.Context, key string, c Charge) (recorded Charge, before bool, err error)
	// Void makes the charge under key a voided one, creating it if need be. One that is declined or failed stays so.
	Void(ctx context.Context, key string) error
	// Due returns up to limit keys of charges that were to be settled by now, and of those that would have to wait longer
	// than any charge has to: the clock of whoever captured them was ahead.
	Due(ctx context.Context, now time.Time, limit int) ([]string, error)
	// Settle ends the capture of the charge under key, with an event in the outbox, unless that was done before or it was
	// voided meanwhile.
	Settle(ctx context.Context, key string, now time.Time) error
	// Page returns up to limit charges in the order of their keys, those behind the key after.
	Page(ctx context.Context, after string, limit int) ([]Keyed, error)
}

// Keyed is a charge with its key.
type Keyed struct {
	Key string
	Charge
}

// Server implements the Payment service.
type Server struct {
	paymentpb.UnimplementedPaymentServer
	store     Store
	behaviour func() Behaviour
	roll      func() float64
}

// NewServer returns the service. It asks behaviour anew for every charge.
func NewServer(store Store, behaviour func() Behaviour) *Server {
	return &Server{store: store, behaviour: behaviour, roll: rand.Float64}
}

// Charge implements paymentpb.PaymentServer.
func (s *Server) Charge(ctx context.Context, req *paymentpb.ChargeRequest) (*paymentpb.ChargeResponse, error) {
	var check shop.Check
	check.ID("key", req.GetKey())
	check.ID("customer", req.GetCustomer())
	check.That(len(req.GetCurrency()) == 3, "currency", "must be three letters")
	check.That(req.GetMinor() >= 1, "minor", "must be at least 1")
	if req.GetCard() != "" {
		check.ID("card", req.GetCard())
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	b := s.behaviour()
	// These errors say nothing of when to come back: the next try may fare better at once.
	if s.roll() < b.FailRate {
		return nil, failure.New(failure.Unavailable, "the payment provider is out of order")
	}
	want := Charge{
		Customer: req.GetCustomer(), Currency: req.GetCurrency(), Minor: req.GetMinor(), Card: req.GetCard(), State: Captured,
		Due: time.Now().Add(time.Duration(b.SettleMS) * time.Millisecond),
	}
	if s.roll() < b.DeclineRate {
		want.State = Declined
	}
	got, before, err := s.store.Charge(ctx, req.GetKey(), want)
	if err != nil {
		return nil, err
	}
	if !before {
		// A caller who does not wait has been charged all the same. It learns so at once when it asks again.
		if err := s.wait(ctx, b); err != nil {
			return nil, err
		}
	}
	if s.roll() < b.LoseRate {
		return nil, failure.New(failure.Unavailable, "the payment provider's answer was lost")
	}
	switch {
	case got.State == Voided:
		return nil, shop.ErrVoided
	case got.Customer != want.Customer || got.Currency != want.Currency || got.Minor != want.Minor || got.Card != want.Card:
		return nil, shop.ErrKeyReused
	case got.State == Declined:
		return nil, shop.ErrDeclined
	case got.State == Failed:
		return nil, shop.ErrPaymentFailed
	}
	return &paymentpb.ChargeResponse{Settled: got.State == Settled}, nil
}

// Void implements paymentpb.PaymentServer.
func (s *Server) Void(ctx context.Context, req *paymentpb.VoidRequest) (*paymentpb.VoidResponse, error) {
	var check shop.Check
	if !check.ID("key", req.GetKey()) {
		return nil, check.Err()
	}
	if err := s.store.Void(ctx, req.GetKey()); err != nil {
		return nil, err
	}
	return &paymentpb.VoidResponse{}, nil
}

// Audit implements paymentpb.PaymentServer.
func (s *Server) Audit(ctx context.Context, req *paymentpb.AuditRequest) (*paymentpb.AuditResponse, error) {
	const maxLimit = 500
	limit := int(req.GetLimit())
	if limit <= 0 || limit > maxLimit {
		limit = maxLimit
	}
	charges, err := s.store.Page(ctx, req.GetAfter(), limit)
	if err != nil {
		return nil, err
	}
	resp := &paymentpb.AuditResponse{}
	for _, c := range charges {
		resp.Charges = append(resp.Charges, &paymentpb.Charge{
			Key: c.Key, Customer: c.Customer, Currency: c.Currency, Minor: c.Minor, State: wire(c.State),
		})
	}
	return resp, nil
}

func wire(s State) paymentpb.State {
	switch s {
	case Captured:
		return paymentpb.State_STATE_CAPTURED
	case Settled:
		return paymentpb.State_STATE_SETTLED
	case Failed:
		return paymentpb.State_STATE_FAILED
	case Declined:
		return paymentpb.State_STATE_DECLINED
	case Voided:
		return paymentpb.State_STATE_VOIDED
	}
	return paymentpb.State_STATE_UNSPECIFIED
}

// wait takes as long as the provider does.
func (s *Server) wait(ctx context.Context, b Behaviour) error {
	d := time.Duration(b.LatencyMS+int(s.roll()*float64(b.JitterMS))) * time.Millisecond
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
