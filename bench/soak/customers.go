package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/load"
)

// What customers do. Orders that are placed again, and carts, are of so many customers.
const (
	look = iota
	fill
	again
	order

	regulars = 200
)

const (
	product        = "stoneware-mug" // in carts, which take nothing from the shelf
	requestTimeout = 10 * time.Second
)

// customers make requests for as long as it lasts.
func customers(ctx context.Context, s settings, edge string) (load.Calls, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}, Timeout: requestTimeout}
	defer client.CloseIdleConnections()
	shelf, err := stock(ctx, client, edge)
	if err != nil {
		return nil, err
	}
	var usual [regulars]string // what each orders again and again
	for i := range usual {
		if usual[i], err = shelf.take(); err != nil {
			return nil, err
		}
	}
	var fresh atomic.Int64
	begun := time.Now().UnixNano()
	var r load.Recorder
	rest := s.rate - s.orders
	return r.Run(ctx, load.Config{
		For: s.length, Rate: load.Constant(s.rate), Seed: 1, Classes: []float64{0.6 * rest, 0.2 * rest, 0.2 * rest, s.orders},
		Do: func(ctx context.Context, class int) error {
			who := rand.IntN(regulars) //nolint:gosec // a customer
			switch class {
			case look:
				return ask(ctx, client, http.MethodGet, edge+"/api/products", "", "")
			case fill:
				return ask(ctx, client, http.MethodPut, fmt.Sprintf("%s/api/carts/soak-%d/items/%s", edge, who, product), "", `{"quantity":1}`)
			case again:
				err := place(ctx, client, edge, fmt.Sprintf("soak-%d-regular-%d", begun, who), usual[who])
				if status := answer(0); errors.As(err, &status) && status == http.StatusConflict {
					return nil // the same is being ordered at the moment
				}
				return err
			default:
				what, err := shelf.take()
				if err != nil {
					return err
				}
				return place(ctx, client, edge, fmt.Sprintf("soak-%d-new-%d", begun, fresh.Add(1)), what)
			}
		},
	}), nil
}

// place orders. Only an order that was taken is none that failed.
func place(ctx context.Context, client *http.Client, edge, key, what string) error {
	return ask(ctx, client, http.MethodPost, edge+"/api/orders", key, fmt.Sprintf(`{"customer":%q,"items":[{"product":%q,"quantity":1}]}`, key, what))
}

// errEmpty is a yes with nothing in it: a handler that gave up.
var errEmpty = errors.New("with nothing in it")

// answer is a status that is not what was asked for.
type answer int

func (a answer) Error() string { return fmt.Sprintf("%d %s", int(a), http.StatusText(int(a))) }

func ask(ctx context.Context, client *http.Client, method, url, key, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %w: %.300s", method, url, answer(resp.StatusCode), bytes.Join(bytes.Fields(said), []byte(" ")))
	}
	if len(said) == 0 && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s %s: %w %w", method, url, answer(resp.StatusCode), errEmpty)
	}
	return nil
}
