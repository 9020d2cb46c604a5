package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
)

// audit is the shop's books against those of its customers. Each list has a line for each thing that is wrong.
type audit struct {
	checkouts, acknowledged, refused, open int

	unanswered []string // repeated for a minute and still without an answer
	missing    []string // acknowledged, and not a confirmed order
	doubled    []string // more than one order of one checkout
	charges    []string // charged twice, for nothing, not at all, or another amount
	stock      []string // initial is not available + reserved + sold, or sold is not what orders say
	unfinished []string // orders that are still on their way
}

// auditBooks asks the services themselves, by the registry, as any service would.
func auditBooks(ctx context.Context, registry string, b *book) (*audit, error) {
	svc := holdfast.New("smoke", func(c *holdfast.Config) {
		c.Settings.Registry = registry
		c.RPCClient.Policy.Timeout = 20 * time.Second
	})
	defer svc.Close() //nolint:errcheck // its connections have said what there was to say
	books := books{
		orders:    orderspb.NewOrdersClient(svc.Dial("orders")),
		payment:   paymentpb.NewPaymentClient(svc.Dial("payment")),
		inventory: inventorypb.NewInventoryClient(svc.Dial("inventory")),
	}
	// What was promised may be on its last step still.
	const settle = 30 * time.Second
	for deadline := time.Now().Add(settle); ; {
		a, err := books.compare(ctx, b)
		if err != nil {
			return nil, err
		}
		if len(a.unfinished) == 0 || time.Now().After(deadline) || !sleep(ctx, time.Second) {
			return a, nil
		}
	}
}

type books struct {
	orders    orderspb.OrdersClient
	payment   paymentpb.PaymentClient
	inventory inventorypb.InventoryClient
}

func (s books) compare(ctx context.Context, b *book) (*audit, error) {
	all, err := s.allOrders(ctx)
	if err != nil {
		return nil, err
	}
	charges, err := s.allCharges(ctx)
	if err != nil {
		return nil, err
	}
	stock, err := s.inventory.Audit(ctx, &inventorypb.AuditRequest{})
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	a := new(audit)
	a.compareOrders(all, b)
	a.compareCharges(all, charges)
	a.compareStock(all, stock)
	return a, nil
}

func (s books) allOrders(ctx context.Context) ([]*orderspb.Order, error) {
	var all []*orderspb.Order
	for req := new(orderspb.AuditRequest); ; {
		page, err := s.orders.Audit(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("orders: %w", err)
		}
		if len(page.GetOrders()) == 0 {
			return all, nil
		}
		all = append(all, page.GetOrders()...)
		req.After = all[len(all)-1].GetId()
	}
}

func (s books) allCharges(ctx context.Context) ([]*paymentpb.Charge, error) {
	var all []*paymentpb.Charge
	for req := new(paymentpb.AuditRequest); ; {
		page, err := s.payment.Audit(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("payment: %w", err)
		}
		if len(page.GetCharges()) == 0 {
			return all, nil
		}
		all = append(all, page.GetCharges()...)
		req.After = all[len(all)-1].GetKey()
	}
}

// compareOrders holds the orders of our customers against what they know of them.
func (a *audit) compareOrders(all []*orderspb.Order, b *book) {
	b.mu.Lock()
	defer b.mu.Unlock()
	byID, stands := make(map[string]*orderspb.Order), make(map[string]int)
	for _, o := range all {
		if !strings.HasPrefix(o.GetCustomer(), b.prefix) {
			continue
		}
		byID[o.GetId()] = o
		switch o.GetStatus() {
		case orderspb.Status_STATUS_CONFIRMED:
			stands[o.GetCustomer()]++
		case orderspb.Status_STATUS_REJECTED:
		default:
			a.unfinished = append(a.unfinished, fmt.Sprintf("%s of %s is %s", o.GetId(), o.GetCustomer(), o.GetStatus()))
		}
	}
	for name, e := range b.entries {
		a.checkouts++
		o := byID[e.order]
		switch {
		case e.order == "" && e.final:
			a.refused++
			if stands[name] > 0 {
				a.doubled = append(a.doubled, fmt.Sprintf("%s was refused and has %d orders", name, stands[name]))
			}
		case e.order == "":
			a.open++
			a.unanswered = append(a.unanswered, fmt.Sprintf("%s never got an answer", name))
		default:
			a.acknowledged++
			if o == nil || o.GetStatus() == orderspb.Status_STATUS_REJECTED || !sameItems(o, e) {
				a.missing = append(a.missing, fmt.Sprintf("%s was promised %s: it is %v", name, e.order, o))
			}
		}
		if stands[name] > 1 {
			a.doubled = append(a.doubled, fmt.Sprintf("%s has %d orders", name, stands[name]))
		}
	}
	for _, key := range b.changed {
		a.doubled = append(a.doubled, fmt.Sprintf("key %s was acknowledged as two orders", key))
	}
}

func sameItems(o *orderspb.Order, e *entry) bool {
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
func (a *audit) compareCharges(all []*orderspb.Order, charges []*paymentpb.Charge) {
	type books struct{ orders, charges, ordered, charged int64 }
	customers := make(map[string]*books)
	of := func(customer string) *books {
		if customers[customer] == nil {
			customers[customer] = new(books)
		}
		return customers[customer]
	}
	for _, o := range all {
		if s := o.GetStatus(); s == orderspb.Status_STATUS_CONFIRMED || s == orderspb.Status_STATUS_PAID {
			c := of(o.GetCustomer())
			c.orders++
			c.ordered += o.GetTotalMinor()
		}
	}
	for _, c := range charges {
		if c.GetState() == paymentpb.State_STATE_CAPTURED {
			b := of(c.GetCustomer())
			b.charges++
			b.charged += c.GetMinor()
		}
	}
	for name, c := range customers {
		if c.orders != c.charges || c.ordered != c.charged {
			a.charges = append(a.charges, fmt.Sprintf("%s has %d orders for %d and %d charges for %d", name, c.orders, c.ordered, c.charges, c.charged))
		}
	}
}

// compareStock holds the stock against reservations, and what is sold against orders.
func (a *audit) compareStock(all []*orderspb.Order, stock *inventorypb.AuditResponse) {
	sold := make(map[string]int64)
	for _, o := range all {
		if o.GetStatus() == orderspb.Status_STATUS_CONFIRMED {
			for _, line := range o.GetLines() {
				sold[line.GetProduct()] += int64(line.GetQuantity())
			}
		}
	}
	for _, p := range stock.GetProducts() {
		if p.GetAvailable() < 0 || p.GetInitial() != p.GetAvailable()+p.GetReserved()+p.GetSold() || p.GetSold() != sold[p.GetProduct()] {
			a.stock = append(a.stock, fmt.Sprintf("%s: %d at first, %d left, %d reserved, %d sold, %d in orders",
				p.GetProduct(), p.GetInitial(), p.GetAvailable(), p.GetReserved(), p.GetSold(), sold[p.GetProduct()]))
		}
	}
}
