package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/gateway"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
)

// Each wrong request is answered with its status and says which field is wrong.
func TestWrongRequestsSayWhatIsWrong(t *testing.T) {
	h := shop(t, nil)
	big := `{"customer":"` + strings.Repeat("a", 100<<10) + `"}`
	for _, c := range []struct {
		method, path, key, body string
		status                  int
		field                   string
	}{
		{"GET", "/api/products?limit=0", "", "", 400, "limit"},
		{"GET", "/api/products?limit=101", "", "", 400, "limit"},
		{"GET", "/api/products?limit=many", "", "", 400, "limit"},
		{"GET", "/api/products?offset=-1", "", "", 400, "offset"},
		{"GET", "/api/products?query=" + strings.Repeat("a", 101), "", "", 400, "query"},
		{"GET", "/api/products/submarine", "", "", 404, ""},
		{"GET", "/api/products/%20", "", "", 404, ""},
		{"GET", "/api/submarines", "", "", 404, ""},
		{"DELETE", "/api/products/sencha", "", "", 405, ""},
		{"GET", "/api/carts/a%20b", "", "", 400, "customer"},
		{"PUT", "/api/carts/ada/items/submarine", "", `{"quantity":1}`, 404, ""},
		{"PUT", "/api/carts/ada/items/sencha", "", `{"quantity":100}`, 400, "quantity"},
		{"PUT", "/api/carts/ada/items/sencha", "", `{"quantity":-1}`, 400, "quantity"},
		{"PUT", "/api/carts/ada/items/sencha", "", `{"quantity":1e99}`, 400, "quantity"},
		{"PUT", "/api/carts/ada/items/sencha", "", `{}`, 400, "quantity"},
		{"PUT", "/api/carts/ada/items/sencha", "", `{"quantity":"two"}`, 400, "quantity"},
		{"PUT", "/api/carts/ada/items/sencha", "", `{"quantity":`, 400, ""},
		{"POST", "/api/orders", "", mugs, 400, "Idempotency-Key"},
		{"POST", "/api/orders", "two words", mugs, 400, "Idempotency-Key"},
		{"POST", "/api/orders", "k", `{"items":[{"product":"sencha","quantity":1}]}`, 400, "customer"},
		{"POST", "/api/orders", "k", `{"customer":"ada"}`, 400, "items"},
		{"POST", "/api/orders", "k", `{"customer":"ada","items":[{"product":"sencha","quantity":0}]}`, 400, "items[0].quantity"},
		{"POST", "/api/orders", "k", `{"customer":"ada","items":[{"product":"sencha","quantity":1},{"product":"sencha","quantity":1}]}`, 400, "items[1].product"},
		{"POST", "/api/orders", "k", `{"customer":"ada","items":[{"product":"submarine","quantity":1}]}`, 404, ""},
		{"POST", "/api/orders", "k", `{"customer":"ada","items":[{"product":"lemon-tree","quantity":1}]}`, 409, ""},
		{"POST", "/api/orders", "k", `[1]`, 400, ""},
		{"POST", "/api/orders", "k", big, 413, ""},
		{"GET", "/api/orders/nothing", "", "", 404, ""},
		{"GET", "/api/orders/%ff%fe", "", "", 400, ""},
		{"GET", "/api/products?query=%ff%fe", "", "", 400, ""},
		{"GET", "/api/products?query=%zz", "", "", 400, ""},
		{"POST", "/api/orders", "\xff", mugs, 400, "Idempotency-Key"},
		{"GET", "/api/orders", "", "", 400, "customer"},
		{"GET", "/pictures/mug/..%2f..%2fpasswd", "", "", 404, ""},
		{"GET", "/pictures/submarine/x.svg", "", "", 404, ""},
	} {
		w := do(h, c.method, c.path, c.key, c.body)
		name := c.method + " " + c.path + " " + c.body[:min(len(c.body), 80)]
		if w.Code != c.status {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.status, w.Body)
			continue
		}
		if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") {
			t.Errorf("%s: %s", name, ct)
		}
		problem := failure.ReadProblem(w.Result())
		found := c.field == ""
		for _, v := range problem.Violations {
			found = found || v.Field == c.field && v.Description != ""
		}
		if !found {
			t.Errorf("%s: no word of %s: %s", name, c.field, w.Body)
		}
	}
}

func TestOutOfStockSaysOfWhat(t *testing.T) {
	w := do(shop(t, nil), http.MethodPost, "/api/orders", "k", `{"customer":"ada","items":[{"product":"olive-tree","quantity":4}]}`)
	problem := failure.ReadProblem(w.Result())
	if w.Code != http.StatusConflict || problem.Reason != "OUT_OF_STOCK" || problem.Metadata["product"] != "olive-tree" || problem.Metadata["available"] != "3" {
		t.Fatalf("%d %+v", w.Code, problem)
	}
}

func TestWhatCanBeHadLaterSaysWhen(t *testing.T) {
	for _, c := range []struct{ service, method, path, body string }{
		{"orders", "POST", "/api/orders", mugs},
		{"inventory", "POST", "/api/orders", mugs},
		{"payment", "POST", "/api/orders", mugs},
		{"orders", "GET", "/api/orders?customer=ada", ""},
		{"cart", "GET", "/api/carts/ada", ""},
		{"catalog", "GET", "/api/products", ""},
	} {
		w := do(shop(t, down(c.service)), c.method, c.path, "k", c.body)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s without %s: %d, Retry-After %q: %s", c.path, c.service, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
	}
}

func TestEveryAddressOfThePageIsServed(t *testing.T) {
	h := shop(t, nil)
	for path, want := range map[string]string{
		"/": "text/html", "/cart": "text/html", "/orders": "text/html", "/orders/ord-1": "text/html", "/products/sencha": "text/html",
		"/app.js": "text/javascript", "/style.css": "text/css", "/icon.svg": "image/svg+xml", "/healthz": "application/json",
	} {
		w := do(h, http.MethodGet, path, "", "")
		if w.Code != http.StatusOK || path != "/healthz" && !strings.HasPrefix(w.Header().Get("Content-Type"), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if etag := w.Header().Get("ETag"); etag != "" {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("If-None-Match", etag)
			again := httptest.NewRecorder()
			if h.ServeHTTP(again, r); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
				t.Errorf("%s again: %d, %d bytes", path, again.Code, again.Body.Len())
			}
		}
	}
}

func TestAWrongAddressIsAPageForPeopleAndAProblemForPrograms(t *testing.T) {
	h := shop(t, nil)
	for _, c := range []struct {
		path, accept string
		status       int
		contentType  string
	}{
		{"/nowhere", "text/html,application/xhtml+xml,*/*;q=0.8", 404, "text/html"},
		{"/nowhere", "*/*", 404, "application/problem+json"},
		{"/nowhere", "", 404, "application/problem+json"},
		{"/api/nowhere", "text/html,*/*;q=0.8", 404, "application/problem+json"},
		{"/healthz", "text/html,*/*;q=0.8", 200, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.Header.Set("Accept", c.accept)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != c.status || !strings.HasPrefix(w.Header().Get("Content-Type"), c.contentType) {
			t.Errorf("%s for %q: %d %s, want %d %s", c.path, c.accept, w.Code, w.Header().Get("Content-Type"), c.status, c.contentType)
		}
	}
}

// Whatever bytes come in, the gateway answers with a 2xx or a problem that blames the request.
func FuzzBodies(f *testing.F) {
	f.Add(mugs, `{"quantity":1}`, "k")
	f.Add(`{"customer":"ada","items":[{"product":"sencha","quantity":1e3}]}`, `{"quantity":null}`, "")
	f.Add(`{"customer":"\ud800","items":null}`, `[[[[[[`, "\x00")
	f.Add("", "\xff", " ")
	h := shop(f, nil)
	f.Fuzz(func(t *testing.T, order, quantity, key string) {
		for _, w := range []*httptest.ResponseRecorder{
			do(h, http.MethodPost, "/api/orders", key, order),
			do(h, http.MethodPut, "/api/carts/ada/items/sencha", "", quantity),
		} {
			if w.Code >= 500 || w.Code >= 300 && w.Code < 400 || w.Code == 200 && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	})
}

// The same for what comes in the address.
func FuzzAddresses(f *testing.F) {
	f.Add("query=a&limit=1&offset=0", "ada", "sencha")
	f.Add("limit=99999999999999999999&category=%00", "%2e%2e", "x.svg")
	h := shop(f, nil)
	f.Fuzz(func(t *testing.T, query, a, b string) {
		for _, u := range []string{"/api/products?" + query, "/api/carts/" + a, "/api/orders?customer=" + a, "/pictures/" + a + "/" + b} {
			r, err := http.NewRequest(http.MethodGet, "http://shop"+u, nil)
			if err != nil {
				continue
			}
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code >= 500 {
				t.Fatalf("%s: %d %s", u, w.Code, w.Body)
			}
		}
	})
}

// marked is a shop whose calls tell what they are marked with.
type marked struct {
	grpc.ClientConnInterface
	seen map[string]resilience.Criticality
	fail error
}

func markedShop(t *testing.T, fail error) (http.Handler, marked) {
	t.Helper()
	products, err := assortment.Load()
	if err != nil {
		t.Fatal(err)
	}
	conn := marked{shoptest.NewShop(new(kv.Memory), products, nil), make(map[string]resilience.Criticality), fail}
	h, err := gateway.New(gateway.Services{
		Catalog: catalogpb.NewCatalogClient(conn), Cart: cartpb.NewCartClient(conn),
		Inventory: inventorypb.NewInventoryClient(conn), Orders: orderspb.NewOrdersClient(conn),
		Shipping: shippingpb.NewShippingClient(conn), Log: shoptest.Quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return rest.Wrap(h, rest.ServerConfig{Logger: shoptest.Quiet()}), conn
}

func TestWhatIsOnlyLookedAtMakesWay(t *testing.T) {
	h, conn := markedShop(t, nil)
	do(h, http.MethodGet, "/api/products", "", "")
	do(h, http.MethodPost, "/api/orders", "key", `{"customer":"ann","items":[{"product":"mug","quantity":1}]}`)
	for method, want := range map[string]resilience.Criticality{
		catalogpb.Catalog_Search_FullMethodName: resilience.SheddablePlus,
		orderspb.Orders_Place_FullMethodName:    resilience.Critical,
	} {
		if got, ok := conn.seen[method]; !ok || got != want {
			t.Errorf("%s is marked %v, %v", method, got, ok)
		}
	}
}

func TestABusyServiceIsNoFaultOfTheCustomer(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
	}{
		{failure.New(failure.ResourceExhausted, "busy").WithReason(failure.ReasonShed, failure.Domain), http.StatusServiceUnavailable},
		{failure.New(failure.ResourceExhausted, "busy").WithRetryAfter(time.Second), http.StatusServiceUnavailable},
		{failure.New(failure.ResourceExhausted, "the cart is full"), http.StatusTooManyRequests},
	} {
		h, _ := markedShop(t, test.err)
		w := do(h, http.MethodGet, "/api/carts/ann", "", "")
		if w.Code != test.status || (w.Header().Get("Retry-After") == "") == (w.Code == http.StatusServiceUnavailable) {
			t.Errorf("%v: %d, %v", test.err, w.Code, w.Header())
		}
	}
}
