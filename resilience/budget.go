package resilience

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// savings is how much of its traffic a client can save up in its budget.
	savings = 10 * time.Second
	// hedgeBurst is how many hedges can be saved up.
	hedgeBurst = 10
	// deaths is how many times what is in flight can be replaced.
	deaths = 2
)

// Budget bounds the attempts beyond the first of all calls to one target: a token bucket that fills with the calls and
// with time. Without one, three attempts a call are three times the load on a service that is failing because of its
// load, and it does not recover. Safe for concurrent use; no method allocates.
//
// Beside that it grants what dies with an instance: all calls that were in flight there are lost at once, and what takes
// their place is no more load than they were. So twice as many as are in flight may be replaced without a token: those of
// one instance, and those of the next that dies before long. Where connections keep breaking, that allowance comes back no
// faster than tokens do.
//
// Invariants: over any history, what was taken is at most Burst + Floor a second + Ratio a call, and what was replaced
// beside it at most twice the most that were in flight, and Floor a second + Ratio a call. What is held is never
// more than what there was to take when it was held. Hedges are at most 10 + their share of the calls, are taken from the
// same tokens as retries, and retries use up the hedges' share, too: hedges get what failures leave of it.
//
// Sources: Finagle's RetryBudget; SRE book, "Handling Overload". Unlike gRPC's retryThrottling it is relative to the rate
// of calls, so that one dead instance of ten does not switch retries off.
type Budget struct {
	mu     sync.Mutex
	policy BudgetPolicy
	tokens float64
	held   int
	last   time.Time // of the last refill; zero before the first
	// Calls in the current and in the previous window of savings. The larger one is the traffic by which the bucket
	// is sized.
	window    time.Time
	now, prev int
	// unhedged are the calls that no hedge or retry has used up yet: one at a share of 4 % uses up 25. It is below 0 after
	// many retries, by as much at most as can be saved up.
	unhedged float64
	share    float64 // of hedges, as it was asked for last; 0 before that

	flying   atomic.Int64 // calls that have begun and not ended
	replaced float64      // lost and replaced, of late: leaks away as tokens come

	calls, attempts uint64 // that were begun, in all
}

// NewBudget returns a budget with its Burst in it. Zero fields of p are the defaults.
func NewBudget(p BudgetPolicy) *Budget {
	p = p.defaults()
	return &Budget{policy: p, tokens: p.Burst}
}

// Configure changes the numbers from now on. What has been saved up stays, as far as it still can be.
func (b *Budget) Configure(p BudgetPolicy) {
	b.mu.Lock()
	b.policy = p.defaults()
	b.mu.Unlock()
}

// Call counts a call, which adds to the budget.
func (b *Budget) Call(now time.Time) {
	b.mu.Lock()
	b.refill(now)
	b.call()
	b.mu.Unlock()
}

// Take takes n tokens, all or none, and reports whether they were there.
func (b *Budget) Take(now time.Time, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	if !(b.tokens >= float64(n)) {
		return false
	}
	b.tokens -= float64(n)
	if b.share > 0 && n > 0 {
		b.unhedged = max(b.unhedged-1/b.share, -hedgeBurst/b.share)
	}
	return true
}

// Replace allows another attempt for a call whose connection broke under it, and reports whether it does: as one of those
// that were in flight, or for a token. A budget of nothing allows none.
func (b *Budget) Replace(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	if b.policy == (BudgetPolicy{}) { // switched off
		return false
	}
	if b.replaced+1 <= deaths*float64(b.flying.Load()) {
		b.replaced++
		return true
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// hedge takes a token for a hedge, if there is one and hedges have not used up their share (above 0) of the calls.
func (b *Budget) hedge(now time.Time, share float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	b.share = share
	b.unhedged = min(b.unhedged, hedgeBurst/share)
	if b.tokens < 1 || b.unhedged < 1/share {
		return false
	}
	b.tokens--
	b.unhedged -= 1 / share
	return true
}

// unhedge takes back a hedge that is not made.
func (b *Budget) unhedge(share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(1)
	b.unhedged += 1 / share
}

// Hold marks n tokens as possibly needed soon, all or none, and reports whether there are that many beyond those held
// already. It takes nothing: whoever needs a token now has a better claim than who may need one.
func (b *Budget) Hold(now time.Time, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	return b.hold(n)
}

// Release ends a Hold.
func (b *Budget) Release(n int) {
	b.mu.Lock()
	b.held -= n
	b.mu.Unlock()
}

// Tokens returns what there is to take.
func (b *Budget) Tokens(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	return b.tokens
}

// begin is Call and Hold at once, for the way of every call. It is followed by one end.
func (b *Budget) begin(now time.Time, n int) bool {
	b.flying.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	b.call()
	b.calls++
	b.attempts++
	return n > 0 && b.hold(n)
}

// again is Hold, and counts an attempt beyond the first.
func (b *Budget) again(now time.Time, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts++
	b.refill(now)
	return n > 0 && b.hold(n)
}

// Counts returns how many calls were made with the budget, and in how many attempts, since it was made.
func (b *Budget) Counts() (calls, attempts uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls, b.attempts
}

// end is the end of a call that has begun.
func (b *Budget) end() { b.flying.Add(-1) }

func (b *Budget) call() {
	b.now++
	b.unhedged++
	b.add(b.policy.Ratio)
	b.replaced = max(b.replaced-b.policy.Ratio, 0)
}

func (b *Budget) hold(n int) bool {
	if !(b.tokens >= float64(b.held+n)) {
		return false
	}
	b.held += n
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
		b.now, b.window = 0, b.window.Add(age.Truncate(savings))
	}
	if since := now.Sub(b.last); since > 0 {
		b.last = now
		b.add(b.policy.Floor * since.Seconds())
		b.replaced = max(b.replaced-b.policy.Floor*since.Seconds(), 0)
	}
}

// add puts tokens in. What is more than can be saved up is lost, also what a busier time has left behind.
func (b *Budget) add(n float64) {
	size := max(b.policy.Burst, b.policy.Floor*savings.Seconds()+b.policy.Ratio*float64(max(b.now, b.prev)))
	b.tokens = min(b.tokens+n, size)
}
