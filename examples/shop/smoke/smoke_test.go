package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
)

func TestAnswersAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		res  result
		want verdict
	}{
		"good":             {result{kind: checkout, status: 201}, fine},
		"not modified":     {result{kind: browse, status: 304}, fine},
		"out of stock":     {result{kind: checkout, status: 409, body: `"reason":"OUT_OF_STOCK"`}, refused},
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

// books are those of a shop with one order that is as it should be.
func goodBooks() (*book, []*orderspb.Order, []*paymentpb.Charge, *inventorypb.AuditResponse) {
	b := &book{prefix: "smoke-1-", entries: make(map[string]*entry)}
	e := b.open()
	e.Items = []item{{"mug", 2}}
	b.answered(e, 201, []byte(`{"id":"ord-1"}`))
	all := []*orderspb.Order{{
		Id: "ord-1", Customer: e.Customer, Status: orderspb.Status_STATUS_CONFIRMED, TotalMinor: 200,
		Lines: []*orderspb.Line{{Product: "mug", Quantity: 2}},
	}}
	charges := []*paymentpb.Charge{{Key: "ord-1", Customer: e.Customer, Minor: 200, State: paymentpb.State_STATE_CAPTURED}}
	stock := &inventorypb.AuditResponse{Products: []*inventorypb.ProductAudit{{Product: "mug", Initial: 10, Available: 8, Sold: 2}}}
	return b, all, charges, stock
}

// Each kind of wrong is found, and by the line that is for it.
func TestTheAuditFindsWhatIsWrong(t *testing.T) {
	type shop struct {
		book    *book
		orders  []*orderspb.Order
		charges []*paymentpb.Charge
		stock   *inventorypb.AuditResponse
	}
	for name, c := range map[string]struct {
		breakIt func(*shop)
		found   func(*audit) []string
	}{
		"nothing": {func(*shop) {}, func(*audit) []string { return []string{"nothing is wrong"} }},
		"order lost": {
			func(s *shop) { s.orders = nil },
			func(a *audit) []string { return a.missing },
		},
		"order undone": {
			func(s *shop) { s.orders[0].Status = orderspb.Status_STATUS_REJECTED },
			func(a *audit) []string { return a.missing },
		},
		"order changed": {
			func(s *shop) { s.orders[0].Lines[0].Quantity = 1 },
			func(a *audit) []string { return a.missing },
		},
		"order doubled": {
			func(s *shop) {
				s.orders = append(s.orders, &orderspb.Order{Id: "ord-2", Customer: s.orders[0].Customer, Status: orderspb.Status_STATUS_CONFIRMED})
			},
			func(a *audit) []string { return a.doubled },
		},
		"key with two orders": {
			func(s *shop) { s.book.answered(s.book.entries["smoke-1-0"], 201, []byte(`{"id":"ord-2"}`)) },
			func(a *audit) []string { return a.doubled },
		},
		"refused and sold": {
			func(s *shop) { s.book.entries["smoke-1-0"].order = "" },
			func(a *audit) []string { return a.doubled },
		},
		"no answer": {
			func(s *shop) { s.book.open() },
			func(a *audit) []string { return a.unanswered },
		},
		"unfinished": {
			func(s *shop) { s.orders[0].Status = orderspb.Status_STATUS_RESERVED },
			func(a *audit) []string { return a.unfinished },
		},
		"charged twice": {
			func(s *shop) { s.charges = append(s.charges, s.charges[0]) },
			func(a *audit) []string { return a.charges },
		},
		"charged too much": {
			func(s *shop) { s.charges[0].Minor = 300 },
			func(a *audit) []string { return a.charges },
		},
		"not charged": {
			func(s *shop) { s.charges[0].State = paymentpb.State_STATE_VOIDED },
			func(a *audit) []string { return a.charges },
		},
		"stock lost": {
			func(s *shop) { s.stock.Products[0].Available = 7 },
			func(a *audit) []string { return a.stock },
		},
		"stock sold without an order": {
			func(s *shop) { s.stock.Products[0].Available, s.stock.Products[0].Sold = 7, 3 },
			func(a *audit) []string { return a.stock },
		},
		"oversold": {
			func(s *shop) { s.stock.Products[0].Available, s.stock.Products[0].Initial = -1, 1 },
			func(a *audit) []string { return a.stock },
		},
	} {
		var s shop
		s.book, s.orders, s.charges, s.stock = goodBooks()
		c.breakIt(&s)
		a := new(audit)
		a.compareOrders(s.orders, s.book)
		a.compareCharges(s.orders, s.charges)
		a.compareStock(s.orders, s.stock)
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
