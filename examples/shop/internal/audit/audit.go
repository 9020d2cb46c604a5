// Package audit holds the shop's books against what its customers know of their orders.
package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Audit is what came of it. Each list has a line for each thing that is wrong.
type Audit struct {
	Checkouts, Acknowledged, Refused, Cancelled, Open int

	Unanswered []string // still without an answer
	Missing    []string // acknowledged, and neither a confirmed order nor one whose payment failed, as it was to be
	Doubled    []string // more than one order of one checkout
	Charges    []string // charged twice, for nothing, not at all, or another amount
	Stock      []string // initial is not available + reserved + sold, or sold is not what orders say, or what was set aside is not back
	Unfinished []string // orders that are still on their way

	Unshipped []string // paid without a parcel
	Shipped   []string // with two, or without being paid
	Untold    []string // customers who were not told what became of their orders
	Told      []string // who were told twice, or what is not so
	Counted   []string // what analytics has counted, and is not so
	Dead      []string // groups with dead letters: messages that nobody could handle
}

// List is one kind of wrong.
type List struct {
	Name  string
	Lines []string
}

// Lists returns all kinds, those with nothing wrong included.
func (a *Audit) Lists() []List {
	return []List{
		{"checkouts without an answer in the end", a.Unanswered},
		{"acknowledged orders missing", a.Missing},
		{"orders doubled", a.Doubled},
		{"charges doubled or wrong", a.Charges},
		{"products whose stock is not conserved", a.Stock},
		{"orders unfinished", a.Unfinished},
		{"orders paid and not shipped", a.Unshipped},
		{"orders shipped twice, wrong, or without being paid", a.Shipped},
		{"customers not told", a.Untold},
		{"customers told twice, or what is not so", a.Told},
		{"totals that do not add up", a.Counted},
		{"groups with dead letters", a.Dead},
	}
}

// late are those of the wrong things that time may mend: messages are on their way.
func (a *Audit) late() int {
	return len(a.Unfinished) + len(a.Unshipped) + len(a.Untold) + len(a.Counted)
}

// Books are what the services say, all of it.
type Books struct {
	Orders  []*orderspb.Order
	Charges []*paymentpb.Charge
	Stock   *inventorypb.AuditResponse
	Parcels []*shippingpb.Parcel
	Sent    []*notificationspb.Sent
	Totals  *analyticspb.TotalsResponse
	Dead    map[driver.Group]int64
}

// Compare holds the books against what customers know.
func (s *Books) Compare(c Customers) *Audit {
	a := new(Audit)
	a.compareOrders(s.Orders, c)
	a.compareCharges(s.Orders, s.Charges)
	a.compareStock(s.Orders, s.Stock)
	if ours := s.of(c); !c.Only || len(ours.Orders) == len(s.Orders) {
		a.compareParcels(s.Orders, s.Parcels)
		a.compareSent(s.Orders, s.Sent)
		a.compareTotals(s.Orders, s.Totals)
	} else {
		a.compareParcels(ours.Orders, ours.Parcels)
		a.compareSent(ours.Orders, ours.Sent)
	}
	for group, n := range s.Dead {
		if n != 0 {
			a.Dead = append(a.Dead, fmt.Sprintf("%s of %s: %d dead letters", group.Group, group.Topic, n))
		}
	}
	return a
}

// of returns what the books say of some customers' orders, and of none at all.
func (s *Books) of(c Customers) *Books {
	others := make(map[string]bool)
	var out Books
	for _, o := range s.Orders {
		if strings.HasPrefix(o.GetCustomer(), c.Prefix) {
			out.Orders = append(out.Orders, o)
		} else {
			others[o.GetId()] = true
		}
	}
	for _, p := range s.Parcels {
		if !others[p.GetOrder()] {
			out.Parcels = append(out.Parcels, p)
		}
	}
	for _, t := range s.Sent {
		if !others[t.GetOrder()] {
			out.Sent = append(out.Sent, t)
		}
	}
	return &out
}

// settles is how long what is on its way may take to arrive, after the last thing was broken.
const settles = time.Minute

// Run asks the services themselves, by the registry, as any service would, until nothing is on its way any more, which is how
// long it took, or it is clear that something does not arrive. Insecure allows plaintext beyond loopback: between network
// namespaces (holdfast up --netns).
func Run(ctx context.Context, registry, engine string, insecure bool, c Customers) (a *Audit, took time.Duration, err error) {
	svc := holdfast.New("audit", events.Engines(), func(c *holdfast.Config) {
		c.Settings.Registry, c.Settings.Queue = registry, engine
		c.Settings.Insecure = c.Settings.Insecure || insecure
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
		a, took = books.Compare(c), time.Since(start)
		if a.late() == 0 || took > settles || !wait(ctx, time.Second) {
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
func (s services) books(ctx context.Context) (*Books, error) {
	var b Books
	var err error
	if b.Orders, err = all(ctx, func(ctx context.Context, after string) ([]*orderspb.Order, error) {
		page, err := s.orders.Audit(ctx, &orderspb.AuditRequest{After: after})
		return page.GetOrders(), err
	}, (*orderspb.Order).GetId); err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	if b.Charges, err = all(ctx, func(ctx context.Context, after string) ([]*paymentpb.Charge, error) {
		page, err := s.payment.Audit(ctx, &paymentpb.AuditRequest{After: after})
		return page.GetCharges(), err
	}, (*paymentpb.Charge).GetKey); err != nil {
		return nil, fmt.Errorf("payment: %w", err)
	}
	if b.Stock, err = s.inventory.Audit(ctx, &inventorypb.AuditRequest{}); err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	if b.Parcels, err = all(ctx, func(ctx context.Context, after string) ([]*shippingpb.Parcel, error) {
		page, err := s.shipping.Audit(ctx, &shippingpb.AuditRequest{After: after})
		return page.GetParcels(), err
	}, (*shippingpb.Parcel).GetLabel); err != nil {
		return nil, fmt.Errorf("shipping: %w", err)
	}
	if b.Sent, err = all(ctx, func(ctx context.Context, after string) ([]*notificationspb.Sent, error) {
		page, err := s.notifications.Audit(ctx, &notificationspb.AuditRequest{After: after})
		return page.GetSent(), err
	}, (*notificationspb.Sent).GetId); err != nil {
		return nil, fmt.Errorf("notifications: %w", err)
	}
	if b.Totals, err = s.analytics.Totals(ctx, &analyticspb.TotalsRequest{}); err != nil {
		return nil, fmt.Errorf("analytics: %w", err)
	}
	b.Dead = make(map[driver.Group]int64)
	for _, topic := range slices.Concat(events.Topics(events.Orders), events.Topics(events.Payment)) {
		for _, group := range events.Groups(topic) {
			lag, err := s.queue.Lag(ctx, topic, group)
			if err != nil {
				return nil, fmt.Errorf("queue: %s of %s: %w", group, topic, err)
			}
			b.Dead[driver.Group{Topic: topic, Group: group}] = lag.Dead
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

// wait waits, and reports false if ctx was done first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
