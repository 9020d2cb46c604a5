package resilience

import (
	"sync"
	"time"
)

// savings is how much of its traffic a client can save up in its budget.
const savings = 10 * time.Second

// Budget bounds the attempts beyond the first of all calls to one target: a token bucket that fills with the calls and
// with time. Without one, three attempts a call are three times the load on a service that is failing because of its
// load, and it does not recover. Safe for concurrent use; no method allocates.
//
// Invariant: over any history, what was taken is at most Burst + Floor a second + Ratio a call.
//
// Source: Finagle's RetryBudget; unlike gRPC's retryThrottling it is relative to the rate of calls, so that one dead
// instance of ten does not switch retries off.
type Budget struct {
	policy BudgetPolicy

	mu     sync.Mutex
	tokens float64
	last   time.Time // of the last refill; zero before the first
	// Calls in the current and in the previous window of savings. The larger one is the traffic by which the bucket
	// is sized.
	window    time.Time
	now, prev int
}

// NewBudget returns a budget, full. Zero fields of p are the defaults.
func NewBudget(p BudgetPolicy) *Budget {
	p = p.defaults()
	return &Budget{policy: p, tokens: p.Burst}
}

// Call counts a call, which adds to the budget.
func (b *Budget) Call(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.call(now)
}

// Take takes n tokens, all or none, and reports whether they were there.
func (b *Budget) Take(now time.Time, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	return b.take(n)
}

// Return gives back n tokens that were taken and not used.
func (b *Budget) Return(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(float64(n))
}

// Tokens returns what is there.
func (b *Budget) Tokens(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	return b.tokens
}

func (b *Budget) call(now time.Time) {
	b.refill(now)
	b.now++
	b.add(b.policy.Ratio)
}

func (b *Budget) take(n int) bool {
	if b.tokens < float64(n) {
		return false
	}
	b.tokens -= float64(n)
	return true
}

// refill adds what time has added since the last refill.
func (b *Budget) refill(now time.Time) {
	if b.last.IsZero() {
		b.last, b.window = now, now
		return
	}
	if age := now.Sub(b.window); age >= savings {
		b.prev = b.now
		if age >= 2*savings {
			b.prev = 0
		}
		b.now, b.window = 0, now
	}
	if since := now.Sub(b.last); since > 0 {
		b.last = now
		b.add(b.policy.Floor * since.Seconds())
	}
}

// add puts tokens in. What is more than can be saved up is lost, also what a busier time has left behind.
func (b *Budget) add(n float64) {
	size := max(b.policy.Burst, b.policy.Floor*savings.Seconds()+b.policy.Ratio*float64(max(b.now, b.prev)))
	b.tokens = min(b.tokens+n, size)
}
