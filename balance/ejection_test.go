package balance

import (
	"fmt"
	"testing"
	"time"
)

// One of several instances falls ill after 15 seconds, and is well again 20 seconds later.
const (
	ill  = 15 * time.Second
	well = 35 * time.Second
	over = 63 * time.Second
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
	t.Parallel()
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
					f.run(over)
					before, during, after := f.tell(0, ill), f.tell(ill, well), f.tell(well+20*time.Second, over)
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

// Nobody is sick, or everybody is: nobody is ejected.
func TestNobodyIsEjectedWhere(t *testing.T) {
	t.Parallel()
	for n, seeds := range map[int]uint64{1: 1, 2: 3, 3: 3, 5: 2, 20: 1} {
		for name, answer := range map[string]func(f *fleet) func(int, time.Duration) answer{
			"all fail 3 %": func(f *fleet) func(int, time.Duration) answer {
				return func(int, time.Duration) answer {
					if f.rnd.IntN(100) < 3 {
						return refused()
					}
					return f.good(5 * time.Millisecond)
				}
			},
			"all fail from one moment on": func(f *fleet) func(int, time.Duration) answer {
				return func(_ int, at time.Duration) answer {
					if at > 10*time.Second {
						return refused()
					}
					return f.good(5 * time.Millisecond)
				}
			},
			"all hang from one moment on": func(f *fleet) func(int, time.Duration) answer {
				return func(_ int, at time.Duration) answer {
					if at > 10*time.Second {
						return answer{f.timeout, Bad, LowerBound}
					}
					return f.good(5 * time.Millisecond)
				}
			},
			"all fail two times of three": func(f *fleet) func(int, time.Duration) answer {
				return func(_ int, at time.Duration) answer {
					if at > 10*time.Second && f.rnd.IntN(3) > 0 {
						return refused()
					}
					return f.good(5 * time.Millisecond)
				}
			},
			"one answers NOT_FOUND at once": func(f *fleet) func(int, time.Duration) answer {
				return func(node int, at time.Duration) answer {
					if node == 0 && at > 10*time.Second {
						return answer{100 * time.Microsecond, Good, Latency}
					}
					return f.good(5 * time.Millisecond)
				}
			},
			"one sheds": func(f *fleet) func(int, time.Duration) answer {
				return func(node int, _ time.Duration) answer {
					if node == 0 && f.rnd.IntN(2) == 0 {
						return answer{100 * time.Microsecond, Neutral, None}
					}
					return f.good(5 * time.Millisecond)
				}
			},
		} {
			t.Run(fmt.Sprint(name, ", of ", n), func(t *testing.T) {
				t.Parallel()
				for seed := range seeds {
					f := newFleet(seed, Config{}, n)
					f.answer = answer(f)
					f.run(14 * time.Second)
					if len(f.events) > 0 {
						t.Errorf("seed %d: %v", seed, f.events)
					}
					if told := f.tell(5*time.Second, 14*time.Second); name == "all fail 3 %" && told.failed > told.calls/2000+1 && n > 2 {
						t.Errorf("seed %d: %v", seed, told)
					}
				}
			})
		}
	}
}

// Of ten, three fail at once: no more than the cap allows are ejected.
func TestSeveralSickInstances(t *testing.T) {
	f := newFleet(1, Config{}, 10)
	f.answer = func(node int, at time.Duration) answer {
		if node < 3 && at >= ill && at < well {
			return refused()
		}
		return f.good(5 * time.Millisecond)
	}
	f.run(over)
	during, after := f.tell(ill+time.Second, well), f.tell(well+20*time.Second, over)
	for i := range 3 {
		if during.share(i) > 0.01 {
			t.Errorf("while they are sick: %v, %v", during, f.events)
		}
		if after.share(i) < 0.065 {
			t.Errorf("20 s after their recovery: %v, %v", after, f.events)
		}
	}
	if during.failed > 0 {
		t.Errorf("failed calls: %v", during)
	}
}

// The one that was well leaves while the other is ejected: what is left is used.
func TestPanicUsesWhatIsLeft(t *testing.T) {
	f := newFleet(1, Config{}, 2)
	f.answer = func(node int, _ time.Duration) answer {
		if node == 0 {
			return refused()
		}
		return f.good(5 * time.Millisecond)
	}
	f.run(time.Second)
	if len(f.events) != 1 || !f.events[0].Ejected {
		t.Fatalf("events %v", f.events)
	}
	v := f.b.View(epoch.Add(f.now), f.nodes[:1])
	for i := range uint64(100) {
		if got := v.Pick(Call{Now: epoch.Add(f.now), Rand: i}); got != 0 {
			t.Fatalf("picked %d", got)
		}
	}
}

// An instance that was slow, though never so slow that it failed, has its share 20 seconds after.
func TestASlowInstanceIsFoundToBeFastAgain(t *testing.T) {
	for _, times := range []int{5, 50, 200} {
		for _, n := range []int{2, 5} {
			f := newFleet(1, Config{}, n)
			f.timeout = time.Minute
			f.answer = func(node int, at time.Duration) answer {
				if node == 0 && at >= ill && at < well {
					return f.good(time.Duration(times) * 5 * time.Millisecond)
				}
				return f.good(5 * time.Millisecond)
			}
			f.run(over)
			if during := f.tell(ill+time.Second, well); times > 5 && during.share(0) > 0.01 {
				t.Errorf("%d times slower of %d: while it was slow %v", times, n, during)
			}
			if after := f.tell(well+20*time.Second, over); after.share(0) < 0.8/float64(n) {
				t.Errorf("%d times slower of %d: 20 s after %v", times, n, after)
			}
		}
	}
}

// One that joins gets a tenth of its share at first, and all of it after the slow start.
func TestSlowStart(t *testing.T) {
	for _, policy := range allPolicies {
		f := newFleet(1, Config{Policy: policy}, 4)
		f.run(20 * time.Second)
		f.join(5)
		f.run(30 * time.Second)
		for _, tt := range []struct {
			from, until int // seconds
			least, most float64
		}{{20, 21, 0.005, 0.07}, {25, 26, 0.05, 0.16}, {35, 50, 0.16, 0.24}} {
			if got := f.tell(time.Duration(tt.from)*time.Second, time.Duration(tt.until)*time.Second).share(4); got < tt.least || got > tt.most {
				t.Errorf("%s: from %d s to %d s its share is %.3f, want %.3f to %.3f", policy, tt.from, tt.until, got, tt.least, tt.most)
			}
		}
	}
}

// Where calls are few, a sick instance is not given every other one of them.
func TestProbesAreFewWhereCallsAre(t *testing.T) {
	for _, rate := range []float64{1, 10, 60} {
		f := newFleet(1, Config{}, 3)
		f.rate = rate
		f.answer = func(node int, _ time.Duration) answer {
			if node == 0 {
				return refused()
			}
			return f.good(5 * time.Millisecond)
		}
		f.run(10 * time.Minute)
		got := f.tell(time.Minute, 10*time.Minute)
		if most := max(0.03, 0.12/rate); got.share(0) > most || got.failed > 0 {
			t.Errorf("%v calls a second: %v", rate, got)
		}
	}
}

// After an outage of all, they come back one after the other: the first does not get what the others are spared.
func TestNobodyIsSparedWhereAllAreBack(t *testing.T) {
	f := newFleet(1, Config{}, 3)
	f.run(30 * time.Second)
	now := epoch.Add(f.now)
	f.b.View(now, nil)
	for i := range f.nodes {
		now = now.Add(3 * time.Second)
		f.view = f.b.View(now, f.nodes[:i+1])
	}
	f.now = now.Sub(epoch)
	from := f.now
	f.run(time.Second)
	for i := range f.nodes {
		if got := f.tell(from, f.now).share(i); got < 0.2 || got > 0.45 {
			t.Errorf("the share of node %d is %.2f", i, got)
		}
	}
	// One that was away alone is spared.
	f.run(20 * time.Second)
	f.b.View(epoch.Add(f.now), f.nodes[1:])
	f.now += 2 * time.Second
	f.view = f.b.View(epoch.Add(f.now), f.nodes)
	from = f.now
	f.run(time.Second)
	if got := f.tell(from, f.now).share(0); got > 0.15 {
		t.Errorf("the share of one that is back is %.2f", got)
	}
}

// Reports of an instance that has joined do not take its slow start away.
func TestSlowStartOfHCL(t *testing.T) {
	b, _ := in(Config{Policy: HCL}, 12)
	members := make([]Member, 13)
	for i := range members {
		members[i].ID = fmt.Sprint("i-", i)
	}
	now := epoch.Add(20 * time.Second)
	v := b.View(now, b.Update(now, members))
	to := 0
	for i := range uint64(1000) {
		b.Probed(v.nodes[i%12], now, Report{0, 2 * time.Millisecond})
		b.Probed(v.nodes[12], now, Report{0, time.Millisecond})
		if v.Pick(Call{Now: now, Rand: i}) == 12 {
			to++
		}
	}
	if to < 20 || to > 200 {
		t.Errorf("%d of 1000 calls", to)
	}
}

// One falls ill while the other is still ejected for an illness that is over: calls are repeated at the latter, not where
// they have just failed.
func TestOneAfterTheOther(t *testing.T) {
	calls, failed := 0, 0
	for seed := range uint64(20) {
		f := newFleet(seed, Config{}, 2)
		f.rate = 50
		f.answer = func(node int, at time.Duration) answer {
			if node == 0 && at >= 15*time.Second && at < 22*time.Second && f.rnd.IntN(2) == 0 ||
				node == 1 && at >= 26*time.Second && at < 34*time.Second && f.rnd.IntN(5) > 0 {
				return refused()
			}
			return f.good(5 * time.Millisecond)
		}
		f.run(40 * time.Second)
		got := f.tell(26*time.Second, 34*time.Second)
		calls, failed = calls+got.calls, failed+got.failed
	}
	if failed > 0 {
		t.Errorf("%d of %d calls failed", failed, calls)
	}
}

// Where the one that is ejected keeps calls waiting, they are repeated at the one that refused them: it may have been busy.
func TestNoRepetitionWaitsForAFrozenOne(t *testing.T) {
	f := newFleet(1, Config{}, 2)
	f.answer = func(node int, at time.Duration) answer {
		switch {
		case at < ill:
		case node == 0:
			return answer{f.timeout, Bad, LowerBound}
		case f.rnd.IntN(5) == 0:
			return refused()
		}
		return f.good(5 * time.Millisecond)
	}
	f.run(over)
	if got := f.tell(ill+time.Second, over); got.share(0) > 0.01 {
		t.Errorf("%v", got)
	}
}

// Calls that failed elsewhere, too, are no probes: many of them do not put off when it is found out that an ejected one is well.
func TestRepetitionsDoNotPutOffProbes(t *testing.T) {
	for seed := range uint64(5) {
		f := newFleet(seed, Config{}, 2)
		f.answer = func(node int, at time.Duration) answer {
			if at >= ill && at < well && (node == 0 || at > ill+time.Second && f.rnd.IntN(2) == 0) {
				return refused()
			}
			return f.good(5 * time.Millisecond)
		}
		f.run(over)
		if last := f.events[len(f.events)-1]; last.Ejected || last.At.Sub(epoch) > well+3500*time.Millisecond {
			t.Errorf("seed %d: %v", seed, f.events)
		}
	}
}

// The end of a call that began before the ejection brings nobody back, however short the part of it was that is measured.
func TestOnlyWhatBeganAfterAnEjectionEndsIt(t *testing.T) {
	for _, tt := range []struct {
		began time.Duration // from the ejection
		back  bool
	}{{-time.Millisecond, false}, {time.Millisecond, true}} {
		now := epoch
		b := New(Config{})
		nodes := b.Update(now, []Member{{ID: "a"}, {ID: "b"}})
		b.View(now, nodes)
		for range 2 * DefaultConsecutive {
			for i, h := range []Health{Bad, Good} {
				nodes[i].Start()
				b.Done(nodes[i], now, now, None, h)
			}
		}
		if !nodes[0].ejected.Load() {
			t.Fatal("not ejected")
		}
		now = now.Add(time.Second)
		for range wins {
			nodes[0].Start()
			b.DoneTook(nodes[0], now, epoch.Add(tt.began), time.Microsecond, Latency, Good)
		}
		if got := !nodes[0].ejected.Load(); got != tt.back {
			t.Errorf("begun %v after the ejection: back %v", tt.began, got)
		}
		if got, _ := nodes[0].Latency(now); got != time.Microsecond {
			t.Errorf("latency %v", got)
		}
	}
}
