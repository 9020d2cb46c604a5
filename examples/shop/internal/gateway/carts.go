package gateway

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

// Cart is a customer's cart at the prices of this moment.
type Cart struct {
	Customer string     `json:"customer"`
	Items    []CartItem `json:"items"`
	Total    Money      `json:"total"`
}

// CartItem is one line of a cart.
type CartItem struct {
	Product  string `json:"product"`
	Name     string `json:"name"`
	Picture  string `json:"picture"`
	Price    Money  `json:"price"` // of one
	Quantity int32  `json:"quantity"`
	// Available is false for a product that is not for sale any more. It has no price and counts nothing.
	Available bool `json:"available"`
}

func (s Services) getCart(ctx context.Context, c *gin.Context) error {
	customer := c.Param("customer")
	cart, err := s.Cart.Get(ctx, &cartpb.GetRequest{Customer: customer})
	if err != nil {
		return err
	}
	return s.answerCart(ctx, c, customer, cart.GetItems())
}

type quantityBody struct {
	Quantity *int32 `json:"quantity" binding:"required"`
}

func (s Services) setItem(ctx context.Context, c *gin.Context) error {
	var body quantityBody
	if err := ginrest.Bind(c, &body); err != nil {
		return err
	}
	customer, product := c.Param("customer"), c.Param("product")
	if *body.Quantity > 0 { // taking out is always possible
		var check shop.Check
		if !check.ID("product", product) {
			return check.Err()
		}
		found, err := s.Catalog.Get(ctx, &catalogpb.GetRequest{Ids: []string{product}})
		if err != nil {
			return err
		}
		if len(found.GetProducts()) == 0 {
			return shop.NoProduct(product)
		}
	}
	cart, err := s.Cart.SetItem(ctx, &cartpb.SetItemRequest{Customer: customer, Product: product, Quantity: *body.Quantity})
	if err != nil {
		return err
	}
	return s.answerCart(ctx, c, customer, cart.GetItems())
}

func (s Services) clearCart(ctx context.Context, c *gin.Context) error {
	if _, err := s.Cart.Clear(ctx, &cartpb.ClearRequest{Customer: c.Param("customer")}); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

func (s Services) answerCart(ctx context.Context, c *gin.Context, customer string, items []*cartpb.Item) error {
	cart := Cart{Customer: customer, Items: make([]CartItem, len(items))}
	products := make(map[string]*catalogpb.Product, len(items))
	if len(items) > 0 {
		ids := make([]string, len(items))
		for i, item := range items {
			ids[i] = item.GetProduct()
		}
		found, err := s.Catalog.Get(ctx, &catalogpb.GetRequest{Ids: ids})
		if err != nil {
			return err
		}
		for _, p := range found.GetProducts() {
			products[p.GetId()] = p
		}
	}
	for i, item := range items {
		p, ok := products[item.GetProduct()]
		cart.Items[i] = CartItem{Product: item.GetProduct(), Name: item.GetProduct(), Quantity: item.GetQuantity(), Available: ok}
		if !ok {
			continue
		}
		cart.Items[i].Name, cart.Items[i].Price = p.GetName(), money(p.GetPrice())
		cart.Items[i].Picture = "/pictures/" + p.GetMotif() + "/" + p.GetId() + ".svg"
		cart.Total.Currency = p.GetPrice().GetCurrency()
		cart.Total.Minor += p.GetPrice().GetMinor() * int64(item.GetQuantity())
	}
	c.JSON(http.StatusOK, cart)
	return nil
}
