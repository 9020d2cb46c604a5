package shoptest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/memqueue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const placed = 60 // checkouts; every fifth cannot be paid

// The whole shop on a queue that is broken in every way, with instances that come and go: every order that was placed is
// paid, shipped once and told of, or cancelled with its stock back; and nothing is counted twice.
func TestWhatWasPlacedIsShippedOnceOrCancelled(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { placeUnderFire(t, seed) }) })
	}
}

func placeUnderFire(t *testing.T, seed uint64) {
	products := &assortment.Assortment{Currency: "EUR", Products: []assortment.Product{{ID: "mug", Name: "Mug", Price: 100, Stock: 1000}}}
	var frail atomic.Bool // some calls between services fail, or their answers are lost
	random := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	s := shoptest.NewShop(new(kv.Memory), products, func(string) shoptest.Fate {
		mu.Lock()
		defer mu.Unlock()
		if !frail.Load() || random.IntN(8) > 0 {
			return shoptest.Works
		}
		return []shoptest.Fate{shoptest.Lost, shoptest.Unknown}[random.IntN(2)]
	})
	engine := memqueue.New(memqueue.Config{})
	defer engine.Close()
	var all sync.WaitGroup
	instance := func(ctx context.Context, name string) {
		all.Go(func() {
			client := engine.Connect()
			defer client.Close()
			q := queue.New(client, queue.Config{Source: "shop", Instance: name})
			defer q.Close()
			if err := s.Run(ctx, q); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	instance(ctx, "stays")

	frail.Store(true)
	faults := engine.Faults()
	fire := rand.New(rand.NewPCG(seed, 2))
	client := orderspb.NewOrdersClient(s)
	ids := make(map[string]bool) // by id: can be paid
	for i := range placed {
		req := &orderspb.PlaceRequest{IdempotencyKey: fmt.Sprint("key-", i), Customer: fmt.Sprint("c-", i), Items: []*orderspb.Item{{Product: "mug", Quantity: 1}}}
		if i%5 == 0 {
			req.Card = shop.CardThatFails
		}
		for try := 0; ; try++ {
			resp, err := client.Place(t.Context(), req)
			if err == nil {
				ids[resp.GetOrder().GetId()] = req.GetCard() == ""
				break
			}
			if errors.Is(err, shop.ErrPaymentFailed) && req.GetCard() != "" {
				break // it failed before the order was placed: there is none
			}
			if try == 100 {
				t.Fatalf("order %d: %v", i, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		switch fire.IntN(8) {
		case 0:
			faults.Restart()
		case 1:
			faults.LoseConfirms(3)
		case 2:
			faults.Freeze()
			time.Sleep(3 * time.Second)
			faults.Thaw()
		case 3:
			faults.Revoke(events.OrdersPaid, events.Shipping)
		case 4:
			passing, leave := context.WithCancel(ctx)
			instance(passing, fmt.Sprint("passing-", i))
			time.Sleep(time.Duration(fire.IntN(400)) * time.Millisecond)
			leave()
		}
	}
	frail.Store(false)
	time.Sleep(3 * time.Minute)
	check(t, s, ids)
	stop()
	all.Wait()
}

func check(t *testing.T, s *shoptest.Shop, ids map[string]bool) {
	t.Helper()
	good := 0
	for _, paid := range ids {
		if paid {
			good++
		}
	}
	if good != placed*4/5 {
		t.Errorf("%d orders are to be paid, want %d", good, placed*4/5)
	}
	book, err := orderspb.NewOrdersClient(s).Audit(t.Context(), &orderspb.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range book.GetOrders() {
		want := orderspb.Status_STATUS_REJECTED
		if ids[o.GetId()] {
			want = orderspb.Status_STATUS_CONFIRMED
		}
		if o.GetStatus() != want {
			t.Errorf("%s is %s, want %s", o.GetId(), o.GetStatus(), want)
		}
	}
	stock, err := inventorypb.NewInventoryClient(s).Audit(t.Context(), &inventorypb.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if p := stock.GetProducts()[0]; p.GetSold() != int64(good) || p.GetReserved() != 0 || p.GetAvailable() != p.GetInitial()-int64(good) {
		t.Errorf("%v; %d were sold", p, good)
	}
	parcels, err := shippingpb.NewShippingClient(s).Audit(t.Context(), &shippingpb.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	shipped := make(map[string]int)
	for _, p := range parcels.GetParcels() {
		shipped[p.GetOrder()]++
	}
	sent, err := notificationspb.NewNotificationsClient(s).Audit(t.Context(), &notificationspb.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string][]string)
	for _, n := range sent.GetSent() {
		told[n.GetOrder()] = append(told[n.GetOrder()], n.GetAbout())
		slices.Sort(told[n.GetOrder()])
	}
	for id, paid := range ids {
		parcels, about := 0, []string{"cancelled", "placed"}
		if paid {
			parcels, about = 1, []string{"paid", "placed"}
		}
		if shipped[id] != parcels || !slices.Equal(told[id], about) {
			t.Errorf("%s, which can be paid: %v: %d parcels, told %v", id, paid, shipped[id], told[id])
		}
	}
	totals, err := analyticspb.NewAnalyticsClient(s).Totals(t.Context(), &analyticspb.TotalsRequest{})
	if err != nil || totals.GetPlaced() != int64(len(ids)) || totals.GetPaid() != int64(good) || totals.GetCancelled() != int64(len(ids)-good) ||
		!maps.Equal(totals.GetRevenue(), map[string]int64{"EUR": int64(100 * good)}) || !maps.Equal(totals.GetSold(), map[string]int64{"mug": int64(good)}) {
		t.Errorf("%v, %v", totals, err)
	}
}
