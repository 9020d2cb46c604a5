package console_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// sample makes traces: a checkout that needed a retry and a hedge, one that failed, and ordinary ones.
func (f *fake) sample() {
	f.traces = nil
	for i := range 60 {
		t := f.checkout(i, i%3 == 0 || i%7 == 2, i%7 == 2)
		f.traces = append(f.traces, t)
	}
}

// checkout is POST /api/orders through the edge: gateway, orders, inventory and payment, and the messages after it.
func (f *fake) checkout(number int, retried, failed bool) control.Trace {
	start := f.now.Add(-time.Duration(number) * 1300 * time.Millisecond).Add(-time.Second)
	t := control.Trace{TraceSummary: control.TraceSummary{
		ID: fmt.Sprintf("%016x%016x", f.random.Uint64(), f.random.Uint64()), Root: "POST /api/orders", Service: "edge", Status: control.TraceOK, Keep: "sampled",
		Start: start, Services: []string{"edge", "gateway", "orders", "inventory", "payment"},
	}}
	add := func(parent string, name, service, kind string, at, took time.Duration, attributes map[string]any) string {
		id := fmt.Sprintf("%08x%08x", number+0xa0000000, len(t.Tree)+1)
		depth := 0
		for _, s := range t.Tree {
			if s.ID == parent {
				depth = s.Depth + 1
			}
		}
		instance := ""
		if service != "edge" {
			instance = service + "-1"
		}
		t.Tree = append(t.Tree, control.Span{ID: id, Parent: parent, Depth: depth, Name: name, Service: service, Instance: instance, Kind: kind, Start: start.Add(at), Duration: took, Attributes: attributes})
		return id
	}
	ms := func(x float64) time.Duration { return time.Duration(x * float64(time.Millisecond)) }
	// call adds a call that is well at its first attempt, and returns what served it.
	call := func(parent, name, from, to string, at, took float64) string {
		c := add(parent, name, from, control.SpanInternal, ms(at), ms(took), map[string]any{"holdfast.call": true, "server.address": to, "holdfast.call.attempts": 1, "holdfast.deadline_ms": 2000, "holdfast.remaining_ms": 2000 - took})
		a := add(c, name, from, control.SpanClient, ms(at+0.1), ms(took-0.2), map[string]any{"holdfast.attempt": 1, "holdfast.attempt.outcome": "ok", "holdfast.peer.instance": to + "-1", "holdfast.pick.candidates": 3, "holdfast.pick.why": "fewer in flight than orders-3"})
		return add(a, name, to, control.SpanServer, ms(at+0.6), ms(took-1.2), map[string]any{"holdfast.admission": "admitted", "holdfast.in_flight": 4, "holdfast.limit": 64})
	}
	root := call("", "POST /api/orders", "edge", "gateway", 0, 148)
	orders := call(root, "shop.v1.Orders/Place", "gateway", "orders", 4, 138)
	call(orders, "shop.v1.Inventory/Reserve", "orders", "inventory", 9, 14)
	t.Attempts, t.Duration = 3, ms(148)
	if !retried {
		call(orders, "shop.v1.Payment/Charge", "orders", "payment", 27, 96)
		t.Attempts++
	} else {
		took := 112.0
		c := add(orders, "shop.v1.Payment/Charge", "orders", control.SpanInternal, ms(27), ms(took), map[string]any{"holdfast.call": true, "server.address": "payment", "holdfast.call.attempts": 3, "holdfast.call.hedged": true, "holdfast.deadline_ms": 500})
		why := []string{"least loaded of 2 drawn", "another instance than payment-1", "a hedge: the call is slower than 95 % are"}
		peers := []string{"payment-1", "payment-3", "payment-2"}
		begin, length := []float64{27.2, 51, 96}, []float64{9, 87, 42}
		for i, peer := range peers {
			attributes := map[string]any{"holdfast.attempt": i + 1, "holdfast.attempt.outcome": "ok", "holdfast.peer.instance": peer, "holdfast.pick.candidates": 3 - i, "holdfast.pick.why": why[i], "holdfast.budget.tokens": 9.2 - float64(i), "holdfast.attempt.timeout_ms": 200, "holdfast.attempt.wait_ms": []float64{0, 14, 0}[i]}
			if i == 1 && !failed {
				attributes["holdfast.attempt.lost"] = true
			}
			if i == 2 {
				attributes["holdfast.attempt.hedge"] = true
			}
			if i > 0 {
				attributes["holdfast.pick.ejected"] = []string{"payment-1"}
			}
			a := add(c, "shop.v1.Payment/Charge", "orders", control.SpanClient, ms(begin[i]), ms(length[i]), attributes)
			bad := i == 0 || failed
			if bad {
				s := &t.Tree[len(t.Tree)-1]
				s.Code, s.Error = "UNAVAILABLE", "connection refused"
				if i > 0 {
					s.Code, s.Error = "DEADLINE_EXCEEDED", "no answer in 200 ms"
				}
				s.Attributes["holdfast.attempt.outcome"] = "failed"
			} else {
				served := add(a, "shop.v1.Payment/Charge", "payment", control.SpanServer, ms(begin[i]+1), ms(length[i]-2), map[string]any{"holdfast.admission": "admitted", "holdfast.in_flight": 11, "holdfast.limit": 64})
				t.Tree[len(t.Tree)-1].Instance = peer
				_ = served
			}
		}
		t.Attempts += 3
		t.Status, t.Keep = control.TraceRetried, "retried"
		if failed {
			t.Status, t.Keep, t.Error = control.TraceError, "error", "UNAVAILABLE: payment cannot be reached"
			for i := range t.Tree {
				if s := &t.Tree[i]; s.Name != "shop.v1.Inventory/Reserve" && s.Code == "" {
					s.Code, s.Error = "UNAVAILABLE", t.Error
				}
			}
		}
	}
	if !failed {
		p := add(orders, "publish orders.placed", "orders", control.SpanProducer, ms(140), ms(1.5), map[string]any{"messaging.system": "nats"})
		add(p, "process orders.placed", "analytics", control.SpanConsumer, ms(158), ms(11), map[string]any{"holdfast.message.attempt": 1})
		t.Services = append(t.Services, "analytics")
	}
	t.Spans = len(t.Tree)
	t.Logs = []control.LogLine{
		{Time: start.Add(ms(31)), Service: "orders", Instance: "orders-1", Text: `level=INFO msg="reserved" order=7719`, Trace: t.ID},
		{Time: start.Add(ms(37)), Service: "orders", Instance: "orders-1", Text: `level=WARN msg="the payment is tried again" attempt=2 error="UNAVAILABLE: connection refused"`, Trace: t.ID},
	}
	return t
}

func (f *fake) explain(id string) control.Explanation {
	for _, t := range f.traces {
		if !strings.HasPrefix(t.ID, id) && (len(t.Tree) == 0 || !strings.HasPrefix(id, t.Tree[0].ID[:8])) {
			continue
		}
		e := control.Explanation{Trace: t.ID, Lang: "en", Status: t.Status, Title: "POST /api/orders of the edge: went well after 148 ms", Verdict: "All was well at the first attempt."}
		if t.Status == control.TraceOK {
			e.Lines = []control.ExplainLine{{At: 0, Text: "The edge asked gateway; it had 2 candidates and took gateway-1."}, {At: 4 * time.Millisecond, Text: "gateway asked orders for Orders/Place: 138 ms."}}
			return e
		}
		e.Title = "POST /api/orders of the edge: went well after 148 ms, with a retry and a hedge"
		e.Verdict = "payment-1 refused the connection. orders asked payment-3 instead, which was slow, so payment-2 was asked at the same time and was first."
		if t.Status == control.TraceError {
			e.Title = "POST /api/orders of the edge: failed after 148 ms"
			e.Verdict = "No instance of payment answered orders in time: one refused the connection, two did not answer within 200 ms. There was no time for another attempt."
			e.Advice = []string{"payment-1 has refused connections since 03:07:53: look at its log.", "Give payment more instances: two were at their limit."}
		}
		e.Lines = []control.ExplainLine{
			{At: 0, Text: "The edge asked gateway; it had 2 candidates and took gateway-1, which had fewer calls in flight."},
			{At: 4 * time.Millisecond, Level: 1, Text: "gateway asked orders for Orders/Place, with 1.99 s left."},
			{At: 9 * time.Millisecond, Level: 2, Text: "orders asked inventory for Inventory/Reserve: answered after 14 ms."},
			{At: 27 * time.Millisecond, Level: 2, Text: "orders asked payment for Payment/Charge; 3 candidates, none avoided.", Span: t.Tree[9].ID},
			{At: 27 * time.Millisecond, Level: 3, Text: "Attempt 1 went to payment-1 (least loaded of 2 drawn): UNAVAILABLE, connection refused. It had not been processed, so it may be repeated.", Bad: true, Span: t.Tree[10].ID},
			{At: 51 * time.Millisecond, Level: 3, Text: "After 14 ms, attempt 2 went to payment-3. 8.2 of 10 retry tokens were left.", Bad: t.Status == control.TraceError},
			{At: 96 * time.Millisecond, Level: 3, Text: "It took longer than 95 % of such calls do: attempt 3, a hedge, went to payment-2.", Bad: t.Status == control.TraceError},
		}
		return e
	}
	return control.Explanation{Title: "?", Verdict: "?", Status: control.TraceOK}
}
