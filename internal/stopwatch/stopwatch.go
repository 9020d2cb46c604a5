// Package stopwatch is for tests that bound how long something takes: a machine that is starved makes everything late, and that
// says nothing about what is tested.
package stopwatch

import (
	"sync"
	"testing"
	"time"
)

const step = 10 * time.Millisecond

// Start returns how long it is since then, less what this process was not let run meanwhile.
func Start(t testing.TB) func() time.Duration {
	t.Helper()
	w := &watch{begun: time.Now(), tick: time.Now()}
	var ticking sync.WaitGroup
	quit := make(chan struct{})
	ticking.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(step):
			}
			w.book(time.Now())
		}
	})
	t.Cleanup(func() {
		close(quit)
		ticking.Wait()
	})
	return func() time.Duration { return w.book(time.Now()) }
}

// watch is safe for concurrent use.
type watch struct {
	mu    sync.Mutex
	begun time.Time
	tick  time.Time // the last one seen
	lost  time.Duration
}

// book notes that the process runs now, and returns for how long it has. Whoever asks first after a stall books it.
func (w *watch) book(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost += max(0, now.Sub(w.tick)-2*step)
	w.tick = now
	return now.Sub(w.begun) - w.lost
}
