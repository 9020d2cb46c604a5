package catalog_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/catalog"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func products() *assortment.Assortment {
	return &assortment.Assortment{
		Currency:   "EUR",
		Categories: []assortment.Category{{ID: "kitchen", Name: "Kitchen"}, {ID: "pantry", Name: "Pantry"}},
		Products: []assortment.Product{
			{ID: "tin", Name: "Tea Tin", Category: "kitchen", Price: 100, Description: "Keeps it dry."},
			{ID: "tea", Name: "Green Tea", Category: "pantry", Price: 200, Description: "From a tin."},
			{ID: "mug", Name: "Mug", Category: "kitchen", Price: 300, Description: "For tea."},
			{ID: "steamer", Name: "Steamer", Category: "kitchen", Price: 400, Description: "Of bamboo."},
		},
	}
}

func names(resp *catalogpb.SearchResponse) string {
	var out []string
	for _, p := range resp.GetProducts() {
		out = append(out, p.GetId())
	}
	return strings.Join(out, " ")
}

func TestSearchPutsTheBetterMatchFirst(t *testing.T) {
	db := new(kv.Memory)
	view := kv.OpenView[catalog.Change](db, catalog.Prefix, "", shoptest.Quiet())
	server := catalog.NewServer(catalog.NewShelf(products(), catalog.NewStore(db, view)))
	for _, c := range []struct {
		req  *catalogpb.SearchRequest
		want string
	}{
		{&catalogpb.SearchRequest{}, "tin tea mug steamer"},
		{&catalogpb.SearchRequest{Query: "tea"}, "tin tea steamer mug"},
		{&catalogpb.SearchRequest{Query: " GREEN  tea "}, "tea"},
		{&catalogpb.SearchRequest{Query: "tea", Category: "pantry"}, "tea"},
		{&catalogpb.SearchRequest{Query: "tea submarine"}, ""},
		{&catalogpb.SearchRequest{Category: "navy"}, ""},
		{&catalogpb.SearchRequest{Limit: 2, Offset: 1}, "tea mug"},
		{&catalogpb.SearchRequest{Offset: 100}, ""},
	} {
		resp, err := server.Search(t.Context(), c.req)
		if err != nil || names(resp) != c.want {
			t.Errorf("%v: %q, %v; want %q", c.req, names(resp), err, c.want)
		}
	}
	for _, req := range []*catalogpb.SearchRequest{{Limit: 101}, {Limit: -1}, {Offset: -1}, {Query: strings.Repeat("x", 101)}} {
		if _, err := server.Search(t.Context(), req); !errors.Is(err, failure.InvalidArgument) {
			t.Errorf("%v: %v", req, err)
		}
	}
}

// What the people who run the shop change reaches every instance, and can be taken back.
func TestChangesReachEveryInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(kv.Memory)
		here := kv.OpenView[catalog.Change](db, catalog.Prefix, "", shoptest.Quiet())
		admin := catalog.NewAdmin(catalog.NewShelf(products(), catalog.NewStore(db, here)))
		there := kv.OpenView[catalog.Change](db, catalog.Prefix, "", shoptest.Quiet())
		server := catalog.NewServer(catalog.NewShelf(products(), catalog.NewStore(db, there)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- there.Run(ctx) }()
		defer func() { cancel(); <-done }()

		call := func(method, path, body string) int {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			admin.ServeHTTP(w, r)
			synctest.Wait()
			return w.Code
		}
		product := func(id string) *catalogpb.Product {
			resp, err := server.Get(t.Context(), &catalogpb.GetRequest{Ids: []string{id}})
			if err != nil || len(resp.GetProducts()) == 0 {
				return nil
			}
			return resp.GetProducts()[0]
		}
		if code := call(http.MethodPut, "/admin/products/tea", `{"price":250}`); code != http.StatusOK {
			t.Fatal(code)
		}
		if p := product("tea"); p.GetPrice().GetMinor() != 250 || p.GetName() != "Green Tea" {
			t.Fatalf("%v", p)
		}
		call(http.MethodPut, "/admin/products/mug", `{"hidden":true}`)
		if p := product("mug"); p != nil {
			t.Fatalf("%v", p)
		}
		call(http.MethodDelete, "/admin/products/mug", "")
		if p := product("mug"); p.GetName() != "Mug" {
			t.Fatalf("%v", p)
		}
		for body, want := range map[string]int{`{"price":-1}`: 400, `{"price":"x"}`: 400, `{`: 400} {
			if code := call(http.MethodPut, "/admin/products/tea", body); code != want {
				t.Errorf("%s: %d, want %d", body, code, want)
			}
		}
		if code := call(http.MethodPut, "/admin/products/submarine", `{"price":1}`); code != http.StatusNotFound {
			t.Error(code)
		}
	})
}

// A change that hung in a frozen member of the store does not come back when it thaws.
func TestAChangeThatComesLateChangesNothing(t *testing.T) {
	for name, second := range map[string]catalog.Change{"another price": {Price: 300}, "back to the data file": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := &shoptest.Thawing{KV: new(kv.Memory)}
				view := kv.OpenView[catalog.Change](db, catalog.Prefix, "", shoptest.Quiet())
				shelf := catalog.NewShelf(products(), catalog.NewStore(db, view))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- view.Run(ctx) }()
				defer func() { cancel(); <-done }()
				for _, c := range []catalog.Change{{Price: 250}, second} {
					if err := shelf.Change(t.Context(), "tea", c); err != nil {
						t.Fatal(err)
					}
				}
				if err := db.Thaw(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				want := int64(200) // of the data file
				if second.Price > 0 {
					want = second.Price
				}
				if p, ok := shelf.Product("tea"); !ok || p.Price != want {
					t.Errorf("%+v, want %d", p, want)
				}
			})
		})
	}
}

func FuzzSearch(f *testing.F) {
	f.Add("tea tin", "kitchen", int32(2), int32(1))
	f.Add("\xff\x00 İ", "", int32(-1), int32(1<<30))
	db := new(kv.Memory)
	server := catalog.NewServer(catalog.NewShelf(products(), catalog.NewStore(db, kv.OpenView[catalog.Change](db, catalog.Prefix, "", shoptest.Quiet()))))
	f.Fuzz(func(t *testing.T, query, category string, limit, offset int32) {
		resp, err := server.Search(t.Context(), &catalogpb.SearchRequest{Query: query, Category: category, Limit: limit, Offset: offset})
		if err != nil && !errors.Is(err, failure.InvalidArgument) || err == nil && len(resp.GetProducts()) > int(resp.GetTotal()) {
			t.Fatalf("%v, %v", resp, err)
		}
	})
}
