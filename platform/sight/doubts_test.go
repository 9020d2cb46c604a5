package sight_test

import "github.com/holdfast-go/holdfast/platform/control"

// doubts are stories in which what lies nearest is not what happened.
var doubts = []story{
	{name: "one failed and the other was let go", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "GET /page", 0, 11, nil), "UNAVAILABLE", "stock: connection refused")
		fails(w.call(2, 1, "gateway-1", "stock", "Stock/Get", 1, 9, nil), "UNAVAILABLE", "connection refused")
		fails(w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 9, attrs{"holdfast.attempt.outcome", "unsent"}), "UNAVAILABLE", "connection refused")
		fails(w.call(4, 1, "gateway-1", "payment", "Pay/Get", 1, 9.6, nil), "CANCELED", "context canceled")
		fails(w.try(5, 4, "gateway-1", "payment", 1, "payment-1", 1, 9.6, attrs{"holdfast.attempt.outcome", "canceled"}), "CANCELED", "context canceled")
		fails(w.serve(6, 5, "payment-1", "Pay/Get", 2, 9, nil), "CANCELED", "context canceled")
		return nil
	}},
	{name: "an optional call failed too", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "POST /checkout", 0, 31, nil), "FAILED_PRECONDITION", "out of stock")
		fails(w.call(2, 1, "gateway-1", "stock", "Stock/Reserve", 1, 9, nil), "FAILED_PRECONDITION", "out of stock")
		fails(w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 9, nil), "FAILED_PRECONDITION", "out of stock")
		fails(w.serve(7, 3, "stock-1", "Stock/Reserve", 2, 7, nil), "FAILED_PRECONDITION", "out of stock")
		fails(w.call(4, 1, "gateway-1", "recs", "Recs/Get", 1, 29, nil), "UNAVAILABLE", "no route")
		fails(w.try(5, 4, "gateway-1", "recs", 1, "recs-1", 1, 29, attrs{"holdfast.attempt.outcome", "unsent"}), "UNAVAILABLE", "no route")
		return nil
	}},
	{name: "a fault of its own", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "POST /checkout", 0, 300, nil), "INTERNAL", "assignment to entry in nil map")
		fails(w.call(4, 1, "gateway-1", "recs", "Recs/Get", 1, 9, nil), "UNAVAILABLE", "no route")
		fails(w.try(5, 4, "gateway-1", "recs", 1, "recs-1", 1, 9, attrs{"holdfast.attempt.outcome", "unsent"}), "UNAVAILABLE", "no route")
		w.call(6, 1, "gateway-1", "stock", "Stock/Get", 100, 9, nil)
		w.try(7, 6, "gateway-1", "stock", 1, "stock-1", 100, 9, nil)
		w.serve(8, 7, "stock-1", "Stock/Get", 101, 7, nil)
		return nil
	}},
	{name: "attempts are missing", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "POST /checkout", 0, 300, nil), "UNAVAILABLE", "stock is down")
		fails(w.call(2, 1, "gateway-1", "stock", "Stock/Get", 1, 298, attrs{"holdfast.call.attempts", 3, "holdfast.call.stopped", "attempts used up"}), "UNAVAILABLE", "connection reset by stock-2")
		return nil
	}},
	{name: "the caller has not told", tell: func(w *world) []control.Event {
		w.call(2, 99, "gateway-1", "stock", "Stock/Get", 1, 9, nil)
		w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 9, nil)
		w.serve(4, 3, "stock-1", "Stock/Get", 2, 7, nil)
		return nil
	}},
	{name: "tried again by hand", tell: func(w *world) []control.Event {
		w.serve(1, 0, "gateway-1", "GET /x", 0, 300, nil)
		fails(w.span(2, 1, "gateway-1", "client", "SELECT", 1, 200, attrs{"server.address", "db"}), "UNAVAILABLE", "connection reset")
		w.span(3, 1, "gateway-1", "client", "SELECT", 202, 90, attrs{"server.address", "db"})
		return nil
	}},
	{name: "a probe", tell: func(w *world) []control.Event {
		fails(w.call(1, 0, "gateway-1", "stock", "Stock/Get", 1, 9, nil), "UNAVAILABLE", "reset")
		fails(w.try(2, 1, "gateway-1", "stock", 1, "stock-3", 1, 9, attrs{"holdfast.attempt.outcome", "connection broken", "holdfast.pick.why", "ejected, and tried with this call", "holdfast.pick.ejected", []string{"stock-3"}}), "UNAVAILABLE", "reset")
		return nil
	}},
	{name: "a drill beside it", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "POST /checkout", 0, 30, nil), "INTERNAL", "assignment to entry in nil map")
		w.call(2, 1, "gateway-1", "stock", "Stock/Get", 1, 9, nil)
		w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 9, nil)
		w.serve(4, 3, "stock-1", "Stock/Get", 2, 7, nil)
		return []control.Event{{Time: at(-5000), Service: "stock", Fault: "f1", State: control.EventFaultBegun, Message: "broken on purpose: cpu of stock-1 at 20%"}}
	}},
	{name: "a dead letter was replayed", tell: func(w *world) []control.Event {
		w.serve(1, 0, "gateway-1", "POST /checkout", 0, 30, nil)
		w.span(2, 1, "gateway-1", "producer", "publish orders", 5, 2, attrs{"messaging.destination.name", "orders"})
		fails(w.span(3, 2, "mail-1", "consumer", "process orders", 10, 5, attrs{"messaging.destination.name", "orders", "holdfast.message.attempt", 5, "holdfast.message.verdict", "dead"}), "INTERNAL", "smtp down")
		w.span(4, 2, "mail-1", "consumer", "process orders", 10000, 5, attrs{"messaging.destination.name", "orders", "holdfast.message.attempt", 1, "holdfast.message.verdict", "ok"})
		return nil
	}},
	{name: "slow and told nothing", tell: func(w *world) []control.Event {
		w.serve(1, 0, "gateway-1", "GET /x", 0, 2000, attrs{"holdfast.keep", "slow"})
		w.call(2, 1, "gateway-1", "stock", "Stock/Get", 1, 1990, attrs{"holdfast.keep", "slow"})
		w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 1990, nil)
		return nil
	}},
	{name: "a clock is ahead", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "GET /x", 0, 500, nil), "DEADLINE_EXCEEDED", "context deadline exceeded")
		fails(w.call(2, 1, "gateway-1", "stock", "Stock/Get", 1, 498, nil), "DEADLINE_EXCEEDED", "context deadline exceeded")
		fails(w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 498, attrs{"holdfast.attempt.outcome", "deadline exceeded"}), "DEADLINE_EXCEEDED", "context deadline exceeded")
		fails(w.serve(4, 3, "stock-1", "Stock/Get", 60002, 490, nil), "DEADLINE_EXCEEDED", "context deadline exceeded")
		fails(w.call(5, 4, "stock-1", "db", "DB/Get", 60003, 488, nil), "DEADLINE_EXCEEDED", "context deadline exceeded")
		fails(w.try(6, 5, "stock-1", "db", 1, "db-1", 60003, 488, attrs{"holdfast.attempt.outcome", "deadline exceeded"}), "DEADLINE_EXCEEDED", "context deadline exceeded")
		return nil
	}},
	{name: "a hedge failed", tell: func(w *world) []control.Event {
		fails(w.call(1, 0, "gateway-1", "stock", "Stock/Get", 1, 90, attrs{"holdfast.call.attempts", 2, "holdfast.call.hedged", true}), "INTERNAL", "cannot decode the answer")
		w.try(2, 1, "gateway-1", "stock", 1, "stock-1", 1, 80, attrs{"holdfast.attempt.lost", true})
		fails(w.try(3, 1, "gateway-1", "stock", 2, "stock-2", 40, 40, attrs{"holdfast.attempt.hedge", true, "holdfast.attempt.outcome", "fault"}), "INTERNAL", "cannot decode the answer")
		return nil
	}},
	{name: "some attempts are known", tell: func(w *world) []control.Event {
		fails(w.call(1, 0, "gateway-1", "stock", "Stock/Get", 1, 90, attrs{"holdfast.call.attempts", 4}), "UNAVAILABLE", "x")
		fails(w.try(3, 1, "gateway-1", "stock", 1, "stock-2", 1, 10, attrs{"holdfast.attempt.outcome", "unavailable"}), "UNAVAILABLE", "x")
		fails(w.try(4, 1, "gateway-1", "stock", 4, "stock-3", 40, 40, attrs{"holdfast.attempt.outcome", "unavailable"}), "UNAVAILABLE", "x")
		return nil
	}},
	{name: "its own failure after a retry", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "GET /x", 0, 300, nil), "UNAVAILABLE", "db down")
		w.call(2, 1, "gateway-1", "stock", "Stock/Get", 1, 20, attrs{"holdfast.call.attempts", 2})
		fails(w.try(3, 2, "gateway-1", "stock", 1, "stock-2", 1, 10, attrs{"holdfast.attempt.outcome", "unavailable"}), "UNAVAILABLE", "x")
		w.try(4, 2, "gateway-1", "stock", 2, "stock-3", 12, 4, nil)
		return nil
	}},
	{name: "one of two", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "GET /page", 0, 30, nil), "UNAVAILABLE", "the page is not complete")
		fails(w.call(2, 1, "gateway-1", "stock", "Stock/Get", 1, 9, nil), "UNAVAILABLE", "connection refused")
		fails(w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 9, attrs{"holdfast.attempt.outcome", "unsent"}), "UNAVAILABLE", "connection refused")
		fails(w.call(4, 1, "gateway-1", "recs", "Recs/Get", 1, 28, nil), "UNAVAILABLE", "no route")
		fails(w.try(5, 4, "gateway-1", "recs", 1, "recs-1", 1, 28, attrs{"holdfast.attempt.outcome", "unsent"}), "UNAVAILABLE", "no route")
		return nil
	}},
	{name: "a failure just before its own", tell: func(w *world) []control.Event {
		fails(w.serve(1, 0, "gateway-1", "POST /checkout", 0, 30, nil), "INTERNAL", "assignment to entry in nil map")
		fails(w.call(2, 1, "gateway-1", "recs", "Recs/Get", 1, 9, nil), "UNAVAILABLE", "no route")
		fails(w.try(3, 2, "gateway-1", "recs", 1, "recs-1", 1, 9, attrs{"holdfast.attempt.outcome", "unsent"}), "UNAVAILABLE", "no route")
		return nil
	}},
	{name: "not over yet", within: 1, tell: func(w *world) []control.Event {
		w.call(2, 99, "gateway-1", "stock", "Stock/Get", 1, 9, nil)
		w.try(3, 2, "gateway-1", "stock", 1, "stock-1", 1, 9, nil)
		w.serve(4, 3, "stock-1", "Stock/Get", 2, 7, nil)
		return nil
	}},
}
