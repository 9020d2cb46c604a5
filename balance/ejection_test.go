package balance

import (
	"fmt"
	"testing"
	"time"
)

// One of several instances falls ill after half a minute, and is well again half a minute later.
const (
	ill  = 30 * time.Second
	well = 60 * time.Second
)

func illnesses(f *fleet) map[string]func() answer {
	return map[string]func() answer{
		"killed":              func() answer { return answer{50 * time.Microsecond, Bad, None} },
		"frozen":              func() answer { return answer{f.timeout, Bad, LowerBound} },
		"50 times slower":     func() answer { return f.good(250 * time.Millisecond) },
		"UNAVAILABLE at once": func() answer { return refused() },
		"half of calls INTERNAL at once": func() answer {
			if f.rnd.IntN(2) == 0 {
				return answer{100 * time.Microsecond, Suspicious, Latency}
			}
			return f.good(5 * time.Millisecond)
		},
	}
}

func TestASickInstanceLosesItsCallsAndGetsThemBack(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		for name := range illnesses(nil) {
			t.Run(fmt.Sprint(name, " of ", n), func(t *testing.T) {
				t.Parallel()
				for seed := range map[int]uint64{2: 1, 3: 1, 5: 3}[n] {
					f := newFleet(seed, Config{}, n)
					sick := illnesses(f)[name]
					f.answer = func(node int, at time.Duration) answer {
						if node == 0 && at >= ill && at < well {
							return sick()
						}
						return f.good(5 * time.Millisecond)
					}
					f.run(90 * time.Second)
					before, during, after := f.tell(0, ill), f.tell(ill, well), f.tell(well+20*time.Second, 90*time.Second)
					t.Logf("seed %d\n before %v\n first second %v\n during %v\n after %v\n %v", seed, before, f.tell(ill, ill+time.Second), during, after, f.events)
					if got := f.tell(ill+time.Second, well).share(0); got >= 0.01 {
						t.Errorf("seed %d: %.2f %% of calls to the sick one", seed, 100*got)
					}
					if got, fair := after.share(0), 1/float64(n); got < 0.8*fair || got > 1.2*fair {
						t.Errorf("seed %d: 20 s after its recovery its share is %.3f of %.3f", seed, got, fair)
					}
					if got := float64(during.attempts) / float64(during.calls); got > 1.05 {
						t.Errorf("seed %d: %.3f attempts for each call", seed, got)
					}
					if got := float64(during.failed) / float64(during.calls); got > 1e-4 {
						t.Errorf("seed %d: %d of %d calls failed", seed, during.failed, during.calls)
					}
					if during.p99 > before.p99*3/2 {
						t.Errorf("seed %d: 99 %% within %v, before %v", seed, during.p99, before.p99)
					}
				}
			})
		}
	}
}
