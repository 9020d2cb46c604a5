package gateway

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

// Money is an amount in the currency's smallest unit.
type Money struct {
	Currency string `json:"currency"`
	Minor    int64  `json:"minor"`
}

// Product is a product as customers see it.
type Product struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Category    string `json:"category"`
	Description string `json:"description"`
	Price       Money  `json:"price"`
	Picture     string `json:"picture"` // path
	// Stock is null if nobody can tell at the moment.
	Stock *int64 `json:"stock"`
}

// Category is a shelf of the shop.
type Category struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Products int32  `json:"products"`
}

// ProductList is a page of products.
type ProductList struct {
	Products   []Product  `json:"products"`
	Total      int32      `json:"total"` // of all pages
	Categories []Category `json:"categories"`
}

type productQuery struct {
	Query    string `form:"query"`
	Category string `form:"category"`
	Limit    *int32 `form:"limit"`
	Offset   int32  `form:"offset"`
}

func (s Services) listProducts(ctx context.Context, c *gin.Context) error {
	var q productQuery
	if err := ginrest.BindQuery(c, &q); err != nil {
		return err
	}
	req := &catalogpb.SearchRequest{Query: q.Query, Category: q.Category, Offset: q.Offset}
	if q.Limit != nil {
		var check shop.Check
		if !check.That(*q.Limit >= 1, "limit", "must be 1 to 100") { // 0 means the default to the catalogue
			return check.Err()
		}
		req.Limit = *q.Limit
	}
	found, err := s.Catalog.Search(ctx, req)
	if err != nil {
		return err
	}
	list := ProductList{
		Products:   s.withStock(ctx, found.GetProducts()),
		Total:      found.GetTotal(),
		Categories: make([]Category, 0, len(found.GetCategories())),
	}
	for _, cat := range found.GetCategories() {
		list.Categories = append(list.Categories, Category{cat.GetId(), cat.GetName(), cat.GetProducts()})
	}
	c.JSON(http.StatusOK, list)
	return nil
}

func (s Services) getProduct(ctx context.Context, c *gin.Context) error {
	id := c.Param("id")
	var check shop.Check
	if !check.ID("id", id) {
		return shop.NoProduct(id)
	}
	found, err := s.Catalog.Get(ctx, &catalogpb.GetRequest{Ids: []string{id}})
	if err != nil {
		return err
	}
	if len(found.GetProducts()) == 0 {
		return shop.NoProduct(id)
	}
	c.JSON(http.StatusOK, s.withStock(ctx, found.GetProducts())[0])
	return nil
}

// withStock adds to products how many there are. A page without stock is better than none, so a failure of the
// inventory ends here.
func (s Services) withStock(ctx context.Context, products []*catalogpb.Product) []Product {
	out := make([]Product, len(products))
	ids := make([]string, len(products))
	for i, p := range products {
		ids[i] = p.GetId()
		out[i] = Product{
			ID: p.GetId(), Name: p.GetName(), Category: p.GetCategory(), Description: p.GetDescription(),
			Price: money(p.GetPrice()), Picture: "/pictures/" + p.GetMotif() + "/" + p.GetId() + ".svg",
		}
	}
	if len(ids) == 0 {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, stockTimeout)
	defer cancel()
	stock, err := s.Inventory.GetStock(ctx, &inventorypb.GetStockRequest{Products: ids})
	if err != nil {
		return out
	}
	for i := range out {
		if n, ok := stock.GetAvailable()[out[i].ID]; ok {
			out[i].Stock = &n
		}
	}
	return out
}

func money(m *catalogpb.Money) Money { return Money{m.GetCurrency(), m.GetMinor()} }
