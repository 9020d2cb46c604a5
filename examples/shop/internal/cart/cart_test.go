package cart_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/cart"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func set(product string, quantity int32) *cartpb.SetItemRequest {
	return &cartpb.SetItemRequest{Customer: "ada", Product: product, Quantity: quantity}
}

// A cart has what was put in last, in the order in which it was put in first, whatever failed on the way and was repeated.
func TestACartIsAListOfWhatWasPutIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := new(kv.Memory)
		var want []*cartpb.Item
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			req := set(fmt.Sprintf("p%d", rapid.IntRange(0, 3).Draw(t, "product")), rapid.Int32Range(0, 3).Draw(t, "quantity"))
			dying := cart.NewServer(cart.NewStore(shoptest.KV{KV: db, Fault: shoptest.Crash(
				rapid.IntRange(1, 3).Draw(t, "dies at"), rapid.Bool().Draw(t, "after it"))}))
			_, _ = dying.SetItem(t.Context(), req)
			resp, err := cart.NewServer(cart.NewStore(db)).SetItem(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			want = model(want, req)
			if fmt.Sprint(resp.GetItems()) != fmt.Sprint(want) {
				t.Fatalf("%v, want %v", resp.GetItems(), want)
			}
		}
	})
}

func model(items []*cartpb.Item, req *cartpb.SetItemRequest) []*cartpb.Item {
	var out []*cartpb.Item
	found := false
	for _, item := range items {
		if item.GetProduct() == req.GetProduct() {
			found = true
			item = &cartpb.Item{Product: item.GetProduct(), Quantity: req.GetQuantity()}
		}
		if item.GetQuantity() > 0 {
			out = append(out, item)
		}
	}
	if !found && req.GetQuantity() > 0 {
		out = append(out, &cartpb.Item{Product: req.GetProduct(), Quantity: req.GetQuantity()})
	}
	return out
}

// Two browser windows at the same time: nothing that either put in is lost.
func TestChangesAtTheSameTimeAreAllKept(t *testing.T) {
	server := cart.NewServer(cart.NewStore(new(kv.Memory)))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if _, err := server.SetItem(t.Context(), set(fmt.Sprintf("p%d", i), 1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	resp, err := server.Get(t.Context(), &cartpb.GetRequest{Customer: "ada"})
	if err != nil || len(resp.GetItems()) != 8 {
		t.Fatalf("%v, %v", resp, err)
	}
	if _, err = server.Clear(t.Context(), &cartpb.ClearRequest{Customer: "ada"}); err != nil {
		t.Fatal(err)
	}
	if resp, err = server.Get(t.Context(), &cartpb.GetRequest{Customer: "ada"}); err != nil || len(resp.GetItems()) != 0 {
		t.Fatalf("%v, %v", resp, err)
	}
}

func TestACartIsBounded(t *testing.T) {
	server := cart.NewServer(cart.NewStore(new(kv.Memory)))
	for i := range shop.MaxItems {
		if _, err := server.SetItem(t.Context(), set(fmt.Sprintf("p%d", i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := server.SetItem(t.Context(), set("one-more", 1)); !errors.Is(err, failure.ResourceExhausted) {
		t.Fatal(err)
	}
	for _, req := range []*cartpb.SetItemRequest{set("mug", -1), set("mug", 100), set("a/b", 1), set("", 1), {Product: "mug"}} {
		if _, err := server.SetItem(t.Context(), req); !errors.Is(err, failure.InvalidArgument) {
			t.Errorf("%v: %v", req, err)
		}
	}
}
