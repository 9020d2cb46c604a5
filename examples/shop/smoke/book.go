package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"

	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
)

// book is what the customers know of their orders. Every checkout is by a customer of its own, so that an order too many
// shows, whatever it is called. Safe for concurrent use.
type book struct {
	prefix string // of all our customers' names

	mu      sync.Mutex
	entries map[string]*entry // by customer
	placed  []*entry          // acknowledged
	changed []string          // keys that were acknowledged as two orders
}

// entry is one checkout. Customer, Card and Items are its request's body and do not change; the rest belongs to the book.
type entry struct {
	Customer string       `json:"customer"`
	Card     string       `json:"card,omitempty"`
	Items    []audit.Item `json:"items"`

	key   string
	order string // as acknowledged
	final bool   // acknowledged or refused
	// failed says that it was refused because the payment has failed before the order was acknowledged.
	failed bool
}

func (b *book) open() *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := fmt.Sprintf("%s%d", b.prefix, len(b.entries))
	e := &entry{Customer: name, key: name}
	b.entries[name] = e
	return e
}

// answered notes the answer to a checkout.
func (b *book) answered(e *entry, status int, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch status {
	case http.StatusCreated:
		var o struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(body, &o); err != nil || o.ID == "" {
			return
		}
		if e.order != "" && e.order != o.ID {
			b.changed = append(b.changed, e.key)
		}
		if e.order == "" {
			b.placed = append(b.placed, e)
		}
		e.order, e.final = o.ID, true
	case http.StatusConflict:
		e.final, e.failed = true, contains(string(body), paymentFailed)
	}
}

// some returns an acknowledged order, or nil. Only its fields that do not change after that may be read.
func (b *book) some(random *rand.Rand) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.placed) == 0 {
		return nil
	}
	e := *b.placed[random.IntN(len(b.placed))]
	return &e
}

func (b *book) unanswered() []*entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*entry
	for _, e := range b.entries {
		if !e.final {
			out = append(out, e)
		}
	}
	return out
}

// customers returns what the audit holds the shop's books against.
func (b *book) customers() audit.Customers {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := audit.Customers{Prefix: b.prefix, Changed: slices.Clone(b.changed)}
	for _, e := range b.entries {
		out.Checkouts = append(out.Checkouts, audit.Checkout{
			Customer: e.Customer, Card: e.Card, Items: e.Items, Order: e.order, Final: e.final, Failed: e.failed,
		})
	}
	return out
}
