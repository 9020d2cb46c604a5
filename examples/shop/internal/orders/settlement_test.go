package orders_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
)

func groupOf(book *orders.Book) *shoptest.Group[*orders.Book, orders.Command, orders.Answer] {
	return shoptest.NewGroup[*orders.Book, orders.Command, orders.Answer](book)
}

func (w *world) healthy() *orders.Process {
	return orders.NewProcess(orders.NewStore(w.book), inventorypb.NewInventoryClient(w.conn), paymentpb.NewPaymentClient(w.conn))
}

// say is a message of the payment provider's about an order.
func say(ctx context.Context, p *orders.Process, topic, order string) error {
	if topic == events.PaymentsFailed {
		e, err := events.New(topic, order, time.Now(), &eventspb.PaymentFailed{Key: order})
		return errors.Join(err, shoptest.Handle(ctx, e.Message("payment"), p.Failed))
	}
	e, err := events.New(topic, order, time.Now(), &eventspb.PaymentSettled{Key: order})
	return errors.Join(err, shoptest.Handle(ctx, e.Message("payment"), p.Settled))
}

// The saga's other way: everything that was done for the order is made up for, by whoever is left to do it.
func TestAFailedPaymentIsMadeUpForWhoeverDies(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld()
		server, _ := w.process(nil)
		placed, err := server.Place(t.Context(), place("key", failing))
		if err != nil || placed.GetOrder().GetStatus() != orderspb.Status_STATUS_PLACED {
			t.Fatalf("%v, %v", placed, err)
		}
		ops := 0
		dies := shoptest.Crash(n, n%2 == 0)
		_ = w.tell(t.Context(), func(op string) shoptest.Fate { ops++; return dies(op) }, false)
		w.settle(t, map[string]*orderspb.Order{"key": placed.GetOrder()})
		o, err := orders.NewStore(w.book).Load(t.Context(), placed.GetOrder().GetId())
		if err != nil || o.Status != orders.Rejected || o.Reason != shop.ErrPaymentFailed.Reason {
			t.Fatalf("died at operation %d: %+v, %v", n, o, err)
		}
		if n > ops {
			return // it has no nth operation
		}
	}
}

// Of a message that comes twice, late, or after somebody has asked, nothing is left to do.
func TestAMessageThatComesLateChangesNothing(t *testing.T) {
	w := newWorld()
	server, _ := w.process(nil)
	good, err := server.Place(t.Context(), place("good", 0))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := server.Place(t.Context(), place("bad", failing))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.tell(t.Context(), nil, true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := say(t.Context(), w.healthy(), events.PaymentsSettled, good.GetOrder().GetId()); err != nil {
			t.Error(err)
		}
		if err := say(t.Context(), w.healthy(), events.PaymentsFailed, bad.GetOrder().GetId()); err != nil {
			t.Error(err)
		}
	}
	w.settle(t, map[string]*orderspb.Order{"good": good.GetOrder(), "bad": bad.GetOrder()})
}

// What cannot be is for people to look at: no repetition makes it right.
func TestAContradictionIsSetAside(t *testing.T) {
	w := newWorld()
	server, _ := w.process(nil)
	good, err := server.Place(t.Context(), place("good", 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.tell(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	if err := say(t.Context(), w.healthy(), events.PaymentsFailed, good.GetOrder().GetId()); failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("paid, and then it failed: %v", err)
	}
	if err := say(t.Context(), w.healthy(), events.PaymentsSettled, "ord-unheard-of"); failure.CodeOf(err) != failure.NotFound {
		t.Errorf("of an order that there is not: %v", err)
	}
	w.settle(t, map[string]*orderspb.Order{"good": good.GetOrder()})
}

// A message may be lost for good, by people if not by machines. An order that waits for one asks in the end.
func TestAnOrderThatIsNeverToldAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		server, _ := w.process(nil)
		acked := make(map[string]*orderspb.Order)
		for key, n := range map[string]int{"good": 0, "bad": failing} {
			resp, err := server.Place(t.Context(), place(key, n))
			if err != nil {
				t.Fatal(err)
			}
			acked[key] = resp.GetOrder()
		}
		recovery := orders.NewRecovery(orders.NewStore(w.book), w.healthy(), orders.RecoveryConfig{}, shoptest.Quiet())
		if err := recovery.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Minute)
		if err := recovery.Once(t.Context()); err != nil || len(w.waiting(t)) != 2 {
			t.Fatalf("too early: %d wait, %v", len(w.waiting(t)), err)
		}
		time.Sleep(2 * time.Minute)
		if err := recovery.Once(t.Context()); err != nil || len(w.waiting(t)) != 2 {
			t.Fatalf("not settled yet: %d wait, %v", len(w.waiting(t)), err)
		}
		if err := payment.NewSettler(w.payments, func() bool { return true }, shoptest.Quiet()).Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := recovery.Once(t.Context()); err != nil || len(w.waiting(t)) != 0 {
			t.Fatalf("%d wait, %v", len(w.waiting(t)), err)
		}
		w.settle(t, acked)
	})
}

// Many wait whose payments are not settled yet. Those behind them are not forgotten.
func TestAllWhoWaitAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many, settled = 130, 20
		w := newWorldOf(many)
		server, _ := w.process(nil)
		for i := range many {
			req := place(fmt.Sprint("key-", i), 0)
			if _, err := server.Place(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		for _, o := range w.waiting(t)[many-settled:] {
			if err := w.payments.Settle(t.Context(), o.ID, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		recovery := orders.NewRecovery(orders.NewStore(w.book), w.healthy(), orders.RecoveryConfig{}, shoptest.Quiet())
		for range 2 {
			for range 2 {
				if err := recovery.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(6 * time.Minute)
		}
		if left := w.waiting(t); len(left) != many-settled {
			t.Errorf("%d wait, want %d", len(left), many-settled)
		}
	})
}

// A settlement that is told before whoever captured it has written so is not lost.
func TestASettlementMayOvertakeTheOrder(t *testing.T) {
	for _, n := range []int{0, failing} {
		w := newWorld()
		writes := 0
		dies := func(op string) shoptest.Fate { // after the charge, before the write
			if op == "propose" {
				writes++
			}
			if writes >= 3 {
				return shoptest.Lost
			}
			return shoptest.Works
		}
		server, _ := w.process(dies)
		if _, err := server.Place(t.Context(), place("key", n)); err == nil {
			t.Fatal("it lives")
		}
		if left := w.unfinished(t); len(left) != 1 || left[0].Status != orders.Reserved {
			t.Fatalf("%+v", left)
		}
		if err := w.tell(t.Context(), nil, true); err != nil {
			t.Fatal(err)
		}
		if left := w.unfinished(t); len(left) != 0 {
			t.Fatalf("it was told and is %+v", left[0])
		}
		server, _ = w.process(nil)
		resp, err := server.Place(t.Context(), place("key", n))
		if n == failing {
			if !errors.Is(err, shop.ErrPaymentFailed) || !strings.Contains(err.Error(), "payment failed") {
				t.Fatalf("%v, %v", resp, err)
			}
			w.settle(t, nil)
			continue
		}
		if err != nil || resp.GetOrder().GetStatus() != orderspb.Status_STATUS_CONFIRMED {
			t.Fatalf("%v, %v", resp, err)
		}
		w.settle(t, map[string]*orderspb.Order{"key": resp.GetOrder()})
	}
}

// Whoever has captured the charge writes late, when the order is further on already: what is stored counts.
func TestAnOrderNeverGoesBack(t *testing.T) {
	for _, n := range []int{0, failing} {
		w := newWorld()
		writes := 0
		meanwhile := func(op string) shoptest.Fate {
			if op == "propose" {
				if writes++; writes == 3 { // Placed
					if err := w.tell(t.Context(), nil, false); err != nil {
						t.Error(err)
					}
				}
			}
			return shoptest.Works
		}
		server, _ := w.process(meanwhile)
		resp, err := server.Place(t.Context(), place("key", n))
		if n == failing {
			if !errors.Is(err, shop.ErrPaymentFailed) {
				t.Fatalf("%v, %v", resp, err)
			}
			w.settle(t, nil)
			continue
		}
		if err != nil || resp.GetOrder().GetStatus() != orderspb.Status_STATUS_CONFIRMED {
			t.Fatalf("%v, %v", resp, err)
		}
		w.settle(t, map[string]*orderspb.Order{"key": resp.GetOrder()})
	}
}
