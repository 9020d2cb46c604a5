package rabbitqueue

import (
	"context"
	"sync"
)

// budget is bytes that may be under way at a time. Who came first is served first. Safe for concurrent use.
type budget struct {
	mu      sync.Mutex
	left    int64
	waiting []*wanting
}

type wanting struct {
	n     int64
	ready chan struct{}
}

func newBudget(n int64) *budget { return &budget{left: n} }

// tryTake takes n bytes, unless it would have to wait for them: there are fewer, or somebody waits.
func (b *budget) tryTake(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeNow(n)
}

// takeNow needs mu.
func (b *budget) takeNow(n int64) bool {
	if len(b.waiting) > 0 || b.left < n {
		return false
	}
	b.left -= n
	return true
}

// take waits for n bytes, which must not be more than there are in all. Who has some of them already must not wait: it may be for these.
func (b *budget) take(ctx context.Context, n int64) error {
	b.mu.Lock()
	if b.takeNow(n) {
		b.mu.Unlock()
		return nil
	}
	w := &wanting{n: n, ready: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.waiting {
		if x == w {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.serve() // those behind may want less
			return ctx.Err()
		}
	}
	b.left += n // it came meanwhile
	b.serve()
	return ctx.Err()
}

// give gives n bytes back.
func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	b.serve()
}

func (b *budget) serve() {
	for len(b.waiting) > 0 && b.left >= b.waiting[0].n {
		b.left -= b.waiting[0].n
		close(b.waiting[0].ready)
		b.waiting = b.waiting[1:]
	}
}
