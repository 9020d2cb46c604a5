package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/inventory"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func products() *assortment.Assortment {
	return &assortment.Assortment{Products: []assortment.Product{
		{ID: "mug", Stock: 10}, {ID: "tent", Stock: 3}, {ID: "tree", Stock: 0},
	}}
}

type fataler interface {
	Fatalf(format string, args ...any)
	Helper()
}

// balanced checks that nothing was lost and nothing sold that was not there, and returns the counts.
func balanced(t fataler, store inventory.Store) inventory.Audit {
	t.Helper()
	a, err := store.Audit(context.Background())
	if err != nil {
		t.Fatalf("audit: %v", err)
	}
	for product, c := range a.Products {
		if c.Available < 0 || c.Initial != c.Available+c.Reserved+c.Sold {
			t.Fatalf("%s is not conserved: %+v", product, c)
		}
	}
	return a
}

// Any calls for any orders, repeated and failing as they like, keep the books balanced; a reservation that is committed
// or released stays so.
func TestStockIsConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		group := newGroup()
		group.Restart = rapid.Bool().Draw(t, "restarts")
		sound := inventory.NewStore(group, products())
		final := make(map[string]error) // what Commit or Release said first, by order: nil, or the other's error
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			store := inventory.NewStore(group.With(shoptest.Crash(
				rapid.IntRange(0, 2).Draw(t, "dies at"), rapid.Bool().Draw(t, "after it"))), products())
			order := fmt.Sprintf("order-%d", rapid.IntRange(0, 4).Draw(t, "order"))
			switch rapid.SampledFrom([]string{"reserve", "reserve", "commit", "release"}).Draw(t, "do") {
			case "reserve":
				lines := []inventory.Line{{Product: "mug", Quantity: int64(1 + i%4)}}
				if rapid.Bool().Draw(t, "two products") {
					lines = append(lines, inventory.Line{Product: "tent", Quantity: 1})
				}
				_ = store.Reserve(t.Context(), order, lines)
			case "commit":
				if err := store.Commit(t.Context(), order); err == nil {
					if before, ok := final[order]; ok && before != nil {
						t.Fatalf("%s was released and is committed", order)
					}
					final[order] = nil
				}
			case "release":
				if err := store.Release(t.Context(), order); err == nil {
					if before, ok := final[order]; ok && before == nil {
						t.Fatalf("%s was committed and is released", order)
					}
					final[order] = shop.ErrReleased
				}
			}
			balanced(t, sound)
		}
		for order, want := range final {
			if err := sound.Commit(t.Context(), order); !errors.Is(err, want) {
				t.Fatalf("%s: %v, want %v", order, err, want)
			}
		}
	})
}

// More customers than there are tents, all at the same time: each tent is sold once.
func TestStockIsNeverOversold(t *testing.T) {
	store := inventory.NewStore(newGroup(), products())
	var got, none atomic.Int64
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			order := fmt.Sprintf("order-%d", i)
			err := store.Reserve(t.Context(), order, []inventory.Line{{Product: "tent", Quantity: 1}, {Product: "mug", Quantity: 1}})
			switch {
			case err == nil:
				got.Add(1)
			case errors.Is(err, shop.ErrOutOfStock):
				none.Add(1)
			default:
				t.Errorf("%s: %v", order, err)
			}
		})
	}
	all.Wait()
	if got.Load() != 3 || none.Load() != 9 {
		t.Fatalf("%d got one, %d did not", got.Load(), none.Load())
	}
	if a := balanced(t, store); a.Products["mug"].Reserved != 3 {
		t.Fatalf("mugs of orders that got no tent: %+v", a.Products["mug"])
	}
}

func TestAReservationThatComesAfterItsReleaseIsRefused(t *testing.T) {
	store := inventory.NewStore(newGroup(), products())
	if err := store.Release(t.Context(), "late"); err != nil {
		t.Fatal(err)
	}
	if err := store.Reserve(t.Context(), "late", []inventory.Line{{Product: "mug", Quantity: 1}}); !errors.Is(err, shop.ErrReleased) {
		t.Fatal(err)
	}
	balanced(t, store)
}

func TestServerChecksAndAnswersFromMemory(t *testing.T) {
	conn, store := new(shoptest.Conn), inventory.NewStore(newGroup(), products())
	if err := store.Reserve(t.Context(), "before", []inventory.Line{{Product: "mug", Quantity: 6}}); err != nil {
		t.Fatal(err)
	}
	inventorypb.RegisterInventoryServer(conn, inventory.NewServer(store))
	client := inventorypb.NewInventoryClient(conn)

	stock, err := client.GetStock(t.Context(), &inventorypb.GetStockRequest{Products: []string{"mug", "tent", "submarine"}})
	if err != nil || len(stock.GetAvailable()) != 2 || stock.GetAvailable()["mug"] != 4 || stock.GetAvailable()["tent"] != 3 {
		t.Fatalf("%v, %v", stock, err)
	}

	mug := &inventorypb.Line{Product: "mug", Quantity: 1}
	for name, c := range map[string]struct {
		req  *inventorypb.ReserveRequest
		want error
	}{
		"no order":      {&inventorypb.ReserveRequest{Lines: []*inventorypb.Line{mug}}, failure.InvalidArgument},
		"no lines":      {&inventorypb.ReserveRequest{Order: "1"}, failure.InvalidArgument},
		"a line twice":  {&inventorypb.ReserveRequest{Order: "2", Lines: []*inventorypb.Line{mug, mug}}, failure.InvalidArgument},
		"nothing":       {&inventorypb.ReserveRequest{Order: "3", Lines: []*inventorypb.Line{{Product: "mug"}}}, failure.InvalidArgument},
		"a submarine":   {&inventorypb.ReserveRequest{Order: "4", Lines: []*inventorypb.Line{{Product: "submarine", Quantity: 1}}}, failure.NotFound},
		"what is gone":  {&inventorypb.ReserveRequest{Order: "5", Lines: []*inventorypb.Line{{Product: "tree", Quantity: 1}}}, shop.ErrOutOfStock},
		"what is there": {&inventorypb.ReserveRequest{Order: "6", Lines: []*inventorypb.Line{mug}}, nil},
	} {
		if _, err := client.Reserve(t.Context(), c.req); !errors.Is(err, c.want) {
			t.Errorf("reserve %s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := client.Commit(t.Context(), &inventorypb.CommitRequest{Order: "another"}); !errors.Is(err, failure.NotFound) {
		t.Errorf("commit what is not reserved: %v", err)
	}
}

// What customers are shown is what this instance knows when it cannot learn more, and what the shop opened with when it
// knows nothing.
func TestStockIsShownWithoutTheOthers(t *testing.T) {
	group := newGroup()
	store := inventory.NewStore(group, products())
	if err := store.Reserve(t.Context(), "1", []inventory.Line{{Product: "mug", Quantity: 6}}); err != nil {
		t.Fatal(err)
	}
	alone := inventory.NewStore(cut{group}, products())
	if got := alone.Shown(t.Context(), []string{"mug", "tent", "submarine"}); len(got) != 2 || got["mug"] != 4 || got["tent"] != 3 {
		t.Fatal(got)
	}
}

// cut is a group of which no majority is reached.
type cut struct{ inventory.Group }

func (c cut) Read(ctx context.Context, level replica.Level, fn func(*inventory.Ledger) error) error {
	if level != replica.Eventual {
		return replica.ErrNoQuorum
	}
	return c.Group.Read(ctx, level, fn)
}

// What the members hold does not depend on the version of the program that they run.
func TestAProductThatTheProgramHasForgottenIsStillThere(t *testing.T) {
	group := newGroup()
	old := inventory.NewStore(group, products())
	if err := old.Reserve(t.Context(), "1", []inventory.Line{{Product: "tent", Quantity: 2}}); err != nil {
		t.Fatal(err)
	}
	fresh := inventory.NewStore(group, &assortment.Assortment{Products: []assortment.Product{{ID: "mug", Stock: 99}}})
	if err := fresh.Release(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	if c := balanced(t, old).Products["tent"]; c.Available != 3 {
		t.Fatalf("%+v", c)
	}
}

// A command of a newer version must not be passed over by an old one: the members would not be the same any more.
func TestACommandOfANewerVersionStopsTheMember(t *testing.T) {
	for _, c := range []inventory.Command{{Op: "restock", Order: "1"}, {Format: 2, Op: inventory.Release, Order: "1"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was passed over", c)
				}
			}()
			_, _ = newGroup().Propose(t.Context(), c)
		}()
	}
}

func TestASnapshotThatMakesNoSenseIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":    "",
		"no head":    `{"product":"mug","stock":{"initial":1,"available":1}}`,
		"too new":    `{"format":2}`,
		"cut":        `{"format":1}` + "\n" + `{"product":"mug","sto`,
		"of nothing": `{"format":1}` + "\n" + `{}`,
	} {
		ledger := inventory.NewLedger()
		if err := ledger.Restore(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func newGroup() *shoptest.Group[*inventory.Ledger, inventory.Command, inventory.Done] {
	return shoptest.NewGroup[*inventory.Ledger, inventory.Command, inventory.Done](inventory.NewLedger())
}
