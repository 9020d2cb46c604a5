package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
)

const (
	repeatFor   = time.Minute
	repeatEvery = time.Second
	maxAnswer   = 1 << 20
)

// repeat repeats the checkouts that nobody knows the outcome of, as their customers would, until all are answered for good or a
// minute is over, and returns how many there were. What a customer is told to keep in mind is the key, which is his name.
func repeat(ctx context.Context, client *http.Client, edge string, c *audit.Customers, cards map[string]string) (open int) {
	ctx, cancel := context.WithTimeout(ctx, repeatFor)
	defer cancel()
	for i := range c.Checkouts {
		if !c.Checkouts[i].Final {
			open++
		}
	}
	for left := open; left > 0 && ctx.Err() == nil; {
		left = 0
		for i := range c.Checkouts {
			if x := &c.Checkouts[i]; !x.Final {
				if s, ok := place(ctx, client, edge, x, cards[x.Customer]); ok {
					note(x, s)
				} else {
					left++
				}
			}
		}
		if left > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(repeatEvery):
			}
		}
	}
	return open
}

// place makes a checkout once more, and reports whether that was an answer for good. That the first request is still under way
// (409 ABORTED) is none.
func place(ctx context.Context, client *http.Client, edge string, c *audit.Checkout, card string) (s load.Sample, ok bool) {
	body, err := json.Marshal(map[string]any{"customer": c.Customer, "card": card, "items": c.Items})
	if err != nil {
		return s, false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, edge+"/api/orders", bytes.NewReader(body))
	if err != nil {
		return s, false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", c.Customer)
	resp, err := client.Do(req)
	if err != nil {
		return s, false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return s, false
	}
	switch resp.StatusCode {
	case http.StatusCreated:
		var order struct{ ID string }
		if err := json.Unmarshal(answer, &order); err != nil || order.ID == "" {
			return s, false
		}
		return load.Sample{Outcome: load.OK, Kept: map[string]string{"order": order.ID}}, true
	case http.StatusConflict:
		return load.Sample{Outcome: load.Refused, Error: string(answer)}, forGood(string(answer))
	default:
		return s, false
	}
}
