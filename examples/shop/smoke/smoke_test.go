package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
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

// What the book knows is what the audit is given, and a single thing that is wrong fails the run and is shown.
func TestWhatTheAuditFindsFailsTheRun(t *testing.T) {
	b := &book{prefix: "smoke-1-", entries: make(map[string]*entry)}
	e := b.open()
	e.Items = []audit.Item{{Product: "mug", Quantity: 2}}
	b.answered(e, 201, []byte(`{"id":"ord-1"}`))
	b.answered(e, 201, []byte(`{"id":"ord-2"}`))
	b.answered(b.open(), 409, []byte(`{"reason":"PAYMENT_FAILED"}`))
	b.open()
	c := b.customers()
	got := make(map[string]audit.Checkout)
	for _, x := range c.Checkouts {
		got[x.Customer] = x
	}
	first, second, third := got["smoke-1-0"], got["smoke-1-1"], got["smoke-1-2"]
	if first.Order != "ord-2" || !first.Final || !second.Final || !second.Failed || third.Final || len(c.Changed) != 1 || c.Prefix != "smoke-1-" || len(first.Items) != 1 {
		t.Errorf("%+v", c)
	}
	for _, a := range []*audit.Audit{{}, {Unanswered: []string{"x"}}, {Dead: []string{"x"}}} {
		var out bytes.Buffer
		if good := report(&out, newRecord(), new(director), a); good != (a.Unanswered == nil && a.Dead == nil) {
			t.Errorf("%+v: the verdict is %v:\n%s", a, good, &out)
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
	if report(&out, r, new(director), new(audit.Audit)) {
		t.Error("the verdict is good")
	}
	if !strings.Contains(out.String(), "bad gateway") || !strings.Contains(out.String(), "[calm] GET /") {
		t.Errorf("the example is missing:\n%s", &out)
	}
}
