package replica_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"sync"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// Stock is a State: how many there are of each product.
type Stock struct {
	mu    sync.RWMutex
	units map[string]int
}

// Take is the command: so many of a product, less than 0 to bring some.
type Take struct {
	Product string
	Units   int
}

var errOutOfStock = failure.New(failure.FailedPrecondition, "out of stock").WithReason("OUT_OF_STOCK", "shop")

// Apply takes, or answers with an error that every member gives alike, and returns how many are left.
func (s *Stock) Apply(_ replica.At, t Take) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.units[t.Product] - t.Units
	if left < 0 {
		return 0, errOutOfStock
	}
	s.units[t.Product] = left
	return left, nil
}

type stockSnapshot map[string]int

// Snapshot copies, since there is little.
func (s *Stock) Snapshot() (replica.Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return stockSnapshot(maps.Clone(s.units)), nil
}

// Write writes the copy while the state goes on.
func (s stockSnapshot) Write(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

// Release has nothing to release.
func (s stockSnapshot) Release() {}

// Restore reads what Write wrote.
func (s *Stock) Restore(r io.Reader) error {
	units := make(map[string]int)
	if err := json.NewDecoder(r).Decode(&units); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units = units
	return nil
}

// One process alone; three of them differ in Members, Peers and where they run.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	host, err := replica.NewHost(replica.Config{Name: "stock-1", Dir: dir, Members: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	stock, err := replica.NewTyped[*Stock, Take, int](host, "stock", &Stock{units: make(map[string]int)}, replica.GroupConfig{})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- host.Run(ctx) }()

	left, err := stock.Propose(ctx, Take{"teapot", -3})
	fmt.Println(left, err)
	for range 2 { // the same order twice, as after a lost answer
		left, err = stock.Propose(ctx, Take{"teapot", 2}, replica.Once("order 7"))
		fmt.Println(left, err)
	}
	_, err = stock.Propose(ctx, Take{"teapot", 2})
	fmt.Println(err)
	err = stock.Read(ctx, replica.Linearizable, func(s *Stock) error {
		s.mu.RLock()
		defer s.mu.RUnlock()
		fmt.Println(s.units["teapot"])
		return nil
	})
	fmt.Println(err)

	stop()
	fmt.Println(<-done)
	// Output:
	// 3 <nil>
	// 1 <nil>
	// 1 <nil>
	// FAILED_PRECONDITION: out of stock
	// 1
	// <nil>
	// <nil>
}
