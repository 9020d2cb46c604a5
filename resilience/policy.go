package resilience

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// The defaults of a Policy. docs/decisions.md has the reasons.
const (
	DefaultTimeout     = 5 * time.Second
	DefaultMaxAttempts = 3

	// Below this are the pauses of a healthy but busy machine (scheduling, garbage collection, a cold cache), which
	// another attempt does not shorten.
	defaultAttemptFloor = 250 * time.Millisecond

	defaultBackoffBase = 25 * time.Millisecond
	defaultBackoffMax  = 250 * time.Millisecond
	defaultRatio       = 0.1
	defaultFloor       = 3
	defaultBurst       = 100
)

// Policy is how the calls of a method are made. The zero value is the default and fit for production.
type Policy struct {
	// Timeout bounds a call in total, all attempts and waiting included; there is no call without a bound.
	// 0: the deadline that the caller gave to this call; 5 s if it gave none, or if its deadline is inherited from
	// a request being served and further away than that. Above 0 it also shortens a deadline given by the caller.
	Timeout time.Duration

	// AttemptTimeout bounds an attempt, where another one is allowed to follow it.
	// 0: from the observed latency (1.5 times the 99.9th percentile, at least AttemptFloor); of few answers ten times the
	// slowest, at least twice AttemptFloor; before there is any four times AttemptFloor. At most half of the remaining
	// time. Above 0: fixed; if it is shorter than the method usually takes, every call is cut
	// off and sent again until the budget is empty. Negative: none, so that a frozen instance costs the whole call.
	AttemptTimeout time.Duration

	// AttemptFloor is the shortest AttemptTimeout that is taken from observed latency. 0: 250 ms, which is above the
	// pauses of a healthy machine. A layer further out, an edge, takes more (1 s), so that the layers behind it have
	// the time to help themselves. Shorter than the pauses of the callee, it wastes the budget.
	AttemptFloor time.Duration

	// MaxAttempts bounds the attempts that may have reached an instance. 0: 3. With 1, only what was provably not
	// sent is sent again. Each more multiplies the load on a service that fails slowly, up to the budget.
	MaxAttempts int

	// Backoff is the wait before an attempt that follows a failure.
	Backoff Backoff

	// Budget bounds the attempts beyond the first of all calls together. One budget is shared by all methods of a
	// client of one target, so it is that client's policy that counts, not a method's.
	Budget BudgetPolicy
}

// Backoff is a full-jitter exponential backoff: a uniform random wait below a bound that doubles. The jitter is full
// because callers that failed together must not come back together.
// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
type Backoff struct {
	// Base is the bound of the first wait. 0: 25 ms.
	Base time.Duration
	// Max is the bound that is no longer doubled. 0: 250 ms. It is also the longest wait that a server may ask a
	// retry for; a server that asks for more is telling the user, and the call ends.
	Max time.Duration
}

// BudgetPolicy are the numbers of a [Budget].
type BudgetPolicy struct {
	// Ratio is what each call adds, in attempts. 0: 0.1, so in the long run 10 % more load at most. Negative: nothing.
	Ratio float64
	// Floor is what each second adds whether or not there are calls, so that a client of few calls can retry at all.
	// 0: 3. Negative: nothing.
	Floor float64
	// Burst is what is there at the start, and the least that can be saved up. 0: 100, which pays for 50 calls whose
	// instance froze at once (a timed-out attempt costs 2) or 100 whose instance was killed. Negative: nothing.
	// A busy client saves up more than Burst: what 10 s of its traffic add.
	Burst float64
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (p Policy) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("policy "+format, args...)) }
	if p.Timeout < 0 {
		bad("Timeout: %v is negative; every call has a bound", p.Timeout)
	}
	if t := p.timeout(); p.AttemptTimeout > t {
		bad("AttemptTimeout: %v is longer than the whole call, %v", p.AttemptTimeout, t)
	}
	if p.AttemptFloor < 0 {
		bad("AttemptFloor: %v is negative", p.AttemptFloor)
	}
	if p.MaxAttempts < 0 || p.MaxAttempts > maxAttempts {
		bad("MaxAttempts: %d is not within 1 to %d", p.MaxAttempts, maxAttempts)
	}
	if p.Backoff.Base < 0 || p.Backoff.Max < 0 {
		bad("Backoff: %v to %v is negative", p.Backoff.Base, p.Backoff.Max)
	} else if b := p.Backoff.defaults(); b.Base > b.Max {
		bad("Backoff: Base %v is longer than Max %v", b.Base, b.Max)
	}
	if p.Budget.Ratio > 1 {
		bad("Budget.Ratio: %v would double the load; it is a share of the calls, such as 0.1", p.Budget.Ratio)
	}
	if math.IsNaN(p.Budget.Ratio) || math.IsNaN(p.Budget.Floor) || math.IsNaN(p.Budget.Burst) {
		bad("Budget: %+v has a field that is no number", p.Budget)
	}
	return errors.Join(errs...)
}

// maxAttempts is the largest MaxAttempts. More attempts than this are not resilience.
const maxAttempts = 10

func (p *Policy) timeout() time.Duration {
	if p == nil || p.Timeout <= 0 {
		return DefaultTimeout
	}
	return p.Timeout
}

func (p *Policy) attempts() int {
	if p == nil || p.MaxAttempts <= 0 {
		return DefaultMaxAttempts
	}
	return min(p.MaxAttempts, maxAttempts)
}

func (p *Policy) backoff() Backoff {
	if p == nil {
		return Backoff{}.defaults()
	}
	return p.Backoff.defaults()
}

func (p *Policy) attemptTimeout() time.Duration {
	if p == nil {
		return 0
	}
	return p.AttemptTimeout
}

func (p *Policy) attemptFloor() time.Duration {
	if p == nil || p.AttemptFloor <= 0 {
		return defaultAttemptFloor
	}
	return p.AttemptFloor
}

func (b Backoff) defaults() Backoff {
	if b.Base <= 0 {
		b.Base = defaultBackoffBase
	}
	if b.Max <= 0 {
		b.Max = max(defaultBackoffMax, b.Base)
	}
	return b
}

func (b BudgetPolicy) defaults() BudgetPolicy {
	return BudgetPolicy{
		Ratio: orDefault(b.Ratio, defaultRatio),
		Floor: orDefault(b.Floor, defaultFloor),
		Burst: orDefault(b.Burst, defaultBurst),
	}
}

// orDefault is v, but def for 0 and 0 for a negative v.
func orDefault(v, def float64) float64 {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// Wait returns the wait before the n-th attempt beyond the first, n from 0; rnd is a fresh uniform random number.
func (b Backoff) Wait(n int, rnd uint64) time.Duration {
	b = b.defaults()
	bound := b.Max
	if n < 30 && b.Base<<n > 0 { // neither shift can overflow unnoticed
		bound = min(b.Max, b.Base<<n)
	}
	return time.Duration(float64(bound) * (float64(rnd>>11) / (1 << 53)))
}
