// Package gateway is the shop's face: a JSON API and the storefront page, on Gin. It keeps nothing itself.
//
//	GET    /api/products?query=&category=&limit=&offset=
//	GET    /api/products/{id}
//	GET    /api/carts/{customer}
//	PUT    /api/carts/{customer}/items/{product}   {"quantity"}
//	DELETE /api/carts/{customer}
//	POST   /api/orders                             Idempotency-Key; {"customer", "card", "items": [{"product", "quantity"}]}
//	GET    /api/orders/{id}
//	GET    /api/orders?customer=
//
// Errors are problem+json. Whatever can be had by asking again, with the same key where there is one, is a 503 with a
// Retry-After.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

// How long a customer waits. The calls below end by then; what they leave open is safe to repeat.
const (
	browseTimeout   = 3 * time.Second
	stockTimeout    = 1500 * time.Millisecond // then the page goes out without
	shippingTimeout = 700 * time.Millisecond  // then the order goes out as paid
	cartTimeout     = 3 * time.Second
	checkoutTimeout = 4 * time.Second
	retryAfter      = 2 * time.Second
)

// Services are those behind the gateway.
type Services struct {
	Catalog   catalogpb.CatalogClient
	Cart      cartpb.CartClient
	Inventory inventorypb.InventoryClient
	Orders    orderspb.OrdersClient
	Shipping  shippingpb.ShippingClient
	// Log is told why a customer was asked to come back: the answer does not say.
	Log *slog.Logger
}

// New returns the gateway's handler.
func New(s Services) (http.Handler, error) {
	pictures, err := loadPictures()
	if err != nil {
		return nil, err
	}
	page, err := loadPage()
	if err != nil {
		return nil, err
	}
	engine := ginrest.New()
	engine.Use(securityHeaders)
	api := engine.Group("/api", func(c *gin.Context) { c.Header("Cache-Control", "no-store") })
	api.GET("/products", s.within(browseTimeout, browsing(s.listProducts)))
	api.GET("/products/:id", s.within(browseTimeout, browsing(s.getProduct)))
	api.GET("/carts/:customer", s.within(cartTimeout, s.getCart))
	api.PUT("/carts/:customer/items/:product", s.within(cartTimeout, s.setItem))
	api.DELETE("/carts/:customer", s.within(cartTimeout, s.clearCart))
	api.POST("/orders", s.within(checkoutTimeout, s.placeOrder))
	api.GET("/orders", s.within(cartTimeout, s.listOrders))
	api.GET("/orders/:id", s.within(cartTimeout, s.getOrder))
	engine.GET("/pictures/:motif/:file", ginrest.Handle(pictures.serve))
	page.routes(engine)
	return engine, nil
}

// browsing makes way for checkouts: when a service behind has not enough for all, it sheds first what is only looked at. It
// is the one level that the shop declares. Everything else stays at the default, which is also the highest that the
// edge lets a request claim; what a request is marked with goes along with all calls made for it.
func browsing(h func(context.Context, *gin.Context) error) func(context.Context, *gin.Context) error {
	return func(ctx context.Context, c *gin.Context) error {
		return h(resilience.WithCriticality(ctx, resilience.SheddablePlus), c)
	}
}

// within makes a handler of h: with a deadline, and with an error that says what the customer can do.
func (s Services) within(limit time.Duration, h func(ctx context.Context, c *gin.Context) error) gin.HandlerFunc {
	return ginrest.Handle(func(c *gin.Context) error {
		ctx, cancel := context.WithTimeout(c.Request.Context(), limit)
		defer cancel()
		err := readable(c.Request)
		if err == nil {
			err = h(ctx, c)
		}
		later := askAgain(err)
		if later != err { //nolint:errorlint // the question is whether it is the same, not what it is
			s.Log.WarnContext(ctx, "asked to come back", "method", c.Request.Method, "path", c.FullPath(), "error", err)
		}
		return later
	})
}

// readable refuses what the services cannot be asked with: their messages carry text as UTF-8, and nothing else.
func readable(r *http.Request) error {
	query, err := url.QueryUnescape(r.URL.RawQuery)
	if err != nil || !utf8.ValidString(query) || !utf8.ValidString(r.URL.Path) {
		return failure.New(failure.InvalidArgument, "the address is not valid: it has to be UTF-8, percent-encoded")
	}
	var check shop.Check
	check.That(utf8.ValidString(r.Header.Get("Idempotency-Key")), "Idempotency-Key", "must be ASCII")
	return check.Err()
}

// askAgain turns what is only late, away or busy into failure.Unavailable with a time to ask again after. It may: no call of
// this API does anything twice when it is repeated.
func askAgain(err error) error {
	switch failure.CodeOf(err) {
	case failure.Unavailable, failure.DeadlineExceeded:
	case failure.ResourceExhausted:
		if !busy(err) { // a cart that is full stays full
			return err
		}
	default:
		return err
	}
	wait := max(retryAfter, failure.From(err).RetryAfter)
	return failure.Wrap(err, failure.Unavailable, "this is not possible at the moment; please try again").WithRetryAfter(wait)
}

// busy reports whether err says that a service had too much to do: the one that was called, or one behind it.
func busy(err error) bool {
	var e *failure.Error
	return errors.As(err, &e) && (e.Shed() || e.Local() || e.RetryAfter > 0)
}

func securityHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
}
