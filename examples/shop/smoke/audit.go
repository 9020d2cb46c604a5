package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// audit is the shop's books against those of its customers. Each list has a line for each thing that is wrong.
type audit struct {
	checkouts, acknowledged, refused, cancelled, open int

	unanswered []string // repeated for a minute and still without an answer
	missing    []string // acknowledged, and neither a confirmed order nor one whose payment failed, as it was to be
	doubled    []string // more than one order of one checkout
	charges    []string // charged twice, for nothing, not at all, or another amount
	stock      []string // initial is not available + reserved + sold, or sold is not what orders say, or what was set aside is not back
	unfinished []string // orders that are still on their way

	unshipped []string // paid without a parcel
	shipped   []string // with two, or without being paid
	untold    []string // customers who were not told what became of their orders
	told      []string // who were told twice, or what is not so
	counted   []string // what analytics has counted, and is not so
	dead      []string // groups with dead letters: messages that nobody could handle
}

// late are those of the wrong things that time may mend: messages are on their way.
func (a *audit) late() int {
	return len(a.unfinished) + len(a.unshipped) + len(a.untold) + len(a.counted)
}

// books are what the services say, all of it.
type books struct {
	orders  []*orderspb.Order
	charges []*paymentpb.Charge
	stock   *inventorypb.AuditResponse
	parcels []*shippingpb.Parcel
	sent    []*notificationspb.Sent
	totals  *analyticspb.TotalsResponse
	dead    map[driver.Group]int64
}

func (s *books) compare(b *book) *audit {
	a := new(audit)
	a.compareOrders(s.orders, b)
	a.compareCharges(s.orders, s.charges)
	a.compareStock(s.orders, s.stock)
	a.compareParcels(s.orders, s.parcels)
	a.compareSent(s.orders, s.sent)
	a.compareTotals(s.orders, s.totals)
	for group, n := range s.dead {
		if n != 0 {
			a.dead = append(a.dead, fmt.Sprintf("%s of %s: %d dead letters", group.Group, group.Topic, n))
		}
	}
	return a
}

// settles is how long what is on its way may take to arrive, after the last thing was broken.
const settles = time.Minute

// auditBooks asks the services themselves, by the registry, as any service would. took is how long it was until nothing was
// on its way any more.
func auditBooks(ctx context.Context, info control.Info, b *book) (a *audit, took time.Duration, err error) {
	svc := holdfast.New("smoke", events.Engines(), func(c *holdfast.Config) {
		c.Settings.Registry, c.Settings.Queue = info.Registry, info.Queue
		c.RPCClient.Policy.Timeout = 20 * time.Second
	})
	defer svc.Close() //nolint:errcheck // its connections have said what there was to say
	shop := services{
		orders:        orderspb.NewOrdersClient(svc.Dial("orders")),
		payment:       paymentpb.NewPaymentClient(svc.Dial("payment")),
		inventory:     inventorypb.NewInventoryClient(svc.Dial("inventory")),
		shipping:      shippingpb.NewShippingClient(svc.Dial("shipping")),
		notifications: notificationspb.NewNotificationsClient(svc.Dial("notifications")),
		analytics:     analyticspb.NewAnalyticsClient(svc.Dial("analytics")),
		queue:         svc.Queue(),
	}
	for start := time.Now(); ; {
		books, err := shop.books(ctx)
		if err != nil {
			return nil, 0, err
		}
		a, took = books.compare(b), time.Since(start)
		if a.late() == 0 || took > settles || !sleep(ctx, time.Second) {
			return a, took, nil
		}
	}
}

type services struct {
	orders        orderspb.OrdersClient
	payment       paymentpb.PaymentClient
	inventory     inventorypb.InventoryClient
	shipping      shippingpb.ShippingClient
	notifications notificationspb.NotificationsClient
	analytics     analyticspb.AnalyticsClient
	queue         *queue.Queue
}

// books reads what leads to something before what follows from it, so that nothing looks as if it came from nothing.
func (s services) books(ctx context.Context) (*books, error) {
	var b books
	var err error
	if b.orders, err = all(ctx, func(ctx context.Context, after string) ([]*orderspb.Order, error) {
		page, err := s.orders.Audit(ctx, &orderspb.AuditRequest{After: after})
		return page.GetOrders(), err
	}, (*orderspb.Order).GetId); err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	if b.charges, err = all(ctx, func(ctx context.Context, after string) ([]*paymentpb.Charge, error) {
		page, err := s.payment.Audit(ctx, &paymentpb.AuditRequest{After: after})
		return page.GetCharges(), err
	}, (*paymentpb.Charge).GetKey); err != nil {
		return nil, fmt.Errorf("payment: %w", err)
	}
	if b.stock, err = s.inventory.Audit(ctx, &inventorypb.AuditRequest{}); err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	if b.parcels, err = all(ctx, func(ctx context.Context, after string) ([]*shippingpb.Parcel, error) {
		page, err := s.shipping.Audit(ctx, &shippingpb.AuditRequest{After: after})
		return page.GetParcels(), err
	}, (*shippingpb.Parcel).GetLabel); err != nil {
		return nil, fmt.Errorf("shipping: %w", err)
	}
	if b.sent, err = all(ctx, func(ctx context.Context, after string) ([]*notificationspb.Sent, error) {
		page, err := s.notifications.Audit(ctx, &notificationspb.AuditRequest{After: after})
		return page.GetSent(), err
	}, (*notificationspb.Sent).GetId); err != nil {
		return nil, fmt.Errorf("notifications: %w", err)
	}
	if b.totals, err = s.analytics.Totals(ctx, &analyticspb.TotalsRequest{}); err != nil {
		return nil, fmt.Errorf("analytics: %w", err)
	}
	b.dead = make(map[driver.Group]int64)
	for _, topic := range slices.Concat(events.Topics(events.Orders), events.Topics(events.Payment)) {
		for _, group := range events.Groups(topic) {
			lag, err := s.queue.Lag(ctx, topic, group)
			if err != nil {
				return nil, fmt.Errorf("queue: %s of %s: %w", group, topic, err)
			}
			b.dead[driver.Group{Topic: topic, Group: group}] = lag.Dead
		}
	}
	return &b, nil
}

// all reads page after page, until one is empty.
func all[T any](ctx context.Context, page func(ctx context.Context, after string) ([]T, error), key func(T) string) (out []T, err error) {
	for after := ""; ; after = key(out[len(out)-1]) {
		more, err := page(ctx, after)
		if err != nil || len(more) == 0 {
			return out, err
		}
		out = append(out, more...)
	}
}
