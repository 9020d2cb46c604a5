package orders

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
)

// Status is where an order is on its way.
//
//	Pending ──stock reserved──▶ Reserved ──captured──▶ Placed ──payment settled──▶ Paid ──sale committed──▶ Confirmed
//	   └─────out of stock, given up────┴─declined──┐      └─────payment failed─────┐
//	                                               └────────────▶ Undoing ◀────────┘ ──voided, released──▶ Rejected
//
// Each arrow is one call to another service, which can be repeated, or a message, which can come twice, and then one write
// of the order, on condition that it is as it was read. A process that dies between the two leaves an order on which
// anybody can go on: the call is repeated and changes nothing, the write is made up for.
//
// This is a saga: no transaction spans orders, inventory and the payment provider, so what was done for an order that
// comes to nothing is not rolled back but made up for, by a step that undoes it: Release for Reserve, Void for
// Charge. Undoing is where that happens, from wherever the order had got to. Placed is where the customer
// is told, and where the order waits for what takes its time. From Paid on an order only goes forward.
type Status string

// The statuses of an order; see Status.
const (
	Pending   Status = "pending"
	Reserved  Status = "reserved"
	Placed    Status = "placed"
	Paid      Status = "paid"
	Confirmed Status = "confirmed"
	Undoing   Status = "undoing"
	Rejected  Status = "rejected"
)

// Final reports whether nothing is left to do for an order.
func (s Status) Final() bool { return s == Confirmed || s == Rejected }

// Waits reports whether an order goes on when it is told to, and not before.
func (s Status) Waits() bool { return s == Placed }

// Promised reports whether an order is only to be finished: somebody has paid for it.
func (s Status) Promised() bool { return s == Paid }

// Line is one product of an order, with its price at the time of ordering.
type Line struct {
	Product  string `json:"product"`
	Name     string `json:"name"`
	Quantity int32  `json:"quantity"`
	Price    int64  `json:"price"` // of one, in the currency's smallest unit
}

// Order is an order as it is stored.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Status   Status `json:"status"`
	// Why it is Undoing or Rejected: a reason of package shop, a sentence and its facts, as in the error that told us.
	Reason string            `json:"reason,omitempty"`
	Detail string            `json:"detail,omitempty"`
	Facts  map[string]string `json:"facts,omitempty"`
	// Chargeable is set once a charge may have been captured, so that undoing knows to void it.
	Chargeable bool `json:"chargeable,omitempty"`
	// Placed is set once it was Placed: that was published, and what becomes of it is, too.
	Placed   bool      `json:"placed,omitempty"`
	Card     string    `json:"card,omitempty"`
	Currency string    `json:"currency"`
	Total    int64     `json:"total"`
	Lines    []Line    `json:"lines"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`

	version uint64 // in the Book, of the one that was read; not part of the record
}

// orderID derives an order's id from its idempotency key: that the same key means the same order needs no index then,
// and nobody who sees the id learns the key.
func orderID(key string) string {
	sum := sha256.Sum256([]byte("order/" + key))
	return "ord-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:15]))
}

// asks reports whether req is the request that o came from.
func (o *Order) asks(req *orderspb.PlaceRequest) bool {
	if o.Customer != req.GetCustomer() || o.Card != req.GetCard() || len(o.Lines) != len(req.GetItems()) {
		return false
	}
	quantities := make(map[string]int32, len(o.Lines))
	for _, line := range o.Lines {
		quantities[line.Product] = line.Quantity
	}
	for _, item := range req.GetItems() {
		if quantities[item.GetProduct()] != item.GetQuantity() {
			return false
		}
	}
	return true
}

func (o *Order) wire() *orderspb.Order {
	out := &orderspb.Order{
		Id: o.ID, Customer: o.Customer, Status: wireStatus(o.Status), Reason: o.Reason,
		Currency: o.Currency, TotalMinor: o.Total, CreatedUnixMs: o.Created.UnixMilli(), Placed: o.Placed,
	}
	for _, line := range o.Lines {
		out.Lines = append(out.Lines, &orderspb.Line{
			Product: line.Product, Name: line.Name, Quantity: line.Quantity, PriceMinor: line.Price,
		})
	}
	return out
}

func wireStatus(s Status) orderspb.Status {
	switch s {
	case Pending:
		return orderspb.Status_STATUS_PENDING
	case Reserved:
		return orderspb.Status_STATUS_RESERVED
	case Placed:
		return orderspb.Status_STATUS_PLACED
	case Paid:
		return orderspb.Status_STATUS_PAID
	case Confirmed:
		return orderspb.Status_STATUS_CONFIRMED
	case Undoing:
		return orderspb.Status_STATUS_UNDOING
	case Rejected:
		return orderspb.Status_STATUS_REJECTED
	}
	return orderspb.Status_STATUS_UNSPECIFIED
}
