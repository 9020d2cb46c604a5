package catalog

import (
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/rest/echorest"
)

const (
	maxNameBytes = 100
	maxPrice     = 100_000_00
)

// NewAdmin returns the service's REST API for the people who run the shop:
//
//	GET    /admin/products            what is for sale
//	PUT    /admin/products/{id}       {"name", "price", "hidden"}, each optional: what differs from the data file
//	DELETE /admin/products/{id}       back to the data file
//
// Changes reach all instances by the store, within moments. The API is not behind the edge.
func NewAdmin(shelf *Shelf) http.Handler {
	e := echorest.New()
	e.GET("/admin/products", func(c *echo.Context) error {
		return c.JSON(http.StatusOK, map[string]any{"products": shelf.Products()})
	})
	e.PUT("/admin/products/:id", func(c *echo.Context) error {
		var change Change
		if err := c.Bind(&change); err != nil {
			return err
		}
		if err := change.check(); err != nil {
			return err
		}
		if err := shelf.Change(c.Request().Context(), c.Param("id"), change); err != nil {
			return err
		}
		return c.JSON(http.StatusOK, change)
	})
	e.DELETE("/admin/products/:id", func(c *echo.Context) error {
		if err := shelf.Change(c.Request().Context(), c.Param("id"), Change{}); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	return e
}

func (c Change) check() error {
	var check shop.Check
	check.That(len(c.Name) <= maxNameBytes, "name", "must have at most %d bytes", maxNameBytes)
	check.That(c.Price >= 0 && c.Price <= maxPrice, "price", "must be 1 to %d, or 0 to leave it", maxPrice)
	return check.Err()
}
