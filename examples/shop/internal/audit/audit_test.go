package audit_test

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
	"github.com/holdfast-go/holdfast/examples/shop/internal/notifications"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// goodBooks are those of a shop with an order that stands and one that was cancelled, as they should be.
func goodBooks() (*audit.Customers, *audit.Books) {
	e := audit.Checkout{Customer: "smoke-1-0", Items: []audit.Item{{Product: "mug", Quantity: 2}}, Order: "ord-1", Final: true}
	c := audit.Checkout{Customer: "smoke-1-1", Items: []audit.Item{{Product: "mug", Quantity: 1}}, Card: shop.CardThatFails, Order: "ord-2", Final: true}
	return &audit.Customers{Prefix: "smoke-1-", Checkouts: []audit.Checkout{e, c}}, &audit.Books{
		Orders: []*orderspb.Order{
			{
				Id: "ord-1", Customer: e.Customer, Status: orderspb.Status_STATUS_CONFIRMED, Currency: "EUR", TotalMinor: 200, Placed: true,
				Lines: []*orderspb.Line{{Product: "mug", Quantity: 2}},
			},
			{
				Id: "ord-2", Customer: c.Customer, Status: orderspb.Status_STATUS_REJECTED, Currency: "EUR", TotalMinor: 100, Placed: true,
				Reason: "PAYMENT_FAILED", Lines: []*orderspb.Line{{Product: "mug", Quantity: 1}},
			},
		},
		Charges: []*paymentpb.Charge{
			{Key: "ord-1", Customer: e.Customer, Minor: 200, State: paymentpb.State_STATE_SETTLED},
			{Key: "ord-2", Customer: c.Customer, Minor: 100, State: paymentpb.State_STATE_FAILED},
		},
		Stock:   &inventorypb.AuditResponse{Products: []*inventorypb.ProductAudit{{Product: "mug", Initial: 10, Available: 8, Sold: 2}}},
		Parcels: []*shippingpb.Parcel{{Label: "P1", Order: "ord-1", Lines: []*shippingpb.Line{{Product: "mug", Quantity: 2}}}},
		Sent: []*notificationspb.Sent{
			{Id: "1", Order: "ord-1", Customer: e.Customer, About: "placed"},
			{Id: "2", Order: "ord-1", Customer: e.Customer, About: "paid"},
			{Id: "3", Order: "ord-2", Customer: c.Customer, About: "placed"},
			{Id: "4", Order: "ord-2", Customer: c.Customer, About: "cancelled"},
		},
		Totals: &analyticspb.TotalsResponse{
			Placed: 2, Paid: 1, Cancelled: 1, Revenue: map[string]int64{"EUR": 200}, Sold: map[string]int64{"mug": 2},
		},
	}
}

// Each kind of wrong is found, and by the line that is for it.
func TestTheAuditFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(*audit.Customers, *audit.Books)
		found   func(*audit.Audit) []string
	}{
		"nothing": {func(*audit.Customers, *audit.Books) {}, func(*audit.Audit) []string { return []string{"nothing is wrong"} }},
		"order lost": {
			func(_ *audit.Customers, s *audit.Books) { s.Orders = s.Orders[1:] },
			func(a *audit.Audit) []string { return a.Missing },
		},
		"order undone": {
			func(_ *audit.Customers, s *audit.Books) { s.Orders[0].Status = orderspb.Status_STATUS_REJECTED },
			func(a *audit.Audit) []string { return a.Missing },
		},
		"order changed": {
			func(_ *audit.Customers, s *audit.Books) { s.Orders[0].Lines[0].Quantity = 1 },
			func(a *audit.Audit) []string { return a.Missing },
		},
		"order that stands without a payment": {
			func(_ *audit.Customers, s *audit.Books) { s.Orders[1].Status = orderspb.Status_STATUS_CONFIRMED },
			func(a *audit.Audit) []string { return a.Missing },
		},
		"order cancelled for another reason": {
			func(_ *audit.Customers, s *audit.Books) { s.Orders[1].Reason = "GIVEN_UP" },
			func(a *audit.Audit) []string { return a.Missing },
		},
		"refused for a card that works": {
			func(b *audit.Customers, _ *audit.Books) {
				b.Checkouts = append(b.Checkouts, audit.Checkout{Customer: "smoke-1-2", Final: true, Failed: true})
			},
			func(a *audit.Audit) []string { return a.Missing },
		},
		"order doubled": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Orders = append(s.Orders, &orderspb.Order{Id: "ord-3", Customer: s.Orders[0].Customer, Status: orderspb.Status_STATUS_CONFIRMED})
			},
			func(a *audit.Audit) []string { return a.Doubled },
		},
		"key with two orders": {
			func(b *audit.Customers, _ *audit.Books) { b.Changed = append(b.Changed, "smoke-1-0") },
			func(a *audit.Audit) []string { return a.Doubled },
		},
		"refused and sold": {
			func(b *audit.Customers, _ *audit.Books) { b.Checkouts[0].Order = "" },
			func(a *audit.Audit) []string { return a.Doubled },
		},
		"no answer": {
			func(b *audit.Customers, _ *audit.Books) {
				b.Checkouts = append(b.Checkouts, audit.Checkout{Customer: "smoke-1-2"})
			},
			func(a *audit.Audit) []string { return a.Unanswered },
		},
		"unfinished": {
			func(_ *audit.Customers, s *audit.Books) { s.Orders[0].Status = orderspb.Status_STATUS_RESERVED },
			func(a *audit.Audit) []string { return a.Unfinished },
		},
		"never paid": {
			func(_ *audit.Customers, s *audit.Books) { s.Orders[0].Status = orderspb.Status_STATUS_PLACED },
			func(a *audit.Audit) []string { return a.Unfinished },
		},
		"charged twice": {
			func(_ *audit.Customers, s *audit.Books) { s.Charges = append(s.Charges, s.Charges[0]) },
			func(a *audit.Audit) []string { return a.Charges },
		},
		"charged too much": {
			func(_ *audit.Customers, s *audit.Books) { s.Charges[0].Minor = 300 },
			func(a *audit.Audit) []string { return a.Charges },
		},
		"not charged": {
			func(_ *audit.Customers, s *audit.Books) { s.Charges[0].State = paymentpb.State_STATE_VOIDED },
			func(a *audit.Audit) []string { return a.Charges },
		},
		"charged for a cancelled order": {
			func(_ *audit.Customers, s *audit.Books) { s.Charges[1].State = paymentpb.State_STATE_SETTLED },
			func(a *audit.Audit) []string { return a.Charges },
		},
		"stock lost": {
			func(_ *audit.Customers, s *audit.Books) { s.Stock.Products[0].Available = 7 },
			func(a *audit.Audit) []string { return a.Stock },
		},
		"stock not given back": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Stock.Products[0].Available, s.Stock.Products[0].Reserved = 7, 1
			},
			func(a *audit.Audit) []string { return a.Stock },
		},
		"stock sold without an order": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Stock.Products[0].Available, s.Stock.Products[0].Sold = 7, 3
			},
			func(a *audit.Audit) []string { return a.Stock },
		},
		"oversold": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Stock.Products[0].Available, s.Stock.Products[0].Initial = -1, 1
			},
			func(a *audit.Audit) []string { return a.Stock },
		},
		"not shipped": {
			func(_ *audit.Customers, s *audit.Books) { s.Parcels = nil },
			func(a *audit.Audit) []string { return a.Unshipped },
		},
		"shipped twice": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Parcels = append(s.Parcels, &shippingpb.Parcel{Label: "P2", Order: "ord-1", Lines: s.Parcels[0].Lines})
			},
			func(a *audit.Audit) []string { return a.Shipped },
		},
		"something else shipped": {
			func(_ *audit.Customers, s *audit.Books) { s.Parcels[0].Lines[0].Quantity = 1 },
			func(a *audit.Audit) []string { return a.Shipped },
		},
		"a cancelled order shipped": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Parcels = append(s.Parcels, &shippingpb.Parcel{Label: "P2", Order: "ord-2"})
			},
			func(a *audit.Audit) []string { return a.Shipped },
		},
		"a parcel for nobody": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Parcels = append(s.Parcels, &shippingpb.Parcel{Label: "P2", Order: "ord-3"})
			},
			func(a *audit.Audit) []string { return a.Shipped },
		},
		"not told": {
			func(_ *audit.Customers, s *audit.Books) { s.Sent = append(s.Sent[:1], s.Sent[2:]...) },
			func(a *audit.Audit) []string { return a.Untold },
		},
		"not told that it is cancelled": {
			func(_ *audit.Customers, s *audit.Books) { s.Sent = s.Sent[:3] },
			func(a *audit.Audit) []string { return a.Untold },
		},
		"told twice": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Sent = append(s.Sent, &notificationspb.Sent{Id: "5", Order: "ord-1", About: "placed"})
			},
			func(a *audit.Audit) []string { return a.Told },
		},
		"told what is not so": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Sent = append(s.Sent, &notificationspb.Sent{Id: "5", Order: "ord-2", About: "paid"})
			},
			func(a *audit.Audit) []string { return a.Told },
		},
		"a message that nobody could handle": {
			func(_ *audit.Customers, s *audit.Books) {
				s.Dead = map[driver.Group]int64{{Topic: "orders.paid", Group: "shipping"}: 1}
			},
			func(a *audit.Audit) []string { return a.Dead },
		},
		"counted twice": {
			func(_ *audit.Customers, s *audit.Books) { s.Totals.Paid, s.Totals.Revenue["EUR"] = 2, 400 },
			func(a *audit.Audit) []string { return a.Counted },
		},
		"not counted": {
			func(_ *audit.Customers, s *audit.Books) { s.Totals.Cancelled = 0 },
			func(a *audit.Audit) []string { return a.Counted },
		},
	} {
		b, s := goodBooks()
		c.breakIt(b, s)
		a := s.Compare(*b)
		if len(c.found(a)) == 0 {
			t.Errorf("%s: not found", name)
		}
		wrong := 0
		for _, l := range a.Lists() {
			wrong += len(l.Lines)
		}
		if (wrong == 0) != (name == "nothing") {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// What customers were told of an old order is not kept, and not asked for.
func TestWhatWasToldLongAgoMayBeForgotten(t *testing.T) {
	t.Parallel()
	for age, untold := range map[time.Duration]int{24 * time.Hour: 2, notifications.Keep: 0} {
		b, s := goodBooks()
		s.Orders[0].CreatedUnixMs, s.Sent = time.Now().Add(-age).UnixMilli(), s.Sent[2:]
		if a := s.Compare(*b); len(a.Untold) != untold || len(a.Told) != 0 {
			t.Errorf("of an order %v old: %v, %v", age, a.Untold, a.Told)
		}
	}
}

// What became of others' orders is not asked, if it is not to be; what became of ours is.
func TestOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	b, s := goodBooks()
	s.Orders = append(s.Orders, &orderspb.Order{Id: "ord-9", Customer: "other-1", Status: orderspb.Status_STATUS_REJECTED, Placed: true})
	s.Sent = append(s.Sent, &notificationspb.Sent{Id: "9", Order: "ord-9", About: "paid"})
	if a := s.Compare(*b); len(a.Untold) == 0 || len(a.Told) == 0 || len(a.Counted) == 0 {
		t.Errorf("others are not left alone: %+v", a)
	}
	b.Only = true
	for _, l := range s.Compare(*b).Lists() {
		if len(l.Lines) > 0 {
			t.Errorf("%s: %v", l.Name, l.Lines)
		}
	}
	s.Sent, s.Parcels = s.Sent[1:], nil
	if a := s.Compare(*b); len(a.Untold) == 0 || len(a.Unshipped) == 0 {
		t.Errorf("ours are left alone: %+v", a)
	}
}

// Where any payment may have failed, an order that was cancelled for it is as it should be.
func TestPaymentsThatWereToldToFail(t *testing.T) {
	t.Parallel()
	b, s := goodBooks()
	b.Checkouts[1].Card = ""
	if a := s.Compare(*b); len(a.Missing) != 1 {
		t.Errorf("a payment failed that had to work: %+v", a)
	}
	b.PaymentsFail = true
	if a := s.Compare(*b); len(a.Missing) != 0 {
		t.Errorf("%+v", a)
	}
}
