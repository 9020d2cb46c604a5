package resilience

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/balance"
)

// Whatever the two attempts of a call meet, in whatever order: there are never more than two under way, one hedge and
// MaxAttempts in all, hedges and retries stay within the budget, and nothing is held when the call is over.
func TestHedgedCallKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := &Policy{
			MaxAttempts: rapid.IntRange(0, 4).Draw(t, "attempts"), MaxInFlight: 3,
			Budget:  BudgetPolicy{Burst: rapid.Float64Range(0.1, 20).Draw(t, "burst")},
			Breaker: &BreakerPolicy{Calls: 5},
		}
		budget, latency, guard, now := NewBudget(policy.Budget), new(Latency), NewGuard(*policy), epoch
		for range 100 {
			latency.Observe(now, time.Duration(rapid.Int64Range(0, int64(300*time.Millisecond)).Draw(t, "sample")), balance.Latency)
			budget.Call(now)
		}
		for range rapid.IntRange(1, 8).Draw(t, "calls") {
			deadline := now.Add(time.Duration(rapid.Int64Range(1, int64(3*time.Second)).Draw(t, "left")))
			safe := rapid.Bool().Draw(t, "safe")
			call := Begin(Spec{Policy: policy, Budget: budget, Guard: guard, Latency: latency, Deadline: deadline, Safe: safe})
			var flying []Plan
			hedges, reached := 0, 0
			waiting := false // for a retry
			t.Repeat(map[string]func(*rapid.T){
				"next": func(t *rapid.T) {
					if len(flying) > 0 || reached > 0 && !waiting {
						t.Skip()
					}
					plan, stop := call.Next(now, 0)
					if stop != StopDone {
						t.Skip()
					}
					if !plan.Hedge.IsZero() && (!safe || !plan.Hedge.Before(plan.Deadline)) {
						t.Fatalf("hedged: %+v", plan)
					}
					waiting, flying = false, append(flying, plan)
				},
				"hedge": func(t *rapid.T) {
					if len(flying) == 0 {
						t.Skip()
					}
					before := budget.Tokens(now)
					plan, ok := call.Hedge(now, 0)
					if !ok {
						t.Skip()
					}
					if hedges++; hedges > 1 || len(flying) != 1 || !safe || !plan.Hedged || before-budget.Tokens(now) != 1 {
						t.Fatalf("hedge %d of %d flying, safe %v, %v tokens before: %+v", hedges, len(flying), safe, before, plan)
					}
					flying = append(flying, plan)
				},
				"done": func(t *rapid.T) {
					if len(flying) == 0 {
						t.Skip()
					}
					i := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
					plan := flying[i]
					flying = append(flying[:i:i], flying[i+1:]...)
					o := Outcome(rapid.IntRange(0, int(outcomes)-1).Draw(t, "outcome"))
					reached++
					d := call.Done(now, plan, o, rapid.SampledFrom([]time.Duration{0, 0, AtOnce, Never}).Draw(t, "pushback"), 0)
					if d.Pending != (len(flying) > 0 && !o.Verdict().Answer) {
						t.Fatalf("%v with %d others under way: %+v", o, len(flying), d)
					}
					if d.Pending {
						return
					}
					for _, lost := range flying {
						call.Lost(now, lost)
					}
					flying, waiting = nil, d.Retry
				},
				"twice": func(*rapid.T) {
					call.Lost(now, Plan{Number: 100})
					call.Done(now, Plan{Number: 100}, OK, 0, 0)
				},
				"wait": func(t *rapid.T) {
					now = now.Add(time.Duration(rapid.Int64Range(0, int64(500*time.Millisecond)).Draw(t, "d")))
				},
				"": func(t *rapid.T) {
					if ran := call.reached(); ran > policy.attempts()+call.unsent {
						t.Fatalf("%d attempts of %d", ran, policy.attempts())
					}
				},
			})
			call.End(now)
			call.End(now)
			if budget.held != 0 || guard.InFlight() != 0 || budget.tokens < 0 {
				t.Fatalf("%d tokens held, %d calls under way, %v tokens", budget.held, guard.InFlight(), budget.tokens)
			}
		}
	})
}

// CANCELED moves no counter and frees what was held.
func TestCanceledCountsForNothing(t *testing.T) {
	policy := &Policy{MaxInFlight: 1, Breaker: &BreakerPolicy{Calls: 1, Probes: 1}}
	budget, guard, latency := NewBudget(policy.Budget), NewGuard(*policy), new(Latency)
	now := epoch
	run := func(o Outcome) Stop {
		c := Begin(Spec{Policy: policy, Budget: budget, Guard: guard, Latency: latency, Deadline: now.Add(time.Second), Safe: true})
		defer c.End(now)
		plan, stop := c.Next(now, 0)
		if stop != StopDone {
			return stop
		}
		return c.Done(now, plan, o, 0, 0).Stop
	}
	run(Unavailable)
	now = now.Add(5 * time.Second)
	all, good := guard.throttle.level(Critical).window.counts(now)
	samples, tokens := latency.Summary(now).Samples, budget.Tokens(now)
	for range 1000 {
		if stop := run(Canceled); stop != StopCanceled {
			t.Fatalf("the one probe of the half-open breaker is taken: %v", stop)
		}
	}
	if a, g := guard.throttle.level(Critical).window.counts(now); a != all || g != good || latency.Summary(now).Samples != samples {
		t.Errorf("%d of %d in the throttle, %d of %d before; %d samples, %d before", g, a, good, all, latency.Summary(now).Samples, samples)
	}
	if budget.held != 0 || budget.Tokens(now) < tokens || guard.InFlight() != 0 {
		t.Errorf("%d tokens held, %v tokens, %d calls under way", budget.held, budget.Tokens(now), guard.InFlight())
	}
	if stop := run(OK); stop != StopDone {
		t.Errorf("the breaker does not close: %v", stop)
	}
}

// 10,000 calls that all fail, at 100 a second and at 1,000: at most a tenth more attempts, the floor and the burst.
func TestAttemptsStayWithinTheBudget(t *testing.T) {
	for _, rate := range []int{100, 1000} {
		for _, o := range []Outcome{Unavailable, AttemptTimeout, Shed} {
			policy := &Policy{Throttle: ThrottlePolicy{K: -1}}
			budget, guard, latency := NewBudget(BudgetPolicy{}), NewGuard(*policy), new(Latency)
			now, attempts := epoch, 0
			const calls = 10_000
			for range calls {
				now = now.Add(time.Second / time.Duration(rate))
				c := Begin(Spec{Policy: policy, Budget: budget, Guard: guard, Latency: latency, Deadline: now.Add(time.Minute), Safe: true})
				at := now
				for {
					plan, stop := c.Next(at, 0)
					if stop != StopDone {
						break
					}
					attempts++
					d := c.Done(at, plan, o, 0, 0)
					if !d.Retry {
						break
					}
					at = at.Add(d.Wait)
				}
				c.End(at)
			}
			if most := calls*11/10 + defaultFloor*calls/rate + defaultBurst + 1; attempts > most {
				t.Errorf("%v, %d a second: %d attempts for %d calls, more than %d", o, rate, attempts, calls, most)
			}
		}
	}
}

// stragglers makes calls at a fixed rate, without queues, and returns how many hedges they had and what they took.
func stragglers(calls int, hedge HedgePolicy, took func(i int) time.Duration) (hedges int, times []time.Duration) {
	policy := &Policy{Hedge: hedge}
	budget, guard, latency, now := NewBudget(BudgetPolicy{}), NewGuard(*policy), new(Latency), epoch
	for i := range calls {
		now = now.Add(time.Millisecond)
		c := Begin(Spec{Policy: policy, Budget: budget, Guard: guard, Latency: latency, Deadline: now.Add(5 * time.Second), Safe: true})
		plan, _ := c.Next(now, 0)
		end := now.Add(took(i))
		if !plan.Hedge.IsZero() && end.After(plan.Hedge) {
			if other, ok := c.Hedge(plan.Hedge, 0); ok {
				hedges++
				second := plan.Hedge.Add(took(i + 1))
				if second.Before(end) {
					c.Done(second, other, OK, 0, 0)
					c.Lost(second, plan)
					end = second
				} else {
					c.Done(end, plan, OK, 0, 0)
					c.Lost(end, other)
				}
				c.End(end)
				times = append(times, end.Sub(now))
				continue
			}
		}
		c.Done(end, plan, OK, 0, 0)
		c.End(end)
		times = append(times, end.Sub(now))
	}
	return hedges, times
}

// Two executions in a hundred take 100 ms where the others take 5 ms on average: hedges of 4 % of the calls at most
// make the 99th percentile that of the others.
func TestHedgesCutTheTail(t *testing.T) {
	const calls = 20_000
	work := func(seed uint64) func(int) time.Duration {
		rnd := rand.New(rand.NewPCG(seed, 1))
		return func(int) time.Duration {
			if rnd.Float64() < 0.02 {
				return 100 * time.Millisecond
			}
			return time.Duration(rnd.ExpFloat64() * float64(5*time.Millisecond))
		}
	}
	p99 := func(times []time.Duration) time.Duration {
		for limit := time.Millisecond; ; limit += time.Millisecond {
			over := 0
			for _, d := range times {
				if d > limit {
					over++
				}
			}
			if over*100 <= len(times) {
				return limit
			}
		}
	}
	for seed := range uint64(3) {
		_, without := stragglers(calls, HedgePolicy{Share: -1}, work(seed))
		hedges, with := stragglers(calls, HedgePolicy{}, work(seed))
		t.Logf("p99 %v without, %v with %d hedges", p99(without), p99(with), hedges)
		if p99(with)*2 > p99(without) || hedges > calls*4/100+hedgeBurst {
			t.Errorf("p99 %v without, %v with %d hedges of %d calls", p99(without), p99(with), hedges, calls)
		}
	}
}

// Everything turns ten times slower from one moment to the next. The observed percentile learns that only as time goes
// by, and a fixed delay never: every call wants a hedge. 4 % of them get one.
func TestHedgesStayWithinTheirShareWhenEverythingTurnsSlow(t *testing.T) {
	for _, hedge := range []HedgePolicy{{}, {Delay: 8 * time.Millisecond}, {Share: 0.01}} {
		const calls, turn = 10_000, 5_000
		hedges, _ := stragglers(calls, hedge, func(i int) time.Duration {
			if i > turn {
				return 50 * time.Millisecond
			}
			return 5*time.Millisecond + time.Duration(i%100)*10*time.Microsecond
		})
		share := orDefault(hedge.Share, defaultHedges)
		if most := int(share*calls) + hedgeBurst; hedges > most {
			t.Errorf("%+v: %d hedges of %d calls, more than %d", hedge, hedges, calls, most)
		}
	}
}

// What the guard refuses takes nothing from the budget, and nothing from the share of hedges.
func TestAHedgeThatIsNotMadeIsNotPaidFor(t *testing.T) {
	policy := &Policy{Rate: 1, Burst: 1, Hedge: HedgePolicy{Delay: 10 * time.Millisecond}}
	budget, guard, latency := NewBudget(policy.Budget), NewGuard(*policy), new(Latency)
	for range 100 {
		latency.Observe(epoch, 5*time.Millisecond, balance.Latency)
		budget.Call(epoch)
	}
	now := epoch.Add(time.Second)
	c := Begin(Spec{Policy: policy, Budget: budget, Guard: guard, Latency: latency, Deadline: now.Add(5 * time.Second), Safe: true})
	if plan, stop := c.Next(now, 0); stop != StopDone || plan.Hedge.IsZero() {
		t.Fatalf("%+v, %v", plan, stop)
	}
	budget.Take(now, 10) // so that it is not full
	tokens, unhedged := budget.Tokens(now), budget.unhedged
	if _, ok := c.Hedge(now, 0); ok {
		t.Fatal("the rate limit allows a second one")
	}
	if got := budget.Tokens(now); got != tokens || budget.unhedged != unhedged {
		t.Errorf("%v of %v tokens, %v of %v calls without a hedge", got, tokens, budget.unhedged, unhedged)
	}
}

// A loser says something about latency from the time on that half of the calls take.
func TestWhatALoserIsWorth(t *testing.T) {
	for took, want := range map[time.Duration]balance.Sample{2 * time.Millisecond: balance.None, 20 * time.Millisecond: balance.LowerBound} {
		latency := new(Latency)
		for range 100 {
			latency.Observe(epoch, 10*time.Millisecond, balance.Latency)
		}
		now := epoch.Add(time.Second)
		c := Begin(Spec{Latency: latency, Deadline: now.Add(5 * time.Second), Safe: true})
		plan, _ := c.Next(now, 0)
		if got := c.Lost(now.Add(took), plan); got != want {
			t.Errorf("lost after %v: %v", took, got)
		}
	}
}
