package audit

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/notifications"
)

// What follows from orders that were placed, and is brought about by messages. Orders that never were placed, or by a version
// that published nothing, are not its concern.

// stands reports whether an order was placed and then paid.
func stands(o *orderspb.Order) bool {
	s := o.GetStatus()
	return o.GetPlaced() && (s == orderspb.Status_STATUS_PAID || s == orderspb.Status_STATUS_CONFIRMED)
}

// undone reports whether an order was placed and then cancelled.
func undone(o *orderspb.Order) bool {
	return o.GetPlaced() && o.GetStatus() == orderspb.Status_STATUS_REJECTED
}

// compareParcels holds parcels against orders: one for each that is paid, with what was ordered, and none for any other.
func (a *Audit) compareParcels(all []*orderspb.Order, parcels []*shippingpb.Parcel) {
	of := make(map[string][]*shippingpb.Parcel)
	for _, p := range parcels {
		of[p.GetOrder()] = append(of[p.GetOrder()], p)
	}
	for _, o := range all {
		sent := of[o.GetId()]
		delete(of, o.GetId())
		switch {
		case stands(o) && len(sent) == 0:
			a.Unshipped = append(a.Unshipped, fmt.Sprintf("%s of %s is paid and has no parcel", o.GetId(), o.GetCustomer()))
		case stands(o) && len(sent) > 1:
			a.Shipped = append(a.Shipped, fmt.Sprintf("%s of %s has %d parcels", o.GetId(), o.GetCustomer(), len(sent)))
		case stands(o) && !sameParcel(o, sent[0]):
			a.Shipped = append(a.Shipped, fmt.Sprintf("%s of %s has another parcel than was ordered: %v", o.GetId(), o.GetCustomer(), sent[0]))
		case !stands(o) && len(sent) > 0:
			a.Shipped = append(a.Shipped, fmt.Sprintf("%s of %s is %s and has %d parcels", o.GetId(), o.GetCustomer(), o.GetStatus(), len(sent)))
		}
	}
	for order, sent := range of {
		a.Shipped = append(a.Shipped, fmt.Sprintf("%d parcels for %s, which is no order", len(sent), order))
	}
}

func sameParcel(o *orderspb.Order, p *shippingpb.Parcel) bool {
	ordered, sent := make(map[string]int32), make(map[string]int32)
	for _, line := range o.GetLines() {
		ordered[line.GetProduct()] = line.GetQuantity()
	}
	for _, line := range p.GetLines() {
		sent[line.GetProduct()] = line.GetQuantity()
	}
	return maps.Equal(ordered, sent)
}

// remembered is how old an order may be for all that its customer was told of it to be known, with a day to spare.
const remembered = notifications.Keep - 24*time.Hour

// compareSent holds what customers were told against what became of their orders. Of an old order it may be forgotten.
func (a *Audit) compareSent(all []*orderspb.Order, sent []*notificationspb.Sent) {
	of := make(map[string][]string)
	for _, s := range sent {
		of[s.GetOrder()] = append(of[s.GetOrder()], s.GetAbout())
	}
	for _, o := range all {
		var due []string
		if o.GetPlaced() {
			due = append(due, "placed")
		}
		if stands(o) {
			due = append(due, "paid")
		}
		if undone(o) {
			due = append(due, "cancelled")
		}
		told := of[o.GetId()]
		delete(of, o.GetId())
		for _, about := range due {
			if !slices.Contains(told, about) && !forgotten(o) {
				a.Untold = append(a.Untold, fmt.Sprintf("%s was not told that %s was %s", o.GetCustomer(), o.GetId(), about))
			}
		}
		for i, about := range told {
			if !slices.Contains(due, about) || slices.Contains(told[:i], about) {
				a.Told = append(a.Told, fmt.Sprintf("%s, which is %s: its customer was told %v", o.GetId(), o.GetStatus(), told))
				break
			}
		}
	}
	for order, told := range of {
		a.Told = append(a.Told, fmt.Sprintf("of %s, which is no order, was told %v", order, told))
	}
}

func forgotten(o *orderspb.Order) bool {
	return o.GetCreatedUnixMs() != 0 && time.Since(time.UnixMilli(o.GetCreatedUnixMs())) > remembered
}

// compareTotals holds what was counted of events against the orders themselves.
func (a *Audit) compareTotals(all []*orderspb.Order, got *analyticspb.TotalsResponse) {
	var want analyticspb.TotalsResponse
	want.Revenue, want.Sold = make(map[string]int64), make(map[string]int64)
	for _, o := range all {
		if o.GetPlaced() {
			want.Placed++
		}
		if undone(o) {
			want.Cancelled++
		}
		if stands(o) {
			want.Paid++
			want.Revenue[o.GetCurrency()] += o.GetTotalMinor()
			for _, line := range o.GetLines() {
				want.Sold[line.GetProduct()] += int64(line.GetQuantity())
			}
		}
	}
	for _, c := range []struct {
		what      string
		got, want any
		same      bool
	}{
		{"placed", got.GetPlaced(), want.GetPlaced(), got.GetPlaced() == want.GetPlaced()},
		{"paid", got.GetPaid(), want.GetPaid(), got.GetPaid() == want.GetPaid()},
		{"cancelled", got.GetCancelled(), want.GetCancelled(), got.GetCancelled() == want.GetCancelled()},
		{"revenue", got.GetRevenue(), want.GetRevenue(), maps.Equal(got.GetRevenue(), want.GetRevenue())},
		{"sold", got.GetSold(), want.GetSold(), maps.Equal(got.GetSold(), want.GetSold())},
	} {
		if !c.same {
			a.Counted = append(a.Counted, fmt.Sprintf("%s: %v were counted, it is %v", c.what, c.got, c.want))
		}
	}
}
