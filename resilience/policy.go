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
	defaultHedges      = 0.04
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

	// Hedge is when a second attempt is made although the first has not failed.
	Hedge HedgePolicy

	// Throttle is when calls are held back since the service refuses most of them. Like Budget, and like what follows, it
	// is for all calls of a client of one target, so it is that client's policy that counts, not a method's.
	Throttle ThrottlePolicy

	// MaxInFlight bounds the calls that are under way at a time; one more fails at once. 0: no bound. What is sensible
	// is twice the calls a second times their 99th percentile. Too low, it refuses what the service could do.
	MaxInFlight int

	// Rate bounds the attempts a second; one more fails at once. 0: no bound. Burst is how many may come at once.
	// 0: what Rate allows in a tenth of a second, at least 1.
	Rate  float64
	Burst int

	// Breaker is a classic circuit breaker. nil: none, see there why.
	Breaker *BreakerPolicy
}

// HedgePolicy is when a call that may run twice, and that has not been answered when most are, is sent to a second instance
// as well. The first answer counts; the other attempt is cancelled.
// Source: J. Dean, L. A. Barroso, "The Tail at Scale", CACM 56 (2013).
type HedgePolicy struct {
	// Share bounds the hedges, as a share of the calls, inside the Budget. Retries use it up, too, so that hedges do not come
	// on top of failures. 0: 0.04. Negative: no hedges.
	Share float64
	// Delay is how long an attempt runs before it is hedged. 0: the observed 95th percentile of the method, at least
	// 1 ms, at most half of the attempt's time. Above 0: fixed; when everything becomes slower, every call is hedged
	// until Share is used up.
	Delay time.Duration
}

// ThrottlePolicy are the numbers of a [Throttle].
type ThrottlePolicy struct {
	// K is how many requests are sent for each that is accepted, so that recovery is noticed. 0: 2. Negative: no
	// throttle. Below 1.1, ordinary failures throttle.
	K float64
	// Window is how long an answer counts. 0: 30 s. Longer recovers later, shorter throttles on little evidence.
	Window time.Duration
	// Floor is the share of requests that is let through at the worst, but 1 a second if that is more. 0: 0.05.
	Floor float64
}

// BreakerPolicy are the numbers of a [Breaker]. The zero value of each is its default.
type BreakerPolicy struct {
	// Failures is the share of failed attempts from which the breaker opens. 0: 0.5.
	Failures float64
	// Calls is how many attempts there must have been in Window. 0: 20.
	Calls int
	// Window is over which time they are counted. 0: 10 s.
	Window time.Duration
	// Open is how long nothing is sent after that. 0: 5 s.
	Open time.Duration
	// Probes is how many attempts may be under way after that, and have to succeed in a row for it to close. 0: 3.
	Probes int
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
	// Ratio is what each call adds, in attempts. 0: 0.1, so in the long run 10 % more load at most, and
	// what Floor adds: to a client of 30 calls a second or fewer that is the larger part. Negative: nothing.
	Ratio float64
	// Floor is what each second adds whether or not there are calls, so that a client of few calls can retry at all.
	// 0: 3. Negative: nothing.
	Floor float64
	// Burst is what is there at the start, and the least that can be saved up. 0: 100, which pays for 50 calls whose
	// instance froze at once (a timed-out attempt costs 2). What an instance takes along that is killed is replaced beside
	// that, see [Budget.Replace]. Negative: nothing.
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
	for name, v := range map[string]float64{
		"Hedge.Share": p.Hedge.Share, "Throttle.K": p.Throttle.K, "Throttle.Floor": p.Throttle.Floor, "Rate": p.Rate,
	} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			bad("%s: %v is no number to go by", name, v)
		}
	}
	if p.Hedge.Share > 1 || p.Hedge.Delay < 0 {
		bad("Hedge: %+v: a Share above 1, or a negative Delay", p.Hedge)
	}
	if k := p.Throttle.K; k > 0 && k < 1 {
		bad("Throttle.K: %v would hold back what the service accepts; it is 1.1 or more", k)
	}
	if w := p.Throttle.Window; w != 0 && w < minWindow || w > maxWindow {
		bad("Throttle.Window: %v is not within %v to %v", w, minWindow, maxWindow)
	}
	if p.Throttle.Floor < 0 || p.Throttle.Floor > 1 {
		bad("Throttle.Floor: %v is no share; without any the recovery would not be noticed", p.Throttle.Floor)
	}
	if p.MaxInFlight < 0 || p.Rate < 0 || p.Burst < 0 {
		bad("MaxInFlight, Rate, Burst: %d, %v, %d: one is negative; 0 is no bound", p.MaxInFlight, p.Rate, p.Burst)
	}
	if b := p.Breaker; b != nil {
		if !(b.Failures >= 0 && b.Failures <= 1) || b.Calls < 0 || b.Open < 0 || b.Probes < 0 || b.Probes > maxProbes {
			bad("Breaker: %+v has a field out of bounds", *b)
		}
		if b.Window != 0 && b.Window < minWindow || b.Window > maxWindow {
			bad("Breaker.Window: %v is not within %v to %v", b.Window, minWindow, maxWindow)
		}
	}
	return errors.Join(errs...)
}

const (
	// minWindow and maxWindow bound over what time answers are counted.
	minWindow, maxWindow = time.Second, 5 * time.Minute
	// maxProbes bounds the probes of a breaker.
	maxProbes = 1000
)

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

func (p *Policy) hedge() HedgePolicy {
	if p == nil {
		return HedgePolicy{Share: defaultHedges}
	}
	h := p.Hedge
	h.Share = orDefault(h.Share, defaultHedges)
	return h
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
