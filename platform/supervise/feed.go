//go:build unix

package supervise

import (
	"context"
	"io"
	"sync"
)

// feed is a bounded queue between one publisher that never waits and one reader. What does not fit pushes out the
// oldest, and the reader is told how many it missed before it gets what came after.
type feed[T any] struct {
	mu      sync.Mutex
	items   []T // a ring of cap(items)
	head    int
	n       int
	dropped int
	closed  bool
	wake    chan struct{} // holds one token if something may have changed
}

func newFeed[T any](size int) *feed[T] {
	return &feed[T]{items: make([]T, size), wake: make(chan struct{}, 1)}
}

func (f *feed[T]) push(v T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.n == len(f.items) {
		f.head = (f.head + 1) % len(f.items)
		f.n--
		f.dropped++
	}
	f.items[(f.head+f.n)%len(f.items)] = v
	f.n++
	f.signal()
}

// close lets the reader finish what is in the queue and then gives it io.EOF.
func (f *feed[T]) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.signal()
}

func (f *feed[T]) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next returns an item, or the number of items lost before it, or an error: ctx's, or io.EOF.
func (f *feed[T]) next(ctx context.Context) (item T, dropped int, err error) {
	for {
		item, dropped, ok, err := f.take()
		if ok || err != nil {
			return item, dropped, err
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return item, 0, ctx.Err()
		}
	}
}

func (f *feed[T]) take() (item T, dropped int, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.dropped > 0:
		dropped, f.dropped = f.dropped, 0
		return item, dropped, true, nil
	case f.n > 0:
		item = f.items[f.head]
		var none T
		f.items[f.head] = none
		f.head = (f.head + 1) % len(f.items)
		f.n--
		return item, 0, true, nil
	case f.closed:
		f.signal() // for the next call
		return item, 0, false, io.EOF
	}
	return item, 0, false, nil
}
