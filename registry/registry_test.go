package registry_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// counted counts the calls that reach a driver, and can make registering slow.
type counted struct {
	*memregistry.Driver
	lists, watches, registers atomic.Int64
	slow                      time.Duration
}

func newCounted() *counted { return &counted{Driver: memregistry.New()} }

func (c *counted) List(ctx context.Context, service string) (driver.Listing, error) {
	c.lists.Add(1)
	return c.Driver.List(ctx, service)
}

func (c *counted) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	c.watches.Add(1)
	return c.Driver.Watch(ctx, service, after)
}

func (c *counted) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	c.registers.Add(1)
	if c.slow > 0 {
		select {
		case <-time.After(c.slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c.Driver.Register(ctx, rec, ttl, takeOver)
}

func orders(id string) registry.Instance {
	return registry.Instance{Service: "orders", ID: id, Endpoints: map[string]string{"grpc": "10.0.0.1:1"}}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func logTo(b *syncBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// run starts an announcement; stop ends it and returns how long that took and what Run returned.
func run(a *registry.Announcement) (stop func() (time.Duration, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() (time.Duration, error) {
		start := time.Now()
		cancel()
		err := <-done
		return time.Since(start), err
	}
}
