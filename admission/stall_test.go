package admission

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A short stall of a server that is busy to 80 %, or a row of them, is no loss of capacity: what came meanwhile is late
// once. Whatever the seed, all but a hundredth is served again from 2 s later on.
func TestAStallIsNotOverload(t *testing.T) {
	t.Parallel()
	for name, mk := range map[string]func() *world{
		"in a hurry": func() *world {
			return &world{workers: 10, work: exponential(10 * ms), deadline: 100 * ms}
		},
		"twenty": twenty,
		"patient": func() *world {
			return &world{workers: 10, work: exponential(10 * ms), deadline: 2 * time.Second}
		},
	} {
		for _, s := range []stalling{workers, process, machine} {
			for _, d := range []time.Duration{77 * ms, 200 * ms} {
				t.Run(fmt.Sprintf("%s, %v for %v", name, s, d), func(t *testing.T) {
					t.Parallel()
					for seed := range 2 * *more {
						w := mk()
						w.rate, w.ceiling, w.deaf = constant(800), 1000, seed%4 < 2
						w.stall, w.stalled = s, d
						at := 1500*ms + time.Duration(seed)*23*ms
						w.stalls = []time.Duration{at}
						if seed%3 == 1 { // another one, soon
							at += 900 * ms
							w.stalls = append(w.stalls, at)
						}
						w.length = at + 5500*ms
						w.run(seed)
						if r := w.report(at+2*time.Second, at+5*time.Second); r.share() < 0.99 {
							t.Errorf("seed %d: 2 s after %v", seed, r)
						}
					}
				})
			}
		}
	}
}

// Nor does a row of stalls take the limit away from a server that is overloaded: what is left of its capacity is used.
func TestStallsUnderOverload(t *testing.T) {
	t.Parallel()
	for _, s := range []stalling{workers, process, machine} {
		for seed := range 2 * *more {
			w := twenty()
			w.ceiling, w.deaf = 1000, seed%2 == 0
			w.stall, w.stalled = s, 150*ms
			rng := rand.New(rand.NewPCG(seed, 3))
			for at := 4 * time.Second; at < 14*time.Second; at += w.stalled + time.Duration((0.3+1.5*rng.ExpFloat64())*float64(time.Second)) {
				w.stalls = append(w.stalls, at)
			}
			w.rate, w.length = step(500, 2000, 500, 2*time.Second, 15*time.Second), 19*time.Second
			w.run(seed)
			over, after := w.report(4*time.Second, 15*time.Second), w.report(17*time.Second, 18500*ms)
			could := 1000 * (1 - (time.Duration(len(w.stalls))*w.stalled).Seconds()/11)
			if over.good < 0.92*could || after.share() < 0.99 {
				t.Errorf("%v, seed %d: %v, and it could do %.0f a second; 2 s after %v", s, seed, over, could, after)
			}
		}
	}
}
