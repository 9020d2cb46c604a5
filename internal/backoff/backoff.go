// Package backoff is how loops that never give up wait between their attempts.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is capped exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): a wait
// is anything between nothing and the step, so that a fleet that lost its engine at one moment does not return at one
// moment. It is for one goroutine.
type Backoff struct {
	Base, Max time.Duration
	n         int
}

// Reset makes the next wait a first one again.
func (b *Backoff) Reset() { b.n = 0 }

// Next returns the next wait.
func (b *Backoff) Next() time.Duration {
	step := b.Max
	if b.n < 20 {
		step = min(b.Max, b.Base<<b.n)
		b.n++
	}
	return Jitter(0, step)
}

// Jitter returns a duration between from and to.
func Jitter(from, to time.Duration) time.Duration {
	return from + time.Duration(rand.Int64N(int64(max(to-from, 0))+1))
}

// Pause waits for d and reports whether ctx is still alive.
func Pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 { // a timer that is due at once upsets the race detector in a synctest bubble
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
