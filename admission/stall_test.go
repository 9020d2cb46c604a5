package admission

import (
	"fmt"
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
					for seed := range uint64(6) {
						w := mk()
						w.rate, w.ceiling, w.deaf = constant(800), 1000, seed%2 == 0
						w.stall, w.stalled = s, d
						at := 1500*ms + time.Duration(seed)*23*ms
						w.stalls = []time.Duration{at}
						if seed >= 4 {
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
