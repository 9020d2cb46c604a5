package orders_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Impatient customers: the same checkout from many windows, at several instances at once, is one order; all are told so.
func TestOneKeyAtTheSameTimeIsOneOrder(t *testing.T) {
	w := newWorld()
	acked := make(map[string]*orderspb.Order)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		server, _ := w.process(nil)
		all.Go(func() {
			resp, err := server.Place(t.Context(), place("key", 2))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if before := acked["key"]; before != nil && before.GetId() != resp.GetOrder().GetId() {
				t.Errorf("two orders: %s and %s", before.GetId(), resp.GetOrder().GetId())
			}
			acked["key"] = resp.GetOrder()
		})
	}
	all.Wait()
	w.settle(t, acked)
}

// More customers than trees: one gets it, the others are told that it is gone, and nobody pays for nothing.
func TestTheLastOneIsSoldOnce(t *testing.T) {
	w := newWorld()
	acked := make(map[string]*orderspb.Order)
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 6 {
		server, _ := w.process(nil)
		key := fmt.Sprintf("key-%d", i)
		all.Go(func() {
			resp, err := server.Place(t.Context(), &orderspb.PlaceRequest{
				IdempotencyKey: key, Customer: key, Items: []*orderspb.Item{{Product: "tree", Quantity: 1}, {Product: "mug", Quantity: 1}},
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				acked[key] = resp.GetOrder()
			case !errors.Is(err, shop.ErrOutOfStock):
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	all.Wait()
	if len(acked) != 1 {
		t.Errorf("%d got the one tree", len(acked))
	}
	w.settle(t, acked)
}

func TestARejectionStaysOne(t *testing.T) {
	w := newWorld()
	w.behaviour = payment.Behaviour{DeclineRate: 1}
	server, _ := w.process(nil)
	_, first := server.Place(t.Context(), place("key", 0))
	w.behaviour = payment.Behaviour{}
	_, second := server.Place(t.Context(), place("key", 0))
	if !errors.Is(first, shop.ErrDeclined) || !errors.Is(second, shop.ErrDeclined) {
		t.Fatalf("%v, then %v", first, second)
	}
	w.settle(t, nil)
}

// What was not promised is kept for a customer who comes back in time, and given back after that.
func TestAnAbandonedOrderIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.behaviour = payment.Behaviour{FailRate: 1}
		server, _ := w.process(nil)
		for _, key := range []string{"comes-back", "never-seen-again"} {
			if _, err := server.Place(t.Context(), place(key, 0)); !errors.Is(err, failure.Unavailable) {
				t.Fatal(err)
			}
		}
		store := orders.NewStore(w.book)
		process := orders.NewProcess(store, inventorypb.NewInventoryClient(w.conn), paymentpb.NewPaymentClient(w.conn))
		recovery := orders.NewRecovery(store, process, orders.RecoveryConfig{}, shoptest.Quiet())

		if err := recovery.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Second)
		if err := recovery.Once(t.Context()); err != nil || len(w.unfinished(t)) != 2 {
			t.Fatalf("too early: %d left, %v", len(w.unfinished(t)), err)
		}
		w.behaviour = payment.Behaviour{}
		back, err := server.Place(t.Context(), place("comes-back", 0))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if err := recovery.Once(t.Context()); err != nil || len(w.unfinished(t)) != 0 {
			t.Fatalf("%d left, %v", len(w.unfinished(t)), err)
		}
		if _, err := server.Place(t.Context(), place("never-seen-again", 0)); !errors.Is(err, shop.ErrGivenUp) {
			t.Fatal(err)
		}
		w.settle(t, map[string]*orderspb.Order{"comes-back": back.GetOrder()})
	})
}

// The times in an order are of other clocks than that of whoever recovers it. They may be an hour off, in either direction.
func TestAnOrderIsGivenUpByTheClockOfWhoeverGivesItUp(t *testing.T) {
	for name, off := range map[string]time.Duration{"behind": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				store := orders.NewStore(w.book)
				theirs := time.Now().Add(off)
				if _, err := store.Create(t.Context(), &orders.Order{
					ID: "ord-1", Customer: "ada", Status: orders.Reserved, Chargeable: true, Currency: "EUR", Total: 1690,
					Lines: []orders.Line{{Product: "mug", Name: "Mug", Quantity: 1, Price: 1690}}, Created: theirs, Updated: theirs,
				}); err != nil {
					t.Fatal(err)
				}
				recovery := orders.NewRecovery(store, w.healthy(), orders.RecoveryConfig{}, shoptest.Quiet())
				for range 50 {
					if err := recovery.Once(t.Context()); err != nil || len(w.unfinished(t)) != 1 {
						t.Fatalf("too early: %d left, %v", len(w.unfinished(t)), err)
					}
					time.Sleep(2 * time.Second)
				}
				time.Sleep(30 * time.Second)
				if err := recovery.Once(t.Context()); err != nil || len(w.unfinished(t)) != 0 {
					t.Fatalf("too late: %d left, %v", len(w.unfinished(t)), err)
				}
				w.settle(t, nil)
			})
		})
	}
}

// What was promised is finished, soon and without anybody asking.
func TestAPaidOrderIsFinishedByTheRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		commitFails := func(op string) shoptest.Fate {
			if strings.HasSuffix(op, "Inventory/Commit") {
				return shoptest.Lost
			}
			return shoptest.Works
		}
		server, _ := w.process(commitFails)
		resp, err := server.Place(t.Context(), place("key", 0))
		if err != nil || resp.GetOrder().GetStatus() != orderspb.Status_STATUS_PLACED {
			t.Fatalf("%v, %v", resp, err)
		}
		if err := w.tell(t.Context(), commitFails, false); err != nil {
			t.Fatal(err)
		}
		if left := w.unfinished(t); len(left) != 1 || left[0].Status != orders.Paid {
			t.Fatalf("%+v", left)
		}
		store := orders.NewStore(w.book)
		process := orders.NewProcess(store, inventorypb.NewInventoryClient(w.conn), paymentpb.NewPaymentClient(w.conn))
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			done <- orders.NewRecovery(store, process, orders.RecoveryConfig{}, shoptest.Quiet()).Run(ctx)
		}()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if left := w.unfinished(t); len(left) != 0 {
			t.Errorf("%+v", left[0])
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.settle(t, map[string]*orderspb.Order{"key": resp.GetOrder()})
	})
}

func TestAnOrderKeepsThePriceOfItsTime(t *testing.T) {
	w := newWorld()
	server, _ := w.process(nil)
	placed, err := server.Place(t.Context(), place("key", 3))
	if err != nil || placed.GetOrder().GetTotalMinor() != 2*1690 {
		t.Fatalf("%v, %v", placed, err)
	}
	w.products.Products[0].Price = 9999
	again, err := server.Place(t.Context(), place("key", 3))
	if err != nil || again.GetOrder().GetTotalMinor() != 2*1690 {
		t.Fatalf("%v, %v", again, err)
	}
}

// A service that is away leaves many orders behind, which are not yet to be given up. What was promised does not wait
// for them.
func TestAPaidOrderDoesNotWaitForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		without := func(method string) shoptest.Fault {
			return func(op string) shoptest.Fate {
				if strings.HasSuffix(op, method) {
					return shoptest.Lost
				}
				return shoptest.Works
			}
		}
		server, _ := w.process(without("Inventory/Reserve"))
		for i := range 1000 {
			if _, err := server.Place(t.Context(), place(fmt.Sprint("waits-", i), 0)); !errors.Is(err, failure.Unavailable) {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		server, _ = w.process(without("Inventory/Commit"))
		paid, err := server.Place(t.Context(), place("paid", 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.tell(t.Context(), without("Inventory/Commit"), false); err != nil {
			t.Fatal(err)
		}
		store := orders.NewStore(w.book)
		process := orders.NewProcess(store, inventorypb.NewInventoryClient(w.conn), paymentpb.NewPaymentClient(w.conn))
		recovery := orders.NewRecovery(store, process, orders.RecoveryConfig{}, shoptest.Quiet())
		for range 2 {
			if err := recovery.Once(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Second)
		}
		if o, err := store.Load(t.Context(), paid.GetOrder().GetId()); err != nil || o.Status != orders.Confirmed {
			t.Errorf("%+v, %v", o, err)
		}
	})
}

// hanging is a connection on which calls of one method get no answer.
type hanging struct {
	*shoptest.Conn
	method string
}

// Invoke implements grpc.ClientConnInterface.
func (h hanging) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if strings.HasSuffix(method, h.method) {
		<-ctx.Done()
		return failure.Wrap(ctx.Err(), failure.DeadlineExceeded, "no answer")
	}
	return h.Conn.Invoke(ctx, method, args, reply, opts...)
}

// A service that hangs has many orders wait for it, for as long as it does. What was promised does not wait for them, and
// of the others each has its turn.
func TestOrdersThatHangHoldUpNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		store := orders.NewStore(w.book)
		undoing := func(id string, chargeable bool) {
			if _, err := store.Create(t.Context(), &orders.Order{
				ID: id, Customer: "ada", Status: orders.Undoing, Chargeable: chargeable, Created: time.Now(),
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 1000 {
			undoing(fmt.Sprint("ord-hangs-", i), true)
		}
		time.Sleep(time.Second)
		undoing("ord-behind", false)
		conn := hanging{w.conn, "Payment/Void"}
		process := orders.NewProcess(store, inventorypb.NewInventoryClient(conn), paymentpb.NewPaymentClient(conn))
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			done <- orders.NewRecovery(store, process, orders.RecoveryConfig{}, shoptest.Quiet()).Run(ctx)
		}()
		time.Sleep(20 * time.Second)
		commitFails := func(op string) shoptest.Fate {
			if strings.HasSuffix(op, "Inventory/Commit") {
				return shoptest.Lost
			}
			return shoptest.Works
		}
		server, _ := w.process(commitFails)
		paid, err := server.Place(t.Context(), place("paid", 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.tell(t.Context(), commitFails, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if o, err := store.Load(t.Context(), paid.GetOrder().GetId()); err != nil || o.Status != orders.Confirmed {
			t.Errorf("10 s later what was promised is %+v, %v", o, err)
		}
		time.Sleep(20 * time.Minute)
		if o, err := store.Load(t.Context(), "ord-behind"); err != nil || o.Status != orders.Rejected {
			t.Errorf("one behind those that hang is %+v, %v", o, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
