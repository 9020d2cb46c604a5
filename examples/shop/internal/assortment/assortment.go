// Package assortment is the data file of the shop: its products, with their prices and the stock it opened with. It is
// compiled in, so that a service knows it before it has talked to anybody.
package assortment

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed products.json
var file []byte

// Assortment is what the shop sells.
type Assortment struct {
	Currency   string     `json:"currency"` // ISO 4217, of all prices
	Categories []Category `json:"categories"`
	Products   []Product  `json:"products"`
}

// Category is a shelf of the shop.
type Category struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Product is one thing for sale.
type Product struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Category    string `json:"category"` // a Category's ID
	Motif       string `json:"motif"`    // what its picture shows
	Price       int64  `json:"price"`    // in the currency's smallest unit
	Stock       int64  `json:"stock"`    // when the shop opened
	Description string `json:"description"`
}

// Load reads the data file. The caller owns what it returns.
func Load() (*Assortment, error) {
	var a Assortment
	if err := json.Unmarshal(file, &a); err != nil {
		return nil, fmt.Errorf("assortment: %w", err)
	}
	return &a, nil
}
