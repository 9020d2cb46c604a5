package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

// Order is an order as its customer sees it.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	// Status is pending (being placed), placed (waits for the payment), paid, shipped or cancelled.
	Status  string      `json:"status"`
	Reason  string      `json:"reason,omitempty"` // of a cancellation
	Parcel  *Parcel     `json:"parcel,omitempty"` // of a shipped one
	Total   Money       `json:"total"`
	Items   []OrderItem `json:"items"`
	Created time.Time   `json:"created"`
}

// Parcel is what an order was shipped with.
type Parcel struct {
	Label   string    `json:"label"`
	Shipped time.Time `json:"shipped"`
}

// OrderItem is one line of an order.
type OrderItem struct {
	Product  string `json:"product"`
	Name     string `json:"name"`
	Quantity int32  `json:"quantity"`
	Price    Money  `json:"price"` // of one
}

// OrderList is a customer's orders, the newest first.
type OrderList struct {
	Orders []Order `json:"orders"`
}

type orderBody struct {
	Customer string      `json:"customer"`
	Card     string      `json:"card"` // may be left out
	Items    []orderItem `json:"items"`
}

type orderItem struct {
	Product  string `json:"product"`
	Quantity int32  `json:"quantity"`
}

func (s Services) placeOrder(ctx context.Context, c *gin.Context) error {
	var body orderBody
	if err := ginrest.Bind(c, &body); err != nil {
		return err
	}
	// What the fields may be is for orders to say: its errors name them as they are called here.
	req := &orderspb.PlaceRequest{IdempotencyKey: c.GetHeader("Idempotency-Key"), Customer: body.Customer, Card: body.Card}
	for _, item := range body.Items {
		req.Items = append(req.Items, &orderspb.Item{Product: item.Product, Quantity: item.Quantity})
	}
	placed, err := s.Orders.Place(ctx, req)
	if err != nil {
		return err
	}
	c.Header("Location", "/api/orders/"+placed.GetOrder().GetId())
	c.JSON(http.StatusCreated, s.asShipped(ctx, placed.GetOrder())[0])
	return nil
}

func (s Services) getOrder(ctx context.Context, c *gin.Context) error {
	found, err := s.Orders.Get(ctx, &orderspb.GetRequest{Id: c.Param("id")})
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, s.asShipped(ctx, found.GetOrder())[0])
	return nil
}

func (s Services) listOrders(ctx context.Context, c *gin.Context) error {
	customer := c.Query("customer")
	var check shop.Check
	if !check.ID("customer", customer) {
		return check.Err()
	}
	found, err := s.Orders.List(ctx, &orderspb.ListRequest{Customer: customer})
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, OrderList{Orders: s.asShipped(ctx, found.GetOrders()...)})
	return nil
}

// asShipped returns orders with their parcels, which orders knows nothing of. An order that is paid and whose parcel cannot
// be asked for is shown as paid: shipping may be away, and nobody has to wait for it.
func (s Services) asShipped(ctx context.Context, in ...*orderspb.Order) []Order {
	out := make([]Order, len(in))
	at := make(map[string]int)
	req := new(shippingpb.GetRequest)
	for i, o := range in {
		out[i] = order(o)
		if out[i].Status == statusPaid {
			at[o.GetId()] = i
			req.Orders = append(req.Orders, o.GetId())
		}
	}
	if len(req.GetOrders()) == 0 {
		return out
	}
	ctx, cancel := context.WithTimeout(resilience.WithCriticality(ctx, resilience.SheddablePlus), shippingTimeout)
	defer cancel()
	found, err := s.Shipping.Get(ctx, req)
	if err != nil {
		s.Log.WarnContext(ctx, "orders without their parcels", "error", err)
		return out
	}
	for _, p := range found.GetParcels() {
		if i, ok := at[p.GetOrder()]; ok {
			out[i].Status = statusShipped
			out[i].Parcel = &Parcel{p.GetLabel(), time.UnixMilli(p.GetShippedUnixMs()).UTC()}
		}
	}
	return out
}

// What a customer sees of an order's way.
const (
	statusPending   = "pending"
	statusPlaced    = "placed"
	statusPaid      = "paid"
	statusShipped   = "shipped"
	statusCancelled = "cancelled"
)

func status(s orderspb.Status) string {
	switch s {
	case orderspb.Status_STATUS_PLACED:
		return statusPlaced
	case orderspb.Status_STATUS_PAID, orderspb.Status_STATUS_CONFIRMED:
		return statusPaid
	case orderspb.Status_STATUS_UNDOING, orderspb.Status_STATUS_REJECTED:
		return statusCancelled
	case orderspb.Status_STATUS_UNSPECIFIED, orderspb.Status_STATUS_PENDING, orderspb.Status_STATUS_RESERVED:
	}
	return statusPending
}

func order(o *orderspb.Order) Order {
	out := Order{
		ID: o.GetId(), Customer: o.GetCustomer(), Reason: o.GetReason(),
		Status:  status(o.GetStatus()),
		Total:   Money{o.GetCurrency(), o.GetTotalMinor()},
		Items:   make([]OrderItem, len(o.GetLines())),
		Created: time.UnixMilli(o.GetCreatedUnixMs()).UTC(),
	}
	for i, line := range o.GetLines() {
		out.Items[i] = OrderItem{
			line.GetProduct(), line.GetName(), line.GetQuantity(),
			Money{o.GetCurrency(), line.GetPriceMinor()},
		}
	}
	return out
}
