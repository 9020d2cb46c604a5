package gateway_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

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
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
)

// shop is the gateway in front of a whole shop, whose calls fail as fault says.
func shop(t testing.TB, fault shoptest.Fault) http.Handler {
	t.Helper()
	h, _ := shopBehind(t, fault)
	return h
}

// shopBehind is the same, and what is behind it.
func shopBehind(t testing.TB, fault shoptest.Fault) (http.Handler, *shoptest.Shop) {
	t.Helper()
	products, err := assortment.Load()
	if err != nil {
		t.Fatal(err)
	}
	conn := shoptest.NewShop(new(kv.Memory), products, fault)
	h, err := gateway.New(gateway.Services{
		Catalog:   catalogpb.NewCatalogClient(conn),
		Cart:      cartpb.NewCartClient(conn),
		Inventory: inventorypb.NewInventoryClient(conn),
		Orders:    orderspb.NewOrdersClient(conn),
		Shipping:  shippingpb.NewShippingClient(conn),
		Log:       shoptest.Quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return rest.Wrap(h, rest.ServerConfig{MaxBodyBytes: 64 << 10, Logger: shoptest.Quiet()}), conn
}

// down makes all calls to one service fail.
func down(service string) shoptest.Fault {
	return func(op string) shoptest.Fate {
		if strings.HasPrefix(op, "/shop."+service+".") {
			return shoptest.Lost
		}
		return shoptest.Works
	}
}

func do(h http.Handler, method, path, key, body string) *httptest.ResponseRecorder {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, in)
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func get[T any](t *testing.T, h http.Handler, path string) T {
	t.Helper()
	w := do(h, http.MethodGet, path, "", "")
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return decode[T](t, w)
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return v
}

func TestProductsAreListedPageByPage(t *testing.T) {
	h := shop(t, nil)
	var seen []string
	for offset := 0; ; offset += 20 {
		list := get[gateway.ProductList](t, h, "/api/products?limit=20&offset="+strconv.Itoa(offset))
		if int(list.Total) < 60 || len(list.Categories) == 0 {
			t.Fatalf("total %d, %d categories", list.Total, len(list.Categories))
		}
		for _, p := range list.Products {
			if p.Stock == nil || p.Price.Minor <= 0 || p.Price.Currency != "EUR" || p.Name == "" {
				t.Errorf("product %+v is not complete", p)
			}
			seen = append(seen, p.ID)
		}
		if len(list.Products) < 20 {
			if len(seen) != int(list.Total) {
				t.Fatalf("%d products on all pages, total %d", len(seen), list.Total)
			}
			return
		}
	}
}

func TestSearchFindsWordsInAnyOrder(t *testing.T) {
	h := shop(t, nil)
	list := get[gateway.ProductList](t, h, "/api/products?query=MUG+stoneware")
	if list.Total != 1 || list.Products[0].ID != "stoneware-mug" {
		t.Fatalf("%+v", list.Products)
	}
	if list = get[gateway.ProductList](t, h, "/api/products?query=submarine"); list.Total != 0 || list.Products == nil {
		t.Fatalf("%+v", list)
	}
	if list = get[gateway.ProductList](t, h, "/api/products?category=plants&limit=1"); list.Total < 5 || len(list.Products) != 1 {
		t.Fatalf("%+v", list)
	}
}

func TestAListWithoutStockIsBetterThanNone(t *testing.T) {
	h := shop(t, down("inventory"))
	list := get[gateway.ProductList](t, h, "/api/products")
	if len(list.Products) == 0 || list.Products[0].Stock != nil {
		t.Fatalf("%+v", list)
	}
	if p := get[gateway.Product](t, h, "/api/products/stoneware-mug"); p.Stock != nil {
		t.Fatalf("%+v", p)
	}
}

func TestACartIsFilledChangedAndEmptied(t *testing.T) {
	h := shop(t, nil)
	if cart := get[gateway.Cart](t, h, "/api/carts/ada"); len(cart.Items) != 0 || cart.Items == nil {
		t.Fatalf("a new cart has %+v", cart)
	}
	do(h, http.MethodPut, "/api/carts/ada/items/stoneware-mug", "", `{"quantity":2}`)
	do(h, http.MethodPut, "/api/carts/ada/items/sencha", "", `{"quantity":1}`)
	w := do(h, http.MethodPut, "/api/carts/ada/items/stoneware-mug", "", `{"quantity":3}`)
	cart := decode[gateway.Cart](t, w)
	if w.Code != http.StatusOK || len(cart.Items) != 2 || cart.Items[0].Quantity != 3 || cart.Total.Minor != 3*1690+1290 {
		t.Fatalf("%d %+v", w.Code, cart)
	}
	do(h, http.MethodPut, "/api/carts/ada/items/stoneware-mug", "", `{"quantity":0}`)
	if cart = get[gateway.Cart](t, h, "/api/carts/ada"); len(cart.Items) != 1 || cart.Items[0].Product != "sencha" {
		t.Fatalf("%+v", cart)
	}
	if w = do(h, http.MethodDelete, "/api/carts/ada", "", ""); w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if cart = get[gateway.Cart](t, h, "/api/carts/ada"); len(cart.Items) != 0 {
		t.Fatalf("%+v", cart)
	}
}

const mugs = `{"customer":"ada","items":[{"product":"stoneware-mug","quantity":2}]}`

func TestACheckoutThatIsRepeatedIsOneOrder(t *testing.T) {
	h := shop(t, nil)
	first, second := do(h, http.MethodPost, "/api/orders", "k1", mugs), do(h, http.MethodPost, "/api/orders", "k1", mugs)
	a, b := decode[gateway.Order](t, first), decode[gateway.Order](t, second)
	if first.Code != http.StatusCreated || second.Code != http.StatusCreated || a.ID != b.ID || a.ID == "" {
		t.Fatalf("%d %+v, then %d %+v", first.Code, a, second.Code, b)
	}
	if a.Status != "placed" || a.Total != (gateway.Money{Currency: "EUR", Minor: 3380}) || a.Items[0].Quantity != 2 {
		t.Fatalf("%+v", a)
	}
	if got := get[gateway.Order](t, h, first.Header().Get("Location")); got.ID != a.ID {
		t.Fatalf("%+v", got)
	}
	if list := get[gateway.OrderList](t, h, "/api/orders?customer=ada"); len(list.Orders) != 1 {
		t.Fatalf("%+v", list)
	}
	if w := do(h, http.MethodPost, "/api/orders", "k1", strings.Replace(mugs, "2", "3", 1)); w.Code != http.StatusConflict {
		t.Fatalf("the key for another order: %d %s", w.Code, w.Body)
	}
}

// What the customer sees of an order is put together from orders and shipping, and changes without anybody asking.
func TestAnOrderIsPlacedThenShipped(t *testing.T) {
	h, behind := shopBehind(t, nil)
	placed := decode[gateway.Order](t, do(h, http.MethodPost, "/api/orders", "k1", mugs))
	if placed.Status != "placed" || placed.Parcel != nil {
		t.Fatalf("%+v", placed)
	}
	if err := behind.Tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	shipped := get[gateway.Order](t, h, "/api/orders/"+placed.ID)
	if shipped.Status != "shipped" || shipped.Parcel == nil || shipped.Parcel.Label == "" || shipped.Parcel.Shipped.IsZero() {
		t.Fatalf("%+v", shipped)
	}
	again := decode[gateway.Order](t, do(h, http.MethodPost, "/api/orders", "k1", mugs))
	list := get[gateway.OrderList](t, h, "/api/orders?customer=ada")
	if again.Status != "shipped" || list.Orders[0].Status != "shipped" || *list.Orders[0].Parcel != *shipped.Parcel {
		t.Fatalf("%+v, %+v", again, list)
	}
}

// A payment that fails after the order was placed: the order is cancelled, the goods are back, and the key still stands for
// that order.
func TestAPaymentThatFailsLaterCancelsTheOrder(t *testing.T) {
	h, behind := shopBehind(t, nil)
	before := *get[gateway.Product](t, h, "/api/products/stoneware-mug").Stock
	body := strings.Replace(mugs, `"ada"`, `"ada","card":"card-without-money"`, 1)
	placed := decode[gateway.Order](t, do(h, http.MethodPost, "/api/orders", "k1", body))
	if left := *get[gateway.Product](t, h, "/api/products/stoneware-mug").Stock; placed.Status != "placed" || left != before-2 {
		t.Fatalf("%+v, and %d left of %d", placed, left, before)
	}
	if err := behind.Tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancelled := get[gateway.Order](t, h, "/api/orders/"+placed.ID)
	if left := *get[gateway.Product](t, h, "/api/products/stoneware-mug").Stock; cancelled.Status != "cancelled" || cancelled.Reason != "PAYMENT_FAILED" || left != before {
		t.Fatalf("%+v, and %d left of %d", cancelled, left, before)
	}
	again := do(h, http.MethodPost, "/api/orders", "k1", body)
	if o := decode[gateway.Order](t, again); again.Code != http.StatusCreated || o.ID != placed.ID || o.Status != "cancelled" {
		t.Fatalf("%d %+v", again.Code, o)
	}
}

// Without shipping nobody knows of parcels; orders are shown all the same.
func TestOrdersAreShownWithoutShipping(t *testing.T) {
	away := false
	h, behind := shopBehind(t, func(op string) shoptest.Fate {
		if away && strings.HasPrefix(op, "/shop.shipping.") {
			return shoptest.Lost
		}
		return shoptest.Works
	})
	placed := decode[gateway.Order](t, do(h, http.MethodPost, "/api/orders", "k1", mugs))
	if err := behind.Tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	away = true
	if o := get[gateway.Order](t, h, "/api/orders/"+placed.ID); o.Status != "paid" {
		t.Fatalf("%+v", o)
	}
	if list := get[gateway.OrderList](t, h, "/api/orders?customer=ada"); list.Orders[0].Status != "paid" {
		t.Fatalf("%+v", list)
	}
}

func TestOrdersOfACustomerAreListedNewestFirst(t *testing.T) {
	h := shop(t, nil)
	var want []string
	for _, key := range []string{"k1", "k2", "k3"} {
		o := decode[gateway.Order](t, do(h, http.MethodPost, "/api/orders", key, mugs))
		want = append(want, o.ID)
	}
	do(h, http.MethodPost, "/api/orders", "k4", strings.Replace(mugs, "ada", "adam", 1))
	list := get[gateway.OrderList](t, h, "/api/orders?customer=ada")
	if len(list.Orders) != len(want) {
		t.Fatalf("%+v", list)
	}
	for i := 1; i < len(list.Orders); i++ {
		if list.Orders[i].Created.After(list.Orders[i-1].Created) {
			t.Fatalf("not the newest first: %+v", list.Orders)
		}
	}
}

// Every product has a picture of its own that is well-formed.
func TestEveryProductHasAPicture(t *testing.T) {
	h := shop(t, nil)
	pictures := make(map[string]string)
	for _, p := range get[gateway.ProductList](t, h, "/api/products?limit=100").Products {
		w := do(h, http.MethodGet, p.Picture, "", "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/svg+xml" {
			t.Errorf("%s: %d %s", p.Picture, w.Code, w.Header().Get("Content-Type"))
			continue
		}
		picture := w.Body.String()
		if strings.ContainsAny(picture, "{}") {
			t.Errorf("%s: a colour is missing", p.Picture)
		}
		for d := xml.NewDecoder(strings.NewReader(picture)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", p.Picture, err)
				break
			}
		}
		if other, ok := pictures[picture]; ok {
			t.Errorf("%s and %s look the same", p.ID, other)
		}
		pictures[picture] = p.ID
	}
}

func (m marked) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m.seen[method] = resilience.CriticalityOf(ctx)
	if m.fail != nil {
		return m.fail
	}
	return m.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}
