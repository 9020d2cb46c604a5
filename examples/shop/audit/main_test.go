package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
)

func TestTheRecordOfADrillIsRead(t *testing.T) {
	t.Parallel()
	var rec load.Recorder
	checkout := func(call, customer string, o load.Outcome, order, says string) {
		rec.Add(load.Sample{
			Call: call, Outcome: o, Error: says, Kept: map[string]string{"order": order}, Due: 1,
			Vars: map[string]string{"customer": customer, "product": "mug", "quantity": "2", "card": "visa", "key": customer},
		})
	}
	rec.Add(load.Sample{Call: "list", Outcome: load.OK})
	checkout("checkout", "drill-1f-0", load.OK, "o-1", "")
	checkout("checkout", "drill-1f-0", load.OK, "o-1", "")
	checkout("checkout", "drill-1f-1", load.Failed, "", "503")
	checkout("checkout-late", "drill-1f-2", load.Refused, "", "409: PAYMENT_FAILED")
	checkout("checkout", "drill-1f-4", load.Refused, "", "409: ABORTED")
	checkout("checkout", "drill-1f-3", load.OK, "o-3", "")
	checkout("checkout", "drill-1f-3", load.OK, "o-4", "")
	var b bytes.Buffer
	if err := rec.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, cards, err := read(&b)
	items := []audit.Item{{Product: "mug", Quantity: 2}}
	want := audit.Customers{Prefix: "drill-1f-", Changed: []string{"drill-1f-3"}, Checkouts: []audit.Checkout{
		{Customer: "drill-1f-0", Items: items, Order: "o-1", Final: true},
		{Customer: "drill-1f-1", Items: items},
		{Customer: "drill-1f-2", Items: items, Final: true, Failed: true},
		{Customer: "drill-1f-4", Items: items},
		{Customer: "drill-1f-3", Items: items, Order: "o-4", Final: true},
	}}
	if err != nil || !reflect.DeepEqual(got, want) || cards["drill-1f-1"] != "visa" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"{", `{"call":"checkout","vars":{"customer":"drill-1-1"}}`} {
		if _, _, err := read(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestWhatHasNoAnswerIsRepeated(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := make(map[string]int)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		key := r.Header.Get("Idempotency-Key")
		asked[key]++
		switch {
		case key == "drill-1-refused":
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"reason": "PAYMENT_FAILED"}`))
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"id": "o-9"}`))
		}
	}))
	defer shop.Close()
	c := audit.Customers{Checkouts: []audit.Checkout{
		{Customer: "drill-1-done", Order: "o-1", Final: true}, {Customer: "drill-1-open"}, {Customer: "drill-1-refused"},
	}}
	n := repeat(t.Context(), shop.Client(), shop.URL, &c, nil)
	if n != 2 || asked["drill-1-done"] != 0 || c.Checkouts[1].Order != "o-9" || !c.Checkouts[2].Final || !c.Checkouts[2].Failed {
		t.Errorf("%d repeated: %v, %+v", n, asked, c)
	}
}

type roundTrip func(r *http.Request) (status int, body string)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	status, body := f(r)
	w.WriteHeader(status)
	_, _ = w.WriteString(body)
	return w.Result(), nil
}

// That an order is under way is no refusal: its customer asks until he is told what became of it.
func TestWhatIsUnderWayIsAskedAgain(t *testing.T) {
	t.Parallel()
	underWay := `{"code": "ABORTED", "reason": "IDEMPOTENCY_KEY_IN_USE"}`
	for name, c := range map[string]struct {
		last   string // after three answers that it is under way
		status int
		want   audit.Checkout
	}{
		"acknowledged": {`{"id": "o-9"}`, http.StatusCreated, audit.Checkout{Order: "o-9", Final: true}},
		"out of stock": {`{"reason": "OUT_OF_STOCK"}`, http.StatusConflict, audit.Checkout{Final: true}},
		"no money":     {`{"reason": "PAYMENT_FAILED"}`, http.StatusConflict, audit.Checkout{Final: true, Failed: true}},
		"declined":     {`{"reason": "PAYMENT_DECLINED"}`, http.StatusConflict, audit.Checkout{Final: true}},
		"given up":     {`{"reason": "GIVEN_UP"}`, http.StatusConflict, audit.Checkout{Final: true}},
		"for ever":     {underWay, http.StatusConflict, audit.Checkout{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			client := &http.Client{Transport: roundTrip(func(*http.Request) (int, string) {
				if asked++; asked <= 3 {
					return http.StatusConflict, underWay
				}
				return c.status, c.last
			})}
			customers := audit.Customers{Checkouts: []audit.Checkout{{}}}
			n := repeat(t.Context(), client, "http://shop", &customers, nil)
			if got := customers.Checkouts[0]; n != 1 || !reflect.DeepEqual(got, c.want) || c.want.Final && asked != 4 {
				t.Errorf("%s: %+v, asked %d times", name, got, asked)
			}
		})
	}
}
