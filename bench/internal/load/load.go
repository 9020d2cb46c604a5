// Package load offers calls at times that do not depend on how earlier calls went, as users do, and records what became
// of each.
//
// Arrivals are a Poisson process. A call's time counts from when it was due, not from when this process got round to it,
// so that neither a slow answer nor a slow machine hides the waiting that it causes (no coordinated omission). All calls
// are kept, so figures are exact and can be asked for any span of time afterwards.
package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-go/holdfast/failure"
)

// maxInFlight bounds the calls that are under way: a system that has none of its own bounds must not end this process.
const maxInFlight = 20_000

// Config is the load of one run.
type Config struct {
	// For is how long calls are offered; until Enough is closed, if that is sooner.
	For    time.Duration
	Enough <-chan struct{}
	// Rate is how many calls a second are offered at a time after the start. Required, and above 0.
	Rate func(at time.Duration) float64
	// Seed of the arrivals and classes.
	Seed uint64
	// Classes are the shares of the classes of calls, in any unit. Empty: one class.
	Classes []float64
	// Do makes one call. It must return before long after ctx is done.
	Do func(ctx context.Context, class int) error
}

// Constant is a rate that does not change.
func Constant(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// Run offers the load, waits for the last answer and returns the calls in the order in which they were due. It ends early
// with ctx. The recorder's clock starts with it, unless Start was called before.
func (r *Recorder) Run(ctx context.Context, cfg Config) Calls {
	r.Start()
	rng := rand.New(rand.NewPCG(cfg.Seed, 0x6c6f6164)) //nolint:gosec // arrivals are to be the same each time
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxInFlight)
	begin := r.Now()
	offering, stop := context.WithCancel(ctx)
	defer stop()
	if cfg.Enough != nil {
		wg.Go(func() {
			select {
			case <-cfg.Enough:
				stop()
			case <-offering.Done():
			}
		})
	}
	for due := begin; ; {
		due += time.Duration(rng.ExpFloat64() / cfg.Rate(due) * float64(time.Second))
		class := draw(rng, cfg.Classes)
		if due >= begin+cfg.For || !r.Until(offering, due) {
			break
		}
		select {
		case slots <- struct{}{}:
		default: // a call that could not even be made has failed
			r.add(Call{Due: due, Class: class, Code: codes.ResourceExhausted, Took: r.Now() - due})
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			late := r.Now() - due
			ctx, t := withTally(ctx)
			err := cfg.Do(ctx, class)
			c := Call{Due: due, Took: r.Now() - due, Late: late, Class: class, Attempts: int(t.attempts.Load()), Hedges: int(t.hedges.Load()), Err: err}
			if err != nil {
				c.Code = codes.Code(failure.CodeOf(err))
			}
			r.add(c)
		})
	}
	stop()
	wg.Wait()
	return r.Calls()
}

func draw(rng *rand.Rand, shares []float64) int {
	var sum float64
	for _, s := range shares {
		sum += s
	}
	x := rng.Float64() * sum
	for i, s := range shares {
		if x -= s; x < 0 {
			return i
		}
	}
	return 0
}
