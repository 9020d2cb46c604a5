package registry

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is capped exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): a wait
// is anything between nothing and the step, so that a fleet that lost its registry at one moment does not return at
// one moment.
type backoff struct {
	base, max time.Duration
	n         int
}

func (b *backoff) reset() { b.n = 0 }

func (b *backoff) next() time.Duration {
	step := b.max
	if b.n < 20 {
		step = min(b.max, b.base<<b.n)
		b.n++
	}
	return jitter(0, step)
}

// jitter returns a duration between from and to.
func jitter(from, to time.Duration) time.Duration {
	return from + time.Duration(rand.Int64N(int64(max(to-from, 0))+1))
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
