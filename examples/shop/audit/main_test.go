package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
)

func TestTheRecordOfADrillIsRead(t *testing.T) {
	t.Parallel()
	var rec load.Recorder
	checkout := func(call, customer string, o load.Outcome, order, says string) {
		rec.Add(load.Sample{
			Call: call, Outcome: o, Error: says, Kept: map[string]string{"order": order}, Due: 1,
			Vars: map[string]string{"customer": customer, "product": "mug", "quantity": "2", "key": customer},
		})
	}
	rec.Add(load.Sample{Call: "list", Outcome: load.OK})
	checkout("checkout", "drill-1f-0", load.OK, "o-1", "")
	checkout("checkout", "drill-1f-0", load.OK, "o-1", "")
	checkout("checkout", "drill-1f-1", load.Failed, "", "503")
	checkout("checkout-late", "drill-1f-2", load.Refused, "", "409: PAYMENT_FAILED")
	checkout("checkout", "drill-1f-3", load.OK, "o-3", "")
	checkout("checkout", "drill-1f-3", load.OK, "o-4", "")
	var b bytes.Buffer
	if err := rec.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := read(&b)
	items := []audit.Item{{Product: "mug", Quantity: 2}}
	want := audit.Customers{Prefix: "drill-1f-", Changed: []string{"drill-1f-3"}, Checkouts: []audit.Checkout{
		{Customer: "drill-1f-0", Items: items, Order: "o-1", Final: true},
		{Customer: "drill-1f-1", Items: items},
		{Customer: "drill-1f-2", Items: items, Final: true, Failed: true},
		{Customer: "drill-1f-3", Items: items, Order: "o-4", Final: true},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"{", `{"call":"checkout","vars":{"customer":"drill-1-1"}}`} {
		if _, err := read(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
