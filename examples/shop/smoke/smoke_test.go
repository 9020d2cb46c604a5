package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/queue/driver"
)

func TestAnswersAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		res  result
		want verdict
	}{
		"good":             {result{kind: checkout, status: 201}, fine},
		"not modified":     {result{kind: browse, status: 304}, fine},
		"out of stock":     {result{kind: checkout, status: 409, body: `"reason":"OUT_OF_STOCK"`}, refused},
		"no money":         {result{kind: repeat, status: 409, body: `"reason":"PAYMENT_FAILED"`}, refused},
		"another conflict": {result{kind: checkout, status: 409, body: `"reason":"KEY_REUSED"`}, failed},
		"no answer":        {result{kind: browse}, failed},
		"a server error":   {result{kind: orders, status: 500}, failed},
		"told to wait":     {result{kind: checkout, status: 503}, failed},
	} {
		if got := c.res.judge(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// goodBooks are those of a shop with an order that stands and one that was cancelled, as they should be.
func goodBooks() (*book, *books) {
	b := &book{prefix: "smoke-1-", entries: make(map[string]*entry)}
	e := b.open()
	e.Items = []item{{"mug", 2}}
	b.answered(e, 201, []byte(`{"id":"ord-1"}`))
	c := b.open()
	c.Items, c.Card = []item{{"mug", 1}}, "card-without-money"
	b.answered(c, 201, []byte(`{"id":"ord-2"}`))
	return b, &books{
		orders: []*orderspb.Order{
			{
				Id: "ord-1", Customer: e.Customer, Status: orderspb.Status_STATUS_CONFIRMED, Currency: "EUR", TotalMinor: 200, Placed: true,
				Lines: []*orderspb.Line{{Product: "mug", Quantity: 2}},
			},
			{
				Id: "ord-2", Customer: c.Customer, Status: orderspb.Status_STATUS_REJECTED, Currency: "EUR", TotalMinor: 100, Placed: true,
				Reason: "PAYMENT_FAILED", Lines: []*orderspb.Line{{Product: "mug", Quantity: 1}},
			},
		},
		charges: []*paymentpb.Charge{
			{Key: "ord-1", Customer: e.Customer, Minor: 200, State: paymentpb.State_STATE_SETTLED},
			{Key: "ord-2", Customer: c.Customer, Minor: 100, State: paymentpb.State_STATE_FAILED},
		},
		stock:   &inventorypb.AuditResponse{Products: []*inventorypb.ProductAudit{{Product: "mug", Initial: 10, Available: 8, Sold: 2}}},
		parcels: []*shippingpb.Parcel{{Label: "P1", Order: "ord-1", Lines: []*shippingpb.Line{{Product: "mug", Quantity: 2}}}},
		sent: []*notificationspb.Sent{
			{Id: "1", Order: "ord-1", Customer: e.Customer, About: "placed"},
			{Id: "2", Order: "ord-1", Customer: e.Customer, About: "paid"},
			{Id: "3", Order: "ord-2", Customer: c.Customer, About: "placed"},
			{Id: "4", Order: "ord-2", Customer: c.Customer, About: "cancelled"},
		},
		totals: &analyticspb.TotalsResponse{
			Placed: 2, Paid: 1, Cancelled: 1, Revenue: map[string]int64{"EUR": 200}, Sold: map[string]int64{"mug": 2},
		},
	}
}

// Each kind of wrong is found, and by the line that is for it.
func TestTheAuditFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(*book, *books)
		found   func(*audit) []string
	}{
		"nothing": {func(*book, *books) {}, func(*audit) []string { return []string{"nothing is wrong"} }},
		"order lost": {
			func(_ *book, s *books) { s.orders = s.orders[1:] },
			func(a *audit) []string { return a.missing },
		},
		"order undone": {
			func(_ *book, s *books) { s.orders[0].Status = orderspb.Status_STATUS_REJECTED },
			func(a *audit) []string { return a.missing },
		},
		"order changed": {
			func(_ *book, s *books) { s.orders[0].Lines[0].Quantity = 1 },
			func(a *audit) []string { return a.missing },
		},
		"order that stands without a payment": {
			func(_ *book, s *books) { s.orders[1].Status = orderspb.Status_STATUS_CONFIRMED },
			func(a *audit) []string { return a.missing },
		},
		"order cancelled for another reason": {
			func(_ *book, s *books) { s.orders[1].Reason = "GIVEN_UP" },
			func(a *audit) []string { return a.missing },
		},
		"refused for a card that works": {
			func(b *book, _ *books) { b.answered(b.open(), 409, []byte(`{"reason":"PAYMENT_FAILED"}`)) },
			func(a *audit) []string { return a.missing },
		},
		"order doubled": {
			func(_ *book, s *books) {
				s.orders = append(s.orders, &orderspb.Order{Id: "ord-3", Customer: s.orders[0].Customer, Status: orderspb.Status_STATUS_CONFIRMED})
			},
			func(a *audit) []string { return a.doubled },
		},
		"key with two orders": {
			func(b *book, _ *books) { b.answered(b.entries["smoke-1-0"], 201, []byte(`{"id":"ord-3"}`)) },
			func(a *audit) []string { return a.doubled },
		},
		"refused and sold": {
			func(b *book, _ *books) { b.entries["smoke-1-0"].order = "" },
			func(a *audit) []string { return a.doubled },
		},
		"no answer": {
			func(b *book, _ *books) { b.open() },
			func(a *audit) []string { return a.unanswered },
		},
		"unfinished": {
			func(_ *book, s *books) { s.orders[0].Status = orderspb.Status_STATUS_RESERVED },
			func(a *audit) []string { return a.unfinished },
		},
		"never paid": {
			func(_ *book, s *books) { s.orders[0].Status = orderspb.Status_STATUS_PLACED },
			func(a *audit) []string { return a.unfinished },
		},
		"charged twice": {
			func(_ *book, s *books) { s.charges = append(s.charges, s.charges[0]) },
			func(a *audit) []string { return a.charges },
		},
		"charged too much": {
			func(_ *book, s *books) { s.charges[0].Minor = 300 },
			func(a *audit) []string { return a.charges },
		},
		"not charged": {
			func(_ *book, s *books) { s.charges[0].State = paymentpb.State_STATE_VOIDED },
			func(a *audit) []string { return a.charges },
		},
		"charged for a cancelled order": {
			func(_ *book, s *books) { s.charges[1].State = paymentpb.State_STATE_SETTLED },
			func(a *audit) []string { return a.charges },
		},
		"stock lost": {
			func(_ *book, s *books) { s.stock.Products[0].Available = 7 },
			func(a *audit) []string { return a.stock },
		},
		"stock not given back": {
			func(_ *book, s *books) { s.stock.Products[0].Available, s.stock.Products[0].Reserved = 7, 1 },
			func(a *audit) []string { return a.stock },
		},
		"stock sold without an order": {
			func(_ *book, s *books) { s.stock.Products[0].Available, s.stock.Products[0].Sold = 7, 3 },
			func(a *audit) []string { return a.stock },
		},
		"oversold": {
			func(_ *book, s *books) { s.stock.Products[0].Available, s.stock.Products[0].Initial = -1, 1 },
			func(a *audit) []string { return a.stock },
		},
		"not shipped": {
			func(_ *book, s *books) { s.parcels = nil },
			func(a *audit) []string { return a.unshipped },
		},
		"shipped twice": {
			func(_ *book, s *books) {
				s.parcels = append(s.parcels, &shippingpb.Parcel{Label: "P2", Order: "ord-1", Lines: s.parcels[0].Lines})
			},
			func(a *audit) []string { return a.shipped },
		},
		"something else shipped": {
			func(_ *book, s *books) { s.parcels[0].Lines[0].Quantity = 1 },
			func(a *audit) []string { return a.shipped },
		},
		"a cancelled order shipped": {
			func(_ *book, s *books) {
				s.parcels = append(s.parcels, &shippingpb.Parcel{Label: "P2", Order: "ord-2"})
			},
			func(a *audit) []string { return a.shipped },
		},
		"a parcel for nobody": {
			func(_ *book, s *books) {
				s.parcels = append(s.parcels, &shippingpb.Parcel{Label: "P2", Order: "ord-3"})
			},
			func(a *audit) []string { return a.shipped },
		},
		"not told": {
			func(_ *book, s *books) { s.sent = append(s.sent[:1], s.sent[2:]...) },
			func(a *audit) []string { return a.untold },
		},
		"not told that it is cancelled": {
			func(_ *book, s *books) { s.sent = s.sent[:3] },
			func(a *audit) []string { return a.untold },
		},
		"told twice": {
			func(_ *book, s *books) {
				s.sent = append(s.sent, &notificationspb.Sent{Id: "5", Order: "ord-1", About: "placed"})
			},
			func(a *audit) []string { return a.told },
		},
		"told what is not so": {
			func(_ *book, s *books) {
				s.sent = append(s.sent, &notificationspb.Sent{Id: "5", Order: "ord-2", About: "paid"})
			},
			func(a *audit) []string { return a.told },
		},
		"a message that nobody could handle": {
			func(_ *book, s *books) { s.dead = map[driver.Group]int64{{Topic: "orders.paid", Group: "shipping"}: 1} },
			func(a *audit) []string { return a.dead },
		},
		"counted twice": {
			func(_ *book, s *books) { s.totals.Paid, s.totals.Revenue["EUR"] = 2, 400 },
			func(a *audit) []string { return a.counted },
		},
		"not counted": {
			func(_ *book, s *books) { s.totals.Cancelled = 0 },
			func(a *audit) []string { return a.counted },
		},
	} {
		b, s := goodBooks()
		c.breakIt(b, s)
		a := s.compare(b)
		if len(c.found(a)) == 0 {
			t.Errorf("%s: not found", name)
		}
		r := newRecord()
		var out bytes.Buffer
		if good := report(&out, r, new(director), a); good != (name == "nothing") {
			t.Errorf("%s: the verdict is %v:\n%s", name, good, &out)
		}
	}
}

func TestAFailureFailsTheRunAndIsShown(t *testing.T) {
	r := newRecord()
	r.enter("calm")
	now := time.Now()
	r.add(result{kind: checkout, request: "POST /api/orders", status: 201, phase: "calm", start: now, end: now})
	r.add(result{kind: browse, request: "GET /", key: "", status: 502, body: "bad gateway", phase: "calm", start: now, end: now})
	var out bytes.Buffer
	if report(&out, r, new(director), new(audit)) {
		t.Error("the verdict is good")
	}
	if !strings.Contains(out.String(), "bad gateway") || !strings.Contains(out.String(), "[calm] GET /") {
		t.Errorf("the example is missing:\n%s", &out)
	}
}
