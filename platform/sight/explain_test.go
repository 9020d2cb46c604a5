package sight_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

var update = flag.Bool("update", false, "write the golden files")

const place = "shop.v1.Orders/Place"

// begun is what most stories begin with: the edge gets a request, and asks the gateway, which asks orders.
func begun(w *world, took float64) {
	w.serve(1, 0, "edge", "POST /api/orders", 0, took, attrs{"holdfast.keep", "sampled"})
	w.call(2, 1, "edge", "gateway", "POST /api/orders", 0.2, took-.4, nil)
	w.try(3, 2, "edge", "gateway", 1, "gateway-1", 0.3, took-.6, nil)
	w.serve(4, 3, "gateway-1", "POST /api/orders", 0.5, took-1, nil)
}

// broken makes all of them end badly.
func broken(w *world, code, message string) {
	for _, s := range w.spans[:4] {
		fails(s.span, code, message)
	}
}

type story struct {
	name   string
	tell   func(w *world) []control.Event
	span   int           // that is asked about; 0: the trace
	within time.Duration // after which it is asked; 0: ten seconds
}

var stories = []story{
	{name: "plain", tell: func(w *world) []control.Event {
		begun(w, 14)
		w.call(5, 4, "gateway-1", "orders", place, 1, 12, nil)
		w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1.2, 11.5, nil)
		w.serve(7, 6, "orders-2", place, 1.5, 11, nil)
		return nil
	}},
	{name: "another answered", tell: func(w *world) []control.Event {
		begun(w, 60)
		w.call(5, 4, "gateway-1", "orders", place, 1, 58, attrs{"holdfast.call.attempts", 2, "holdfast.keep", "retried"})
		fails(w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1, 12, attrs{"holdfast.attempt.outcome", "connection broken", "holdfast.attempt.sent", "sent and lost"}), "UNAVAILABLE", "connection reset by peer")
		w.try(7, 5, "gateway-1", "orders", 2, "orders-1", 43, 15, attrs{"holdfast.attempt.wait_ms", 30.0})
		w.serve(8, 7, "orders-1", place, 44, 13, nil)
		return []control.Event{event(10, "orders-2", "backoff", "orders-2 died: killed by SIGKILL; starting it again"), event(9, "mail-1", "backoff", "mail-1 died")}
	}},
	{name: "hedge won", tell: func(w *world) []control.Event {
		begun(w, 60)
		w.call(5, 4, "gateway-1", "catalog", "shop.v1.Catalog/List", 1, 58, attrs{"holdfast.call.attempts", 2, "holdfast.call.hedged", true, "holdfast.keep", "hedged"})
		w.try(6, 5, "gateway-1", "catalog", 1, "catalog-2", 1, 58, attrs{"holdfast.attempt.lost", true, "holdfast.attempt.outcome", "lost"})
		w.try(7, 5, "gateway-1", "catalog", 2, "catalog-1", 46, 13, attrs{"holdfast.attempt.hedge", true})
		w.serve(8, 7, "catalog-1", "shop.v1.Catalog/List", 47, 11, nil)
		return nil
	}},
	{name: "all ejected", tell: func(w *world) []control.Event {
		begun(w, 30)
		gone := attrs{"holdfast.pick.ejected", []string{"orders-1", "orders-2", "orders-3"}, "holdfast.attempt.outcome", "unsent", "holdfast.attempt.sent", "not sent"}
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, 28, attrs{"holdfast.call.attempts", 2, "holdfast.call.stopped", "attempts used up"}), "UNAVAILABLE", "orders cannot be reached")
		fails(w.try(6, 5, "gateway-1", "orders", 1, "orders-1", 1, 2, gone), "UNAVAILABLE", "connection refused")
		fails(w.try(7, 5, "gateway-1", "orders", 2, "orders-3", 20, 2, gone), "UNAVAILABLE", "connection refused")
		broken(w, "UNAVAILABLE", "orders cannot be reached")
		return nil
	}},
	{name: "shed", tell: func(w *world) []control.Event {
		begun(w, 30)
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, 28, attrs{"holdfast.call.attempts", 2, "holdfast.call.stopped", "the service is overloaded"}), "RESOURCE_EXHAUSTED", "orders is overloaded")
		for i, at := range []float64{1, 12} {
			fails(w.try(6+2*i, 5, "gateway-1", "orders", i+1, fmt.Sprintf("orders-%d", i+1), at, 10, attrs{"holdfast.attempt.outcome", "shed"}), "RESOURCE_EXHAUSTED", "overloaded")
			fails(w.serve(7+2*i, 6+2*i, fmt.Sprintf("orders-%d", i+1), place, at+.5, 9, attrs{"holdfast.admission", "shed", "holdfast.waited_ms", 9.0, "holdfast.in_flight", 40, "holdfast.limit", 40}), "RESOURCE_EXHAUSTED", "overloaded")
			w.spans[len(w.spans)-1].span.Attributes = w.spans[len(w.spans)-1].span.Attributes[1:] // not admitted
		}
		broken(w, "RESOURCE_EXHAUSTED", "orders is overloaded")
		return nil
	}},
	{name: "throttled here", tell: func(w *world) []control.Event {
		begun(w, 3)
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, .1, attrs{"holdfast.call.refused_by", "throttle", "holdfast.call.stopped", "held back by the throttle", "holdfast.keep", "refused"}), "RESOURCE_EXHAUSTED", "orders refuses most calls; this one was not sent")
		broken(w, "RESOURCE_EXHAUSTED", "orders refuses most calls; this one was not sent")
		return nil
	}},
	{name: "budget empty", tell: func(w *world) []control.Event {
		begun(w, 8)
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, 5, attrs{"holdfast.call.attempts", 1, "holdfast.call.refused_by", "budget", "holdfast.call.stopped", "retry budget empty"}), "UNAVAILABLE", "orders-2 cannot be reached")
		fails(w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1, 4, attrs{"holdfast.attempt.outcome", "unsent", "holdfast.attempt.sent", "not sent", "holdfast.budget.tokens", .4}), "UNAVAILABLE", "connection refused")
		broken(w, "UNAVAILABLE", "orders-2 cannot be reached")
		return nil
	}},
	{name: "deadline", tell: func(w *world) []control.Event {
		begun(w, 2000)
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, 1990, attrs{"holdfast.call.attempts", 1, "holdfast.call.stopped", "too little time left", "holdfast.call.deadline_ms", 1990.0}), "DEADLINE_EXCEEDED", "no time left")
		fails(w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1, 1989, attrs{"holdfast.attempt.outcome", "deadline exceeded"}), "DEADLINE_EXCEEDED", "context deadline exceeded")
		fails(w.serve(7, 6, "orders-2", place, 2, 1985, nil), "DEADLINE_EXCEEDED", "context deadline exceeded")
		fails(w.call(8, 7, "orders-2", "inventory", "shop.v1.Inventory/Reserve", 5, 1980, attrs{"holdfast.call.attempts", 1, "holdfast.call.deadline_ms", 1980.0}), "DEADLINE_EXCEEDED", "no time left")
		fails(w.try(9, 8, "orders-2", "inventory", 1, "inventory-3", 5, 1980, attrs{"holdfast.attempt.outcome", "deadline exceeded"}), "DEADLINE_EXCEEDED", "context deadline exceeded")
		broken(w, "DEADLINE_EXCEEDED", "gateway did not answer in time")
		return []control.Event{event(-800, "inventory-3", control.Frozen, "inventory-3 frozen")}
	}},
	{name: "breaker", tell: func(w *world) []control.Event {
		begun(w, 3)
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, .1, attrs{"holdfast.call.refused_by", "breaker", "holdfast.call.stopped", "breaker open"}), "UNAVAILABLE", "orders fails too often to be called now")
		broken(w, "UNAVAILABLE", "orders fails too often to be called now")
		return nil
	}},
	{name: "no instance", tell: func(w *world) []control.Event {
		begun(w, 3000)
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, 2990, attrs{"holdfast.call.attempts", 1, "holdfast.call.stopped", "too little time left"}), "UNAVAILABLE", "no instance of orders")
		fails(w.span(6, 5, "gateway-1", "client", "try", 1, 2990, attrs{"server.address", "orders", "holdfast.attempt", 1, "holdfast.attempt.outcome", "no instance", "holdfast.pick.candidates", 0, "holdfast.pick.why", "there was no candidate"}), "UNAVAILABLE", "no instance of orders")
		broken(w, "UNAVAILABLE", "no instance of orders")
		return nil
	}},
	{name: "a leader is frozen", tell: func(w *world) []control.Event {
		w.serve(1, 0, "edge", "POST /api/orders", 0, 3100, attrs{"holdfast.keep", "retried"})
		w.call(2, 1, "edge", "gateway", "POST /api/orders", 0.2, 3099, attrs{"holdfast.call.attempts", 2})
		fails(w.try(3, 2, "edge", "gateway", 1, "gateway-1", 0.3, 2000, attrs{"holdfast.attempt.outcome", "attempt timeout", "holdfast.attempt.timeout_ms", 2000.0}), "DEADLINE_EXCEEDED", "no answer in time")
		fails(w.serve(4, 3, "gateway-1", "POST /api/orders", 0.5, 2000, nil), "CANCELLED", "context canceled")
		fails(w.call(5, 4, "gateway-1", "orders", place, 1, 1999, attrs{"holdfast.call.attempts", 1, "holdfast.call.stopped", "canceled"}), "CANCELLED", "context canceled")
		fails(w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1.2, 1998, attrs{"holdfast.attempt.outcome", "canceled"}), "CANCELLED", "context canceled")
		fails(w.serve(7, 6, "orders-2", place, 1.5, 1998, nil), "CANCELLED", "context canceled")
		fails(w.call(8, 7, "orders-2", "payment", "shop.v1.Payment/Charge", 3, 1995, attrs{"holdfast.call.attempts", 1}), "DEADLINE_EXCEEDED", "charges: no answer in time")
		fails(w.try(9, 8, "orders-2", "payment", 1, "payment-1", 3, 1000, attrs{"holdfast.attempt.outcome", "deadline exceeded"}), "DEADLINE_EXCEEDED", "charges: no answer in time")
		fails(w.serve(10, 9, "payment-1", "shop.v1.Payment/Charge", 4, 990, nil), "DEADLINE_EXCEEDED", "charges: no answer in time")
		w.try(11, 2, "edge", "gateway", 2, "gateway-2", 2050, 1000, attrs{"holdfast.attempt.wait_ms", 49.0})
		w.serve(12, 11, "gateway-2", "POST /api/orders", 2051, 990, nil)
		return []control.Event{event(-23, "payment-3", control.Frozen, "payment-3 frozen"), event(-20, "mail-1", control.Frozen, "mail-1 frozen")}
	}},
	{name: "waited for an instance", tell: func(w *world) []control.Event {
		begun(w, 2100)
		w.call(5, 4, "gateway-1", "orders", place, 1, 2090, attrs{"holdfast.call.attempts", 2, "holdfast.keep", "retried"})
		fails(w.span(6, 5, "gateway-1", "client", "try", 1, 0, attrs{"server.address", "orders", "holdfast.attempt", 1, "holdfast.attempt.outcome", "no instance", "holdfast.pick.candidates", 0, "holdfast.pick.why", "there was no candidate"}), "UNAVAILABLE", "no instance of orders")
		w.try(7, 5, "gateway-1", "orders", 2, "orders-1", 2001, 15, attrs{"holdfast.attempt.wait_ms", 2000.0})
		w.serve(8, 7, "orders-1", place, 2002, 13, nil)
		return nil
	}},
	{name: "dead letter", tell: func(w *world) []control.Event {
		begun(w, 14)
		w.span(5, 4, "gateway-1", "producer", "publish orders.placed", 2, 3, attrs{"messaging.destination.name", "orders.placed"})
		fails(w.span(6, 5, "mail-1", "consumer", "process orders.placed", 20, 5, attrs{"messaging.destination.name", "orders.placed", "holdfast.message.attempt", 1, "holdfast.message.verdict", "retry"}), "UNAVAILABLE", "smtp: connection refused")
		fails(w.span(7, 5, "mail-2", "consumer", "process orders.placed", 1020, 5, attrs{"messaging.destination.name", "orders.placed", "holdfast.message.attempt", 2, "holdfast.message.verdict", "dead"}), "INVALID_ARGUMENT", "no such address")
		return nil
	}},
	{name: "drill", tell: func(w *world) []control.Event {
		begun(w, 30)
		fails(w.call(5, 4, "gateway-1", "payment", "shop.v1.Payment/Charge", 1, 20, attrs{"holdfast.call.attempts", 1, "holdfast.call.stopped", "not declared safe to repeat"}), "UNAVAILABLE", "failed on purpose, by a drill")
		fails(w.try(6, 5, "gateway-1", "payment", 1, "payment-2", 1, 19, attrs{"holdfast.attempt.outcome", "unavailable"}), "UNAVAILABLE", "failed on purpose, by a drill")
		fails(w.serve(7, 6, "payment-2", "shop.v1.Payment/Charge", 2, 17, nil), "UNAVAILABLE", "failed on purpose, by a drill")
		broken(w, "UNAVAILABLE", "failed on purpose, by a drill")
		return []control.Event{{
			Time: at(-4000), Service: "payment", State: control.EventFaultBegun, Fault: "a-1", Message: "broken on purpose: half of the calls of payment-2 fail with UNAVAILABLE",
		}, {
			Time: at(-3000), Service: "catalog", State: control.EventFaultBegun, Fault: "a-2", Message: "broken on purpose: catalog-1 is frozen",
		}}
	}},
	{name: "business", tell: func(w *world) []control.Event {
		begun(w, 14)
		fails(w.call(5, 4, "gateway-1", "catalog", "shop.v1.Catalog/Get", 1, 10, attrs{"holdfast.call.attempts", 1}), "NOT_FOUND", "no product 77")
		fails(w.try(6, 5, "gateway-1", "catalog", 1, "catalog-1", 1, 9, attrs{"holdfast.attempt.outcome", "refused"}), "NOT_FOUND", "no product 77")
		w.serve(7, 6, "catalog-1", "shop.v1.Catalog/Get", 2, 7, nil)
		broken(w, "NOT_FOUND", "no product 77")
		return nil
	}},
	{name: "incomplete", within: time.Minute, tell: func(w *world) []control.Event {
		w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1, 11, nil)
		w.serve(9, 8, "inventory-1", "shop.v1.Inventory/Reserve", 4, 3, nil)
		return []control.Event{event(11, "orders-2", "backoff", "orders-2 died: killed by SIGKILL; starting it again")}
	}},
	{name: "a call of it", span: 6, tell: func(w *world) []control.Event {
		begun(w, 60)
		w.call(5, 4, "gateway-1", "orders", place, 1, 58, attrs{"holdfast.call.attempts", 2})
		fails(w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1, 12, attrs{"holdfast.attempt.outcome", "attempt timeout", "holdfast.attempt.timeout_ms", 12.0}), "DEADLINE_EXCEEDED", "no answer within 12ms")
		w.try(7, 5, "gateway-1", "orders", 2, "orders-1", 43, 15, nil)
		return nil
	}},
	{name: "slow", tell: func(w *world) []control.Event {
		begun(w, 900)
		w.spans[0].span.Attributes = attrs{"holdfast.keep", "slow"}.proto()
		w.call(5, 4, "gateway-1", "orders", place, 1, 880, nil)
		w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1, 879, nil)
		w.serve(7, 6, "orders-2", place, 2, 870, attrs{"holdfast.waited_ms", 700.0, "holdfast.in_flight", 20, "holdfast.limit", 20})
		return nil
	}},
	{name: "coped", tell: func(w *world) []control.Event {
		begun(w, 40)
		fails(w.call(5, 4, "gateway-1", "ratings", "GET /ratings", 1, 20, attrs{"holdfast.call.attempts", 1, "holdfast.keep", "error"}), "INTERNAL", "index out of range")
		fails(w.try(6, 5, "gateway-1", "ratings", 1, "ratings-1", 1, 19, attrs{"holdfast.attempt.outcome", "fault"}), "INTERNAL", "index out of range")
		fails(w.serve(7, 6, "ratings-1", "GET /ratings", 2, 17, nil), "INTERNAL", "index out of range")
		return nil
	}},
}

// The golden files are the documentation of what Explain says.
func TestExplain(t *testing.T) {
	for _, tc := range slices.Concat(stories, doubts) {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sight.New(sight.Config{})
				w := &world{trace: 7}
				for _, e := range tc.tell(w) {
					s.Note(e)
				}
				w.add(t, s)
				pass(cmp.Or(tc.within, 10*time.Second))
				id := hexID(7)
				if tc.span > 0 {
					id = hexOf(spanBytes(tc.span))
				}
				var out strings.Builder
				for _, lang := range []string{"en", "zh"} {
					e, err := s.Explain(id, lang)
					if err != nil {
						t.Fatal(err)
					}
					write(&out, e)
				}
				golden(t, filepath.Join("testdata", strings.ReplaceAll(tc.name, " ", "-")+".txt"), out.String())
			})
		})
	}
}

func write(out *strings.Builder, e control.Explanation) {
	fmt.Fprintf(out, "%s\n%s [%s]\n", e.Title, e.Verdict, e.Status)
	for _, l := range e.Lines {
		mark := " "
		if l.Bad {
			mark = "!"
		}
		fmt.Fprintf(out, "%8s %s %s%s\n", l.At, mark, strings.Repeat("  ", l.Level), l.Text)
	}
	for _, a := range e.Advice {
		fmt.Fprintf(out, "> %s\n", a)
	}
	out.WriteString("\n")
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", file, got, want)
	}
}
