package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

var errSoldOut = errors.New("nothing is left to sell")

// shelf is what the shop has, so that no order is for what is sold out: a refusal is not the whole way of an order.
type shelf struct {
	mu   sync.Mutex
	left map[string]int64
}

// stock asks the shop what it has.
func stock(ctx context.Context, client *http.Client, edge string) (*shelf, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, edge+"/api/products?limit=100", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("stock: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("stock: %w", err)
	}
	defer resp.Body.Close()
	var list struct {
		Products []struct {
			ID    string `json:"id"`
			Stock *int64 `json:"stock"`
		} `json:"products"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&list); err != nil {
		return nil, fmt.Errorf("stock: %s: %w", resp.Status, err)
	}
	s := &shelf{left: make(map[string]int64)}
	for _, p := range list.Products {
		if p.Stock != nil && *p.Stock > 0 {
			s.left[p.ID] = *p.Stock
		}
	}
	if len(s.left) == 0 {
		return nil, fmt.Errorf("stock: %s: %w", resp.Status, errSoldOut)
	}
	return s, nil
}

// take returns the product of which there is most, and counts it as sold.
func (s *shelf) take() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := ""
	for id, n := range s.left {
		if n > 0 && (most == "" || n > s.left[most] || n == s.left[most] && id < most) {
			most = id
		}
	}
	if most == "" {
		return "", errSoldOut
	}
	s.left[most]--
	return most, nil
}
