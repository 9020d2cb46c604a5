// Package shop is what all services of the shop agree on: how identifiers look, and the reasons in their errors.
package shop

import (
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Bounds of what a customer may ask for.
const (
	MaxItems    = 50 // different products in a cart or an order
	MaxQuantity = 99 // of one product
)

// CardThatFails is a card whose payments are captured and never settle, to see what becomes of an order then.
const CardThatFails = "card-without-money"

// Domain is the domain of the shop's reasons.
const Domain = "shop"

// Errors that services tell apart, also when they come from another process (errors.Is). Use With for a message
// that says more.
var (
	// ErrOutOfStock: a product has not enough left. Metadata: product, available.
	ErrOutOfStock = failed("OUT_OF_STOCK", "out of stock")
	// ErrReleased: the order's stock was given back, it cannot be taken for this order any more.
	ErrReleased = failed("RELEASED", "the reservation was released")
	// ErrCommitted: the goods are sold and cannot be given back.
	ErrCommitted = failed("COMMITTED", "the goods are sold")
	// ErrDeclined: the customer's bank refused, for good.
	ErrDeclined = failed("PAYMENT_DECLINED", "the payment was declined")
	// ErrPaymentFailed: the payment was captured and did not settle, for good.
	ErrPaymentFailed = failed("PAYMENT_FAILED", "the payment failed")
	// ErrVoided: the charge was taken back, it cannot be captured any more.
	ErrVoided = failed("VOIDED", "the charge was voided")
	// ErrKeyReused: the key stands for something else.
	ErrKeyReused = failed("KEY_REUSED", "the idempotency key was used for something else")
	// ErrGivenUp: the order was not finished in time and nobody asked for it again.
	ErrGivenUp = failed("GIVEN_UP", "the order took too long and was undone; please order again")
)

func failed(reason, message string) *failure.Error {
	return failure.New(failure.FailedPrecondition, "%s", message).WithReason(reason, Domain)
}

// NoProduct is the error for a product that does not exist or is not for sale.
func NoProduct(id string) *failure.Error {
	return failure.New(failure.NotFound, "there is no product %q", id).WithReason("NO_PRODUCT", Domain).WithMetadata("product", id)
}

// Busy is the error of a service that cannot do it now and may be able to, after the given time.
func Busy(retryAfter time.Duration, format string, args ...any) *failure.Error {
	return failure.New(failure.Unavailable, format, args...).WithRetryAfter(retryAfter)
}

// Check collects what is wrong with a request, so that the caller learns of everything at once. The zero value is
// ready to use.
type Check struct{ err *failure.Error }

// Err is nil if nothing was wrong, else failure.InvalidArgument with a violation for each field.
func (c *Check) Err() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// That reports format as wrong with field unless ok holds, and returns ok.
func (c *Check) That(ok bool, field, format string, args ...any) bool {
	if !ok {
		if c.err == nil {
			c.err = failure.New(failure.InvalidArgument, "the request is not valid")
		}
		c.err = c.err.WithViolation(field, format, args...)
	}
	return ok
}

// ID checks the form of a customer's name or the id of a product or an order: it becomes part of a key.
func (c *Check) ID(field, id string) bool {
	return c.That(isID(id), field, "must be 1 to %d letters, digits, or any of . _ @ -", maxID)
}

// Items checks the number of different products.
func (c *Check) Items(field string, n int) bool {
	return c.That(n >= 1 && n <= MaxItems, field, "must have 1 to %d items", MaxItems)
}

// ItemField names a field of an element, as in items[3].quantity.
func ItemField(list string, i int, field string) string {
	return fmt.Sprintf("%s[%d].%s", list, i, field)
}

const maxID = 64

func isID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == '@', c == '-':
		default:
			return false
		}
	}
	return true
}
