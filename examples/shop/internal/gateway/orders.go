package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

// Order is an order as its customer sees it.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	// Status is pending, reserved, paid, confirmed, undoing or rejected. From paid on the order stands.
	Status  string      `json:"status"`
	Reason  string      `json:"reason,omitempty"` // of a rejection
	Total   Money       `json:"total"`
	Items   []OrderItem `json:"items"`
	Created time.Time   `json:"created"`
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
	req := &orderspb.PlaceRequest{IdempotencyKey: c.GetHeader("Idempotency-Key"), Customer: body.Customer}
	for _, item := range body.Items {
		req.Items = append(req.Items, &orderspb.Item{Product: item.Product, Quantity: item.Quantity})
	}
	placed, err := s.Orders.Place(ctx, req)
	if err != nil {
		return err
	}
	c.Header("Location", "/api/orders/"+placed.GetOrder().GetId())
	c.JSON(http.StatusCreated, order(placed.GetOrder()))
	return nil
}

func (s Services) getOrder(ctx context.Context, c *gin.Context) error {
	found, err := s.Orders.Get(ctx, &orderspb.GetRequest{Id: c.Param("id")})
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, order(found.GetOrder()))
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
	list := OrderList{Orders: make([]Order, 0, len(found.GetOrders()))}
	for _, o := range found.GetOrders() {
		list.Orders = append(list.Orders, order(o))
	}
	c.JSON(http.StatusOK, list)
	return nil
}

func order(o *orderspb.Order) Order {
	out := Order{
		ID: o.GetId(), Customer: o.GetCustomer(), Reason: o.GetReason(),
		Status:  strings.ToLower(strings.TrimPrefix(o.GetStatus().String(), "STATUS_")),
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
