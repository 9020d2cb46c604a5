package admission

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

// step is a rate that is a, from one time on b, and from another on c.
func step(a, b, c float64, from, to time.Duration) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		switch {
		case at < from:
			return a
		case at < to:
			return b
		default:
			return c
		}
	}
}

// slowed is exponential work that takes another time for a while.
func slowed(base, slow, from, to time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(rng *rand.Rand, at time.Duration) time.Duration {
		if at >= from && at < to {
			return exponential(slow)(rng, at)
		}
		return exponential(base)(rng, at)
	}
}

// sometimes is exponential work of which, from a time on, one in n takes another time.
func sometimes(base, slow time.Duration, n int, from time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(rng *rand.Rand, at time.Duration) time.Duration {
		if at > from && rng.IntN(n) == 0 {
			return slow
		}
		return exponential(base)(rng, at)
	}
}

func (r report) share() float64 { return float64(r.ok) / float64(max(r.came, 1)) }

// A server of 20 workers and 20 ms of work can do 1000 calls a second.
func twenty() *world {
	return &world{workers: 20, work: exponential(20 * ms), deadline: 250 * ms, critical: 0.1}
}

// Experiment E4: what is done of 1.2, 2 and 4 times of what can be.
func TestOverloadCostsNothingOfTheCapacity(t *testing.T) {
	t.Parallel()
	var normal time.Duration
	for _, load := range []float64{0.5, 0.9, 1.2, 2, 4} {
		for seed := range *more {
			w := twenty()
			w.rate, w.length = constant(load*1000), 16*time.Second
			w.run(seed)
			r := w.report(4*time.Second, 15*time.Second)
			t.Logf("%.1f times, seed %d: %v", load, seed, r)
			if load < 1 {
				if r.refused > 0 {
					t.Errorf("%.1f times, seed %d: %d calls refused", load, seed, r.refused)
				}
				normal = max(normal, r.p99)
				continue
			}
			if r.good < 950 {
				t.Errorf("%.1f times, seed %d: %.0f calls done a second, want 950", load, seed, r.good)
			}
			if r.p99 > 2*normal {
				t.Errorf("%.1f times, seed %d: 99th percentile %v, normally %v", load, seed, r.p99, normal)
			}
			if r.critical < 0.99 {
				t.Errorf("%.1f times, seed %d: %.4f of the most critical served", load, seed, r.critical)
			}
		}
	}
}

// The server becomes overloaded, and is not any more.
func TestOverloadBeginsAndEnds(t *testing.T) {
	for seed := range uint64(3) {
		w := twenty()
		w.rate, w.length = step(500, 2000, 500, 5*time.Second, 12*time.Second), 16*time.Second
		w.run(seed)
		first, during, after := w.report(5*time.Second, 7*time.Second), w.report(7*time.Second, 12*time.Second), w.report(12*time.Second, 14*time.Second)
		t.Logf("seed %d:\nfirst  %v\nduring %v\nafter  %v", seed, first, during, after)
		if first.critical < 0.97 || first.good < 900 {
			t.Errorf("seed %d: in the first two seconds %v", seed, first)
		}
		if during.critical < 0.99 || during.good < 930 {
			t.Errorf("seed %d: %v", seed, during)
		}
		if after.share() < 0.99 || after.p99 > 150*ms {
			t.Errorf("seed %d: in the two seconds after %v", seed, after)
		}
	}
}

// What a server with handlers that ignore the ends of their calls promises, behind a connection that has 1000 of them at
// most, in a process that stops for some ms now and then, whatever the seed: in 30 s of overload at most a twentieth of
// what can be done is lost and a hundredth of the most critical calls. What is lost is at the beginning, so that much may be
// in 10 s of which all others are good.
func TestOverloadOfARealServer(t *testing.T) {
	t.Parallel()
	for _, from := range []float64{0, 500, 900} {
		for _, deaf := range []bool{true, false} {
			t.Run(fmt.Sprintf("from %.0f, deaf %v", from, deaf), func(t *testing.T) {
				t.Parallel()
				seeds := 2 * *more
				if from == 500 && deaf {
					seeds = 4 * *more
				}
				for seed := range seeds {
					w := twenty()
					w.ceiling, w.deaf = 1000, deaf
					w.pauses = time.Duration(seed%4) * 8 * ms
					begin := 2*time.Second + 37*ms*time.Duration(seed)
					end := begin + 10*time.Second
					w.rate, w.length = step(from, 2000, 500, begin, end), end+4*time.Second
					w.run(seed)
					over, after := w.report(begin, end), w.report(end+2*time.Second, end+3500*ms)
					over.p99 = w.report(begin+time.Second, end).p99
					lost := (1 - over.critical) * 0.1 * float64(over.came)
					if over.good < 920 || over.p99 > 190*ms || lost > 60 {
						t.Errorf("seed %d: %v", seed, over)
					}
					if after.share() < 0.99 || after.p99 > 160*ms {
						t.Errorf("seed %d: 2 s after %v", seed, after)
					}
				}
			})
		}
	}
}

// A server that was idle is not overloaded because it has much to do at once.
func TestStartOfWorkIsNotOverload(t *testing.T) {
	t.Parallel()
	for _, mean := range []time.Duration{20 * ms, 100 * ms, 500 * ms, time.Second} {
		for seed := range 2 * *more {
			w := &world{work: exponential(mean), rate: step(0, 2000, 0, 2*time.Second, 5*time.Second), deadline: 20 * time.Second, length: 12 * time.Second}
			w.run(seed)
			if r := w.report(0, 10*time.Second); r.refused+r.late > 0 {
				t.Errorf("%v, seed %d: %v", mean, seed, r)
			}
		}
	}
}

// The limit is found within seconds where only 50 calls a second can be done, also from idle.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		w := &world{workers: 1, work: exponential(20 * ms), deadline: time.Second, ceiling: 1000, deaf: seed%2 == 0}
		w.rate, w.length = step(0, 100, 100, 3*time.Second, time.Minute), 24*time.Second
		w.run(seed)
		if r := w.report(9*time.Second, 23*time.Second); r.good < 40 {
			t.Errorf("seed %d: %v", seed, r)
		}
	}
}

// Whatever calls wait for that is not this server, it lets them.
func TestWhatIsNotOverloadIsNotTouched(t *testing.T) {
	t.Parallel()
	for name, mk := range map[string]func() *world{
		"more and more calls that wait for something else": func() *world {
			return &world{work: exponential(100 * ms), rate: step(100, 5000, 100, 5*time.Second, 10*time.Second), deadline: 2 * time.Second}
		},
		"calls of a second": func() *world {
			return &world{work: slowed(time.Second, 1, 0, 0), rate: step(100, 2000, 100, 5*time.Second, 10*time.Second), deadline: 20 * time.Second}
		},
		"a dependency becomes 15 times slower": func() *world {
			return &world{work: slowed(20*ms, 300*ms, 5*time.Second, 10*time.Second), rate: constant(1000), deadline: 10 * time.Second}
		},
		"one of ten waits for a slow dependency": func() *world {
			return &world{work: sometimes(10*ms, 900*ms, 10, 5*time.Second), rate: constant(1000), deadline: 2 * time.Second}
		},
		"a core, nearly busy": func() *world {
			return &world{workers: 1, work: exponential(400 * time.Microsecond), rate: constant(2250), deadline: time.Second}
		},
		"twenty workers, nearly busy": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(900), deadline: 2 * time.Second}
		},
		"200 calls at once now and then": func() *world {
			return &world{
				workers: 20, work: exponential(20 * ms), rate: constant(10), deadline: time.Second,
				bursts: map[time.Duration]int{3 * time.Second: 200, 8 * time.Second: 200, 13 * time.Second: 200},
			}
		},
		"200 calls at once every second, on a busy server": func() *world {
			b := make(map[time.Duration]int)
			for i := range 14 {
				b[time.Duration(i)*time.Second+500*ms] = 200
			}
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(500), deadline: 2 * time.Second, bursts: b}
		},
		"everything fails at once for a while": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(500), deadline: 2 * time.Second, fail: step(0, 1, 0, 5*time.Second, 10*time.Second)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range *more {
				w := mk()
				w.length = 15 * time.Second
				w.run(seed)
				r := w.report(0, 12*time.Second)
				if refused := float64(r.refused) / float64(r.came); refused > 0.005 {
					t.Errorf("seed %d: %v", seed, r)
				}
			}
		})
	}
}

// Calls of which half never end, and are given up, do not take the others with them.
func TestCallsThatNeverEndDoNotStarveOthers(t *testing.T) {
	for seed := range uint64(3) {
		w := &world{work: sometimes(10*ms, time.Hour, 2, 2*time.Second), rate: constant(1000), deadline: time.Second, length: 15 * time.Second}
		w.run(seed)
		if r := w.report(3*time.Second, 13*time.Second); r.share() < 0.48 {
			t.Errorf("seed %d: %v", seed, r)
		}
	}
}

// Ten minutes of overload; the limit stays where it belongs.
func TestLimitDoesNotDrift(t *testing.T) {
	t.Parallel()
	w := &world{workers: 20, work: exponential(200 * ms), rate: constant(200), deadline: 2 * time.Second, length: 10 * time.Minute}
	var low, high, n int
	w.trace = func(at time.Duration, w *world) {
		if at < 20*time.Second {
			return
		}
		n++
		switch l := w.core.limiter.limit; {
		case l < 18:
			low++
		case l > 80:
			high++
		}
	}
	w.run(1)
	for m := range 9 {
		r := w.report(time.Duration(m)*time.Minute+20*time.Second, time.Duration(m+1)*time.Minute)
		if r.good < 90 || r.p99 > 2*time.Second {
			t.Errorf("minute %d: %v", m, r)
		}
	}
	t.Logf("of %d looks at the limit %d below 18 and %d above 80", n, low, high)
	if low > n/5 || high > n/20 {
		t.Errorf("of %d looks at the limit %d below 18 and %d above 80", n, low, high)
	}
}

// Failures that come at once are no work: the limit is right for what is left.
func TestFastFailuresDoNotMoveTheLimit(t *testing.T) {
	t.Parallel()
	seeds := 4 * *more
	var mean float64
	for seed := range seeds {
		w := twenty()
		w.rate, w.length = constant(2500), 16*time.Second
		w.fail = step(0, 0.5, 0, 6*time.Second, 11*time.Second)
		w.run(seed)
		during, after := w.report(7*time.Second, 11*time.Second), w.report(12*time.Second, 15*time.Second)
		t.Logf("seed %d: during %v; after %v", seed, during, after)
		mean += (during.good + after.good) / 2 / float64(seeds)
		if during.good < 850 || after.good < 850 { // in 3 s there may be four probes
			t.Errorf("seed %d: during %v; after %v", seed, during, after)
		}
	}
	if mean < 950 {
		t.Errorf("%.0f done a second on average", mean)
	}
}

// Calls that fail at once, and have done so ever since the process began, hide no overload of the others.
func TestFastFailuresHideNoOverload(t *testing.T) {
	t.Parallel()
	for _, handlers := range []string{"notice", "stubborn", "deaf"} {
		for _, share := range []float64{0.5, 0.7, 0.9} {
			w := twenty()
			if handlers == "deaf" {
				w.deaf, w.ceiling = true, 1000
			}
			w.stubborn = handlers == "stubborn"
			w.fail = func(time.Duration) float64 { return share }
			w.rate, w.length = step(500/(1-share), 2000/(1-share), 500/(1-share), 3*time.Second, 12*time.Second), 16*time.Second
			w.run(1)
			during, after := w.report(5*time.Second, 12*time.Second), w.report(14*time.Second, 15*time.Second)
			if during.good < 900 || during.p99 > 150*time.Millisecond || after.refused > 0 {
				t.Errorf("%s, %.0f %% fail: during %v; after %v", handlers, share*100, during, after)
			}
		}
	}
}

// Experiment E2, the server's side: clients that repeat at once, twice, whatever they are told.
func TestRetryStormEndsWithItsCause(t *testing.T) {
	for seed := range uint64(3) {
		w := &world{workers: 10, work: slowed(10*ms, 33*ms, 5*time.Second, 10*time.Second), rate: constant(800), deadline: 100 * ms, retries: 2, length: 20 * time.Second}
		w.run(seed)
		during, after := w.report(6*time.Second, 10*time.Second), w.report(13*time.Second, 19*time.Second)
		t.Logf("seed %d: during %v; after %v", seed, during, after)
		if during.good < 170 || after.share() < 0.97 {
			t.Errorf("seed %d: during %v; after %v", seed, during, after)
		}
	}
}

// The same behind a connection, in a process that stops for some ms now and then, with handlers that ignore the ends of
// their calls and clients that do not repeat: all is well 3 s after the cause has gone, for whatever seed.
func TestRetryStormOfARealServer(t *testing.T) {
	t.Parallel()
	for seed := range 3 * *more {
		w := &world{
			workers: 10, work: slowed(10*ms, 33*ms, 3*time.Second, 10*time.Second), rate: constant(800), deadline: 100 * ms,
			ceiling: 1000, deaf: true, pauses: time.Duration(seed%3) * 8 * ms, length: 21 * time.Second,
		}
		w.run(seed)
		during, first, after := w.report(5*time.Second, 10*time.Second), w.report(13*time.Second, 14*time.Second), w.report(13*time.Second, 20*time.Second)
		if during.good < 170 || first.share() < 0.93 || after.share() < 0.98 {
			t.Errorf("seed %d: during %v; 3 s after %v; from then on %v", seed, during, first, after)
		}
	}
}

// A third of the capacity is left for a while.
func TestCapacityThatFallsAndComesBack(t *testing.T) {
	for seed := range uint64(3) {
		w := &world{workers: 20, work: slowed(20*ms, 60*ms, 5*time.Second, 12*time.Second), rate: constant(700), deadline: 500 * ms, critical: 0.1, length: 20 * time.Second}
		w.run(seed)
		during, after := w.report(7*time.Second, 12*time.Second), w.report(15*time.Second, 19*time.Second)
		t.Logf("seed %d: during %v; after %v", seed, during, after)
		if during.good < 240 || during.critical < 0.85 || after.share() < 0.98 {
			t.Errorf("seed %d: during %v; after %v", seed, during, after)
		}
	}
}

// Work that goes on although nobody waits for it any more counts as late, and few workers are as good as many.
func TestOtherServers(t *testing.T) {
	t.Parallel()
	for name, mk := range map[string]func() (*world, float64){
		"stubborn": func() (*world, float64) { w := twenty(); w.stubborn = true; w.rate = constant(2000); return w, 950 },
		"deaf":     func() (*world, float64) { w := twenty(); w.deaf = true; w.rate = constant(2000); return w, 930 },
		"deaf, in a hurry": func() (*world, float64) {
			w := twenty()
			w.deaf, w.deadline, w.rate = true, 100*ms, constant(2000)
			return w, 850
		},
		"deaf, from quiet": func() (*world, float64) {
			w := twenty()
			w.deaf, w.rate = true, step(500, 4000, 4000, 2*time.Second, time.Minute)
			return w, 930
		},
		"one core": func() (*world, float64) {
			return &world{workers: 1, work: exponential(400 * time.Microsecond), rate: constant(5_000), deadline: time.Second}, 2400
		},
		"one slow worker": func() (*world, float64) {
			return &world{workers: 1, work: exponential(20 * ms), rate: constant(100), deadline: time.Second}, 38
		},
		"four slow workers": func() (*world, float64) {
			return &world{workers: 4, work: exponential(100 * ms), rate: constant(80), deadline: time.Second}, 32
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, want := mk()
			w.length = 20 * time.Second
			w.run(1)
			r := w.report(5*time.Second, 18*time.Second)
			t.Log(r)
			if r.good < want {
				t.Errorf("%v, want %.0f done a second", r, want)
			}
		})
	}
}
