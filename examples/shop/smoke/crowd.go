package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
)

// crowd is the customers: so many requests a second, whether or not those before were answered (an open loop: a slow
// shop does not get fewer requests, and the waiting shows).
type crowd struct {
	*customer
	cfg      config
	book     *book
	mu       sync.Mutex // of random
	random   *rand.Rand
	products []product
}

type product struct {
	ID      string `json:"id"`
	Picture string `json:"picture"`
	Stock   *int64 `json:"stock"`
}

// maxAtOnce bounds requests under way. It is 20 s of them at the usual rate: a shop that slow has failed anyway.
const maxAtOnce = 2000

func newCrowd(ctx context.Context, cfg config, r *record) (*crowd, error) {
	c := &crowd{
		customer: newCustomer(cfg.edge, r), cfg: cfg,
		book:   &book{entries: make(map[string]*entry), prefix: fmt.Sprintf("smoke-%d-", cfg.seed)},
		random: rand.New(rand.NewPCG(cfg.seed, 0)),
	}
	r.enter("opening")
	answer, status := c.ask(ctx, browse, http.MethodGet, "/api/products?limit=100", "", nil)
	var list struct {
		Products []product `json:"products"`
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("the shop at %s answers with %d: %s", cfg.edge, status, answer)
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("products: %w", err)
	}
	for _, p := range list.Products {
		if p.Stock == nil || *p.Stock > 100 { // enough for all of us
			c.products = append(c.products, p)
		}
	}
	if len(c.products) < 5 {
		return nil, fmt.Errorf("only %d products have enough stock for this", len(c.products))
	}
	return c, nil
}

// run sends requests until ctx ends, and waits for their answers.
func (c *crowd) run(ctx context.Context) {
	// Requests under way at the end are answered: that they were begun is enough for them to count.
	answers, cancel := context.WithTimeout(context.WithoutCancel(ctx), 24*time.Hour)
	defer cancel()
	var under sync.WaitGroup
	slots := make(chan struct{}, maxAtOnce)
	// Each has its time, and none is left out: one that is due already because the machine was busy goes at once.
	for due := time.Now(); ; due = due.Add(time.Second / time.Duration(c.cfg.rate)) {
		if !sleep(ctx, time.Until(due)) {
			under.Wait()
			return
		}
		visit := c.draw()
		slots <- struct{}{}
		under.Go(func() {
			defer func() { <-slots }()
			visit(answers)
		})
	}
}

// draw decides on the next request.
func (c *crowd) draw() func(context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.products[c.random.IntN(len(c.products))]
	look := func(path string) func(context.Context) {
		return func(ctx context.Context) { c.ask(ctx, browse, http.MethodGet, path, "", nil) }
	}
	switch n := c.random.IntN(100); {
	case n < 30:
		return look(fmt.Sprintf("/api/products?limit=24&offset=%d", 24*c.random.IntN(3)))
	case n < 42:
		words := [...]string{"mug", "tea", "linen", "wool", "lamp", "salt", "storm", "plant"}
		return look("/api/products?query=" + words[c.random.IntN(len(words))])
	case n < 66:
		return look("/api/products/" + url.PathEscape(p.ID))
	case n < 72:
		return look("/")
	case n < 78:
		return look(p.Picture)
	case n < 84:
		who, quantity := c.random.IntN(200), c.random.IntN(4)
		return func(ctx context.Context) {
			c.ask(ctx, cart, http.MethodPut, fmt.Sprintf("/api/carts/%svisitor-%d/items/%s", c.book.prefix, who, p.ID), "", map[string]int{"quantity": quantity})
		}
	case n < 87:
		who := c.random.IntN(200)
		return func(ctx context.Context) {
			c.ask(ctx, cart, http.MethodGet, fmt.Sprintf("/api/carts/%svisitor-%d", c.book.prefix, who), "", nil)
		}
	case n < 90:
		return c.lookUp()
	default:
		return c.checkout()
	}
}

// lookUp reads an order that was placed, or the list of one customer's.
func (c *crowd) lookUp() func(context.Context) {
	e := c.book.some(c.random)
	if e == nil {
		return func(ctx context.Context) { c.ask(ctx, orders, http.MethodGet, "/api/orders?customer=nobody", "", nil) }
	}
	if c.random.IntN(2) == 0 {
		return func(ctx context.Context) {
			c.ask(ctx, orders, http.MethodGet, "/api/orders?customer="+e.Customer, "", nil)
		}
	}
	return func(ctx context.Context) { c.ask(ctx, orders, http.MethodGet, "/api/orders/"+e.order, "", nil) }
}

// checkout is a new order. Some customers click twice, some click again later, and some have a card whose payment fails
// after the order was placed.
func (c *crowd) checkout() func(context.Context) {
	e := c.book.open()
	if c.random.IntN(12) == 0 {
		e.Card = shop.CardThatFails
	}
	for _, i := range c.random.Perm(len(c.products))[:1+c.random.IntN(3)] {
		e.Items = append(e.Items, audit.Item{Product: c.products[i].ID, Quantity: 1 + c.random.IntN(2)})
	}
	twice, again := c.random.IntN(10) == 0, c.random.IntN(10) == 0
	pause := time.Duration(c.random.IntN(3000)) * time.Millisecond
	return func(ctx context.Context) {
		var second sync.WaitGroup
		if twice {
			second.Go(func() { c.place(ctx, repeat, e) })
		}
		c.place(ctx, checkout, e)
		second.Wait()
		if again && sleep(ctx, pause) {
			c.place(ctx, repeat, e)
		}
	}
}

func (c *crowd) place(ctx context.Context, k kind, e *entry) {
	answer, status := c.ask(ctx, k, http.MethodPost, "/api/orders", e.key, e)
	c.book.answered(e, status, answer)
}

// repeatOpen repeats the checkouts that nobody knows the outcome of, as their customers would, until all are answered for
// good or limit is over.
func (c *crowd) repeatOpen(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		open := c.book.unanswered()
		if len(open) == 0 {
			return
		}
		for _, e := range open {
			c.place(ctx, repeat, e)
		}
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
