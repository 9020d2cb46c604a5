package shoptest

import (
	"context"
	"sync"

	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Run is what the shop's processes do with q until ctx ends, one instance of each: payments are settled, what is in the
// outboxes is published, what is published is handled, what was left is recovered. It may run several times at once, with a queue each: those are
// more instances.
func (s *Shop) Run(ctx context.Context, q *queue.Queue) error {
	always := func() bool { return true }
	parts := []interface{ Run(context.Context) error }{
		payment.NewSettler(s.charges, always, Quiet()),
		orders.NewRecovery(orders.NewStore(s.book), s.process, orders.RecoveryConfig{}, Quiet()),
		outbox.New(payment.NewOutbox(s.db), q, outbox.Config{Name: "payment"}),
		outbox.New(orders.NewOutbox(s.book), q, outbox.Config{Name: "orders"}),
	}
	for _, service := range []string{events.Orders, events.Payment} {
		if err := events.Declare(q, service); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		topic, group string
		handler      queue.Handler
	}{
		{events.PaymentsSettled, events.Orders, queue.Handle(s.process.Settled)},
		{events.PaymentsFailed, events.Orders, queue.Handle(s.process.Failed)},
		{events.OrdersPaid, events.Shipping, queue.Handle(s.parcels.Paid)},
		{events.OrdersPlaced, events.Notifications, queue.Handle(s.notices.Placed)},
		{events.OrdersPaid, events.Notifications, queue.Handle(s.notices.Paid)},
		{events.OrdersCancelled, events.Notifications, queue.Handle(s.notices.Cancelled)},
		{events.OrdersPlaced, events.Analytics, queue.Handle(s.analytics.Placed)},
		{events.OrdersPaid, events.Analytics, queue.Handle(s.analytics.Paid)},
		{events.OrdersCancelled, events.Analytics, queue.Handle(s.analytics.Cancelled)},
	} {
		sub, err := queue.NewSubscription(q, l.topic, l.group, l.handler, events.Handling())
		if err != nil {
			return err
		}
		parts = append(parts, sub)
	}
	var running sync.WaitGroup
	for _, p := range parts {
		running.Go(func() { _ = p.Run(ctx) })
	}
	running.Wait()
	return nil
}
