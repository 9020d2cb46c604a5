package audit

import (
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
)

// compareOrders holds the orders of our customers against what they know of them.
func (a *Audit) compareOrders(all []*orderspb.Order, c Customers) {
	byID, stands := make(map[string]*orderspb.Order), make(map[string]int)
	for _, o := range all {
		if !strings.HasPrefix(o.GetCustomer(), c.Prefix) {
			continue
		}
		byID[o.GetId()] = o
		switch o.GetStatus() {
		case orderspb.Status_STATUS_CONFIRMED:
			stands[o.GetCustomer()]++
		case orderspb.Status_STATUS_REJECTED:
			if o.GetPlaced() {
				a.Cancelled++
			}
		default:
			a.Unfinished = append(a.Unfinished, fmt.Sprintf("%s of %s is %s", o.GetId(), o.GetCustomer(), o.GetStatus()))
		}
	}
	for _, e := range c.Checkouts {
		name := e.Customer
		a.Checkouts++
		o := byID[e.Order]
		switch {
		case e.Order == "" && e.Final:
			a.Refused++
			if e.Failed && e.Card == "" && !c.PaymentsFail {
				a.Missing = append(a.Missing, fmt.Sprintf("%s was refused for a payment that has to work", name))
			}
			if stands[name] > 0 {
				a.Doubled = append(a.Doubled, fmt.Sprintf("%s was refused and has %d orders", name, stands[name]))
			}
		case e.Order == "":
			a.Open++
			a.Unanswered = append(a.Unanswered, fmt.Sprintf("%s never got an answer", name))
		default:
			a.Acknowledged++
			if o == nil || !c.became(e, o) || !sameItems(o, e) {
				a.Missing = append(a.Missing, fmt.Sprintf("%s was promised %s: it is %v", name, e.Order, o))
			}
		}
		if stands[name] > 1 {
			a.Doubled = append(a.Doubled, fmt.Sprintf("%s has %d orders", name, stands[name]))
		}
	}
	for _, key := range c.Changed {
		a.Doubled = append(a.Doubled, fmt.Sprintf("key %s was acknowledged as two orders", key))
	}
}

// became reports whether o is what the acknowledged order has to be: there, unless it was to be cancelled.
func (c Customers) became(e Checkout, o *orderspb.Order) bool {
	s := o.GetStatus()
	if s == orderspb.Status_STATUS_REJECTED {
		return (c.PaymentsFail || e.Card == shop.CardThatFails) && o.GetReason() == shop.ErrPaymentFailed.Reason
	}
	if s == orderspb.Status_STATUS_PAID || s == orderspb.Status_STATUS_CONFIRMED {
		return e.Card == ""
	}
	return true // on its way
}

func sameItems(o *orderspb.Order, e Checkout) bool {
	quantities := make(map[string]int)
	for _, line := range o.GetLines() {
		quantities[line.GetProduct()] = int(line.GetQuantity())
	}
	for _, i := range e.Items {
		if quantities[i.Product] != i.Quantity {
			return false
		}
	}
	return len(quantities) == len(e.Items)
}

// compareCharges holds all charges against all orders: by order, and by customer, of whom each of ours orders once.
func (a *Audit) compareCharges(all []*orderspb.Order, charges []*paymentpb.Charge) {
	type books struct{ orders, charges, ordered, charged int64 }
	customers := make(map[string]*books)
	of := func(customer string) *books {
		if customers[customer] == nil {
			customers[customer] = new(books)
		}
		return customers[customer]
	}
	for _, o := range all {
		if s := o.GetStatus(); s == orderspb.Status_STATUS_CONFIRMED || s == orderspb.Status_STATUS_PAID || s == orderspb.Status_STATUS_PLACED {
			c := of(o.GetCustomer())
			c.orders++
			c.ordered += o.GetTotalMinor()
		}
	}
	for _, c := range charges {
		if s := c.GetState(); s == paymentpb.State_STATE_CAPTURED || s == paymentpb.State_STATE_SETTLED {
			b := of(c.GetCustomer())
			b.charges++
			b.charged += c.GetMinor()
		}
	}
	for name, c := range customers {
		if c.orders != c.charges || c.ordered != c.charged {
			a.Charges = append(a.Charges, fmt.Sprintf("%s has %d orders for %d and %d charges for %d", name, c.orders, c.ordered, c.charges, c.charged))
		}
	}
}

// compareStock holds the stock against reservations, and what is sold and set aside against orders: what was set aside for
// one that was cancelled is back.
func (a *Audit) compareStock(all []*orderspb.Order, stock *inventorypb.AuditResponse) {
	sold, onTheWay := make(map[string]int64), false
	for _, o := range all {
		switch o.GetStatus() {
		case orderspb.Status_STATUS_CONFIRMED:
			for _, line := range o.GetLines() {
				sold[line.GetProduct()] += int64(line.GetQuantity())
			}
		case orderspb.Status_STATUS_REJECTED:
		default:
			onTheWay = true
		}
	}
	for _, p := range stock.GetProducts() {
		if p.GetAvailable() < 0 || p.GetInitial() != p.GetAvailable()+p.GetReserved()+p.GetSold() || p.GetSold() != sold[p.GetProduct()] ||
			p.GetReserved() != 0 && !onTheWay {
			a.Stock = append(a.Stock, fmt.Sprintf("%s: %d at first, %d left, %d reserved, %d sold, %d in orders",
				p.GetProduct(), p.GetInitial(), p.GetAvailable(), p.GetReserved(), p.GetSold(), sold[p.GetProduct()]))
		}
	}
}
