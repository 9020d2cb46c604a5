package resilience

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/balance"
)

// Whatever the attempts meet, however late the clock is read: no attempt is planned at or beyond the total deadline,
// the number of attempts is bounded, what may have run runs twice only if it may, and nothing stays held.
func TestCallKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := &Policy{
			MaxAttempts:    rapid.IntRange(0, 5).Draw(t, "attempts"),
			AttemptTimeout: rapid.SampledFrom([]time.Duration{0, -1, 100 * time.Millisecond, time.Second}).Draw(t, "attempt timeout"),
			Budget:         BudgetPolicy{Burst: rapid.Float64Range(0.1, 20).Draw(t, "burst")},
		}
		budget, latency, now := NewBudget(policy.Budget), new(Latency), epoch
		for range rapid.IntRange(0, 100).Draw(t, "samples") {
			latency.Observe(now, time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "sample")), balance.Latency)
		}
		for range rapid.IntRange(1, 5).Draw(t, "calls") {
			deadline := now.Add(time.Duration(rapid.Int64Range(-1, int64(10*time.Second)).Draw(t, "left")))
			safe := rapid.Bool().Draw(t, "safe")
			call := Begin(Spec{Policy: policy, Budget: budget, Latency: latency, Deadline: deadline, Safe: safe})
			ran, unsent, tokens := 0, 0, budget.Tokens(now)
			for n := 0; ; n++ {
				plan, stop := call.Next(now, 0)
				if stop != StopDone {
					if now.Before(deadline) {
						t.Fatalf("no attempt although %v is left", deadline.Sub(now))
					}
					break
				}
				if !now.Before(deadline) || plan.Deadline.After(deadline) || !plan.Deadline.After(now) {
					t.Fatalf("attempt from %v to %v of a call until %v", now, plan.Deadline, deadline)
				}
				if plan.Number != n {
					t.Fatalf("attempt %d has number %d", n, plan.Number)
				}
				if plan.Bounded != plan.Deadline.Before(deadline) {
					t.Fatalf("bounded %v, but until %v of %v", plan.Bounded, plan.Deadline, deadline)
				}
				if plan.Bounded && (!safe || ran+1 >= policy.attempts()) {
					t.Fatalf("attempt %d is cut off, though no other may follow", n)
				}
				// Ends may be noticed late.
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(plan.Deadline.Sub(now))*5/4).Draw(t, "took")))
				o := Outcome(rapid.IntRange(0, int(outcomes)-1).Draw(t, "outcome"))
				if o == Unsent || o == NoInstance || o == Local {
					unsent++
				} else {
					ran++
				}
				pushback := time.Duration(rapid.Int64Range(0, int64(400*time.Millisecond)).Draw(t, "pushback"))
				d := call.Done(now, plan, o, pushback, rapid.Uint64().Draw(t, "rnd"))
				if d.Retry != (d.Stop == StopDone && o != OK) {
					t.Fatalf("%v: %+v", o, d)
				}
				if !d.Retry {
					break
				}
				if !o.Verdict().RetryUnsafe && !safe {
					t.Fatalf("%v of an unsafe call is tried again", o)
				}
				if ran >= policy.attempts() || unsent >= maxUnsent {
					t.Fatalf("tried again after %d attempts, %d unsent", ran, unsent)
				}
				if !now.Add(d.Wait).Before(deadline) || d.Wait < 0 {
					t.Fatalf("waits %v with %v left", d.Wait, deadline.Sub(now))
				}
				if pushback != AtOnce && d.Wait < pushback {
					t.Fatalf("waits %v though asked to wait %v", d.Wait, pushback)
				}
				now = now.Add(d.Wait)
			}
			if after := budget.Tokens(now); after < 0 || after > max(tokens, policy.Budget.Burst, 31) {
				t.Fatalf("%v tokens, %v before", after, tokens)
			}
			if budget.held != 0 {
				t.Fatalf("%d tokens are held after the call", budget.held)
			}
		}
	})
}

// When everything becomes slow, the calls in flight are cut off only as far as their next attempts are paid for.
func TestSlowMachineIsNotCutOffUnpaid(t *testing.T) {
	b, l := NewBudget(BudgetPolicy{}), new(Latency)
	for range 1000 {
		l.Observe(epoch, 5*time.Millisecond, balance.Latency)
	}
	calls := make([]Call, 500)
	plans := make([]Plan, len(calls))
	for i := range calls {
		calls[i] = Begin(Spec{Budget: b, Latency: l, Deadline: epoch.Add(5 * time.Second), Safe: true})
		plans[i], _ = calls[i].Next(epoch, 0)
	}
	cut := 0
	for i := range calls {
		if !plans[i].Bounded {
			continue
		}
		cut++
		if d := calls[i].Done(epoch.Add(defaultAttemptFloor), plans[i], AttemptTimeout, 0, 0); !d.Retry {
			t.Fatalf("call %d is cut off and then %v", i, d.Stop)
		}
	}
	if cut == 0 || cut > 75 {
		t.Errorf("%d of %d calls are cut off", cut, len(calls))
	}
}

func TestCallWithoutSpecIsOver(t *testing.T) {
	c := Begin(Spec{})
	if _, stop := c.Next(epoch, 0); stop != StopDeadline {
		t.Error("a call without a deadline has an attempt")
	}
}

func TestCallWithoutBudgetTriesOnlyTheUnsentAgain(t *testing.T) {
	for o, want := range map[Outcome]Stop{Unsent: StopDone, Unavailable: StopBudget} {
		c := Begin(Spec{Deadline: epoch.Add(time.Second), Safe: true})
		plan, stop := c.Next(epoch, 0)
		if stop != StopDone || plan.Bounded {
			t.Fatalf("plan %+v, %v", plan, stop)
		}
		if d := c.Done(epoch, plan, o, 0, 0); d.Stop != want || d.Retry != (o == Unsent) {
			t.Errorf("%v: %+v", o, d)
		}
	}
}

func TestBackoffIsFullJitterUpToMax(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Backoff{
			Base: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "base")),
			Max:  time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "max")),
		}
		n := rapid.IntRange(0, 100).Draw(t, "n")
		limit := b.defaults().Max
		got := b.Wait(n, rapid.Uint64().Draw(t, "rnd"))
		if got < 0 || got > limit {
			t.Fatalf("wait %d of %+v: %v", n, b, got)
		}
		if most := b.Wait(n, 1<<64-1); got > most {
			t.Fatalf("wait %d of %+v: %v is more than with the largest number, %v", n, b, got, most)
		}
	})
	for n, want := range []int64{25, 50, 100, 200, 250, 250} {
		if got := (Backoff{}).Wait(n, 1<<64-1).Round(time.Millisecond); got.Milliseconds() != want {
			t.Errorf("the longest wait %d is %v, want %dms", n, got, want)
		}
	}
}

func TestPolicyReportsEveryProblem(t *testing.T) {
	nan := 0.0
	nan /= nan
	p := Policy{
		Timeout: -1, AttemptTimeout: time.Minute, AttemptFloor: -1, MaxAttempts: 11,
		Backoff: Backoff{Base: time.Second}, Budget: BudgetPolicy{Ratio: 2, Floor: nan},
		Hedge: HedgePolicy{Share: 2}, Throttle: ThrottlePolicy{K: 0.5, Window: time.Hour, Floor: 2}, MaxInFlight: -1, Rate: nan,
		Breaker: &BreakerPolicy{Failures: 2, Window: time.Hour},
	}
	err := p.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 14 {
		t.Errorf("14 problems are reported as %v", err)
	}
	if err := (Policy{}).Validate(); err != nil {
		t.Errorf("the zero policy is valid, but %v", err)
	}
	if b := NewBudget(p.Budget); b.Take(epoch, 1) && b.Take(epoch, 200) {
		t.Error("a budget of no number has no bound")
	}
}

func BenchmarkCall(b *testing.B) {
	budget, latency, policy, guard := NewBudget(BudgetPolicy{}), new(Latency), new(Policy), NewGuard(Policy{})
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		now := now
		for pb.Next() {
			now = now.Add(10 * time.Microsecond)
			c := Begin(Spec{Policy: policy, Budget: budget, Guard: guard, Latency: latency, Deadline: now.Add(5 * time.Second), Safe: true})
			plan, stop := c.Next(now, 0)
			if stop != StopDone {
				b.Error("no attempt")
				return
			}
			c.Done(now.Add(time.Millisecond), plan, OK, 0, 0)
			c.End(now)
		}
	})
}
