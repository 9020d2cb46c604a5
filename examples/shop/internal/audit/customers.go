package audit

// Customers are what customers know of their orders. Each orders once, so that an order too many shows, whatever it is called.
type Customers struct {
	Prefix    string // of all their names, and of nobody else's
	Checkouts []Checkout
	Changed   []string // keys that were acknowledged as two orders
	// Only says that what others have ordered is left alone, and the totals with it if there are any: a drill before this one
	// may have deleted the messages that were on their way.
	Only bool
	// PaymentsFail says that any payment may have failed: the provider was told to.
	PaymentsFail bool
}

// Checkout is what one customer knows.
type Checkout struct {
	Customer string
	Card     string
	Items    []Item

	Order string // as acknowledged; "" if it was not
	Final bool   // acknowledged or refused: without it, there may be an order or not
	// Failed says that it was refused because the payment has failed before the order was acknowledged.
	Failed bool
}

// Item is one line of an order.
type Item struct {
	Product  string `json:"product"`
	Quantity int    `json:"quantity"`
}
