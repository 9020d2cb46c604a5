package resilience

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// event is a point of a history, with what has happened up to it.
type event struct {
	at    time.Duration
	calls int
	taken float64
}

// Over any history, and over any part of one, no more is taken than was saved up and has been added.
func TestBudgetNeverExceedsRatioAndFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := BudgetPolicy{
			Ratio: rapid.Float64Range(0.01, 1).Draw(t, "ratio"),
			Floor: rapid.Float64Range(0.01, 50).Draw(t, "floor"),
			Burst: rapid.Float64Range(0.01, 200).Draw(t, "burst"),
		}
		b := NewBudget(p)
		now := epoch
		var calls, held int
		var taken float64
		events := []event{{}}
		t.Repeat(map[string]func(*rapid.T){
			"call": func(t *rapid.T) {
				for range rapid.IntRange(1, 500).Draw(t, "n") {
					b.Call(now)
					calls++
				}
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(1, 2).Draw(t, "n")
				for range rapid.IntRange(1, 500).Draw(t, "times") {
					if b.Take(now, n) {
						taken += float64(n)
					}
				}
			},
			"hold": func(*rapid.T) {
				if b.Hold(now, 2) {
					held++
				}
			},
			"release": func(*rapid.T) {
				if held > 0 {
					b.Release(2)
					held--
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "d")))
			},
			"": func(t *rapid.T) {
				at := now.Sub(epoch)
				events = append(events, event{at, calls, taken})
				for _, e := range events {
					// Saved up at e: the burst, or what at most 20 s of calls before it and 10 s of floor made.
					before := e.calls
					for _, f := range events {
						if f.at < e.at-2*savings {
							before = e.calls - f.calls
						}
					}
					saved := max(p.Burst, p.Floor*10+p.Ratio*float64(before))
					allowed := saved + p.Floor*(at-e.at).Seconds() + p.Ratio*float64(calls-e.calls)
					if got := taken - e.taken; got > allowed+1e-6 {
						t.Fatalf("from %v to %v: %v taken, %v allowed", e.at, at, got, allowed)
					}
				}
				if free := b.Tokens(now); free < -1e-9 {
					t.Fatalf("%v tokens", free)
				}
			},
		})
	})
}

func TestBudgetHoldsNoMoreThanItHas(t *testing.T) {
	b := NewBudget(BudgetPolicy{Burst: 5, Ratio: -1, Floor: -1})
	for i := range 2 {
		if !b.Hold(epoch, 2) {
			t.Fatalf("%d of 5 tokens cannot be held", 2*i+2)
		}
	}
	if b.Hold(epoch, 2) {
		t.Error("6 of 5 tokens are held")
	}
	if !b.Take(epoch, 5) {
		t.Error("held tokens cannot be taken by who needs them now")
	}
	b.Release(2)
	b.Release(2)
	if b.Hold(epoch, 2) {
		t.Error("2 of 0 tokens are held")
	}
}

// A client of 1,000 calls a second of which every 20th fails is never refused, and one whose every call fails gets a
// tenth more and no burst of retries to speak of.
func TestBudgetIsRelativeToTheRateOfCalls(t *testing.T) {
	for _, tt := range []struct {
		fails   int
		refused bool
	}{{20, false}, {1, true}} {
		b := NewBudget(BudgetPolicy{})
		now, taken, refused := epoch, 0, false
		const calls = 60_000
		for i := range calls {
			b.Call(now)
			if i%tt.fails == 0 {
				if b.Take(now, 1) {
					taken++
				} else {
					refused = true
				}
			}
			now = now.Add(time.Millisecond)
		}
		if refused != tt.refused {
			t.Errorf("every %d. call fails: refused %v, want %v", tt.fails, refused, tt.refused)
		}
		if most := calls/10 + 3*60 + 100; taken > most {
			t.Errorf("every %d. call fails: %d retries, more than %d", tt.fails, taken, most)
		}
	}
}

// An instance with 50 calls in flight freezes or 100 die with one, as the first thing that a client meets.
func TestFreshBudgetCoversTheLossOfAnInstance(t *testing.T) {
	for _, tt := range []struct {
		calls int
		end   Outcome
	}{{50, AttemptTimeout}, {100, Unavailable}} {
		b := NewBudget(BudgetPolicy{})
		calls, plans := make([]Call, tt.calls), make([]Plan, tt.calls)
		for i := range calls {
			calls[i] = Begin(Spec{Budget: b, Deadline: epoch.Add(time.Minute), Safe: true})
			plan, stop := calls[i].Next(epoch, 0)
			plans[i] = plan
			if stop != StopDone || tt.end == AttemptTimeout && !plan.Bounded {
				t.Fatalf("%v: call %d has the plan %+v, %v", tt.end, i, plan, stop)
			}
		}
		for i := range calls {
			if d := calls[i].Done(epoch.Add(time.Second), plans[i], tt.end, 0, math.MaxUint64); !d.Retry {
				t.Fatalf("%v: call %d stops: %v", tt.end, i, d.Stop)
			}
			calls[i].Next(epoch.Add(time.Second), 0)
		}
	}
}

// What a busier time has saved up is gone 20 s after it, however often one has looked in the meantime.
func TestBudgetForgetsABusierTime(t *testing.T) {
	for _, looks := range [][]int{{}, {14}, {7, 14}, {5, 10, 15}, {19}} {
		b := NewBudget(BudgetPolicy{Burst: 1, Floor: 0.1, Ratio: 1})
		for range 1000 {
			b.Call(epoch)
		}
		for _, at := range looks {
			if got := b.Tokens(epoch.Add(time.Duration(at) * time.Second)); at < 10 && got < 1000 {
				t.Errorf("%.0f tokens after %ds", got, at)
			}
		}
		if got := b.Tokens(epoch.Add(2 * savings)); got > 1 {
			t.Errorf("looked after %d: %.0f tokens 20 s later", looks, got)
		}
	}
}

func BenchmarkBudget(b *testing.B) {
	budget := NewBudget(BudgetPolicy{})
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if budget.begin(now, reserve) {
				budget.Release(reserve)
			}
		}
	})
}

// Retries use up the share of the hedges, and no more of it than can be saved up: after a bad time hedges are back.
func TestRetriesUseUpTheShareOfHedges(t *testing.T) {
	b, now := NewBudget(BudgetPolicy{Burst: 1000}), epoch
	const share = 0.04
	calls := func(n int) {
		for range n {
			b.Call(now)
		}
	}
	calls(25)
	if !b.hedge(now, share) || b.hedge(now, share) {
		t.Fatal("25 calls are one hedge")
	}
	calls(25)
	b.Take(now, 1)
	if b.hedge(now, share) {
		t.Error("a hedge beside a retry for 25 calls")
	}
	for range 500 {
		b.Take(now, 1)
	}
	calls(25*hedgeBurst + 25)
	if !b.hedge(now, share) {
		t.Error("no hedge for as many calls as could be saved up, and 25 more")
	}
}

// What was in flight when an instance died is replaced, without a token, and an instance that dies soon after takes another
// share with it.
func TestBudgetReplacesWhatDiedWithAnInstance(t *testing.T) {
	b := NewBudget(BudgetPolicy{Burst: 0.5, Ratio: -1, Floor: -1})
	calls := make([]Call, 100)
	policy := &Policy{}
	plans := make([]Plan, len(calls))
	for i := range calls {
		calls[i] = Begin(Spec{Policy: policy, Budget: b, Deadline: epoch.Add(10 * time.Second), Safe: true})
		plans[i], _ = calls[i].Next(epoch, 0)
	}
	die := func(now time.Time, n int) (replaced int) {
		for i := range n {
			if d := calls[i].Done(now, plans[i], Broken, 0, 0); d.Retry {
				replaced++
				plans[i], _ = calls[i].Next(now, 0)
			}
		}
		return replaced
	}
	if n := die(epoch.Add(time.Second), 50); n != 50 {
		t.Errorf("half of what is in flight is lost, and %d of 50 are replaced", n)
	}
	if n := die(epoch.Add(3*time.Second), 100); n != 100 {
		t.Errorf("2 s later the other instance dies, and %d of 100 are replaced", n)
	}
	if b.Take(epoch.Add(3*time.Second), 1) {
		t.Error("a budget of nothing has a token")
	}
}

// Where connections keep breaking, however late, what is replaced comes back no faster than tokens do: 1,000 calls a second,
// each of which is lost after 8 s.
func TestBudgetReplacesNoMoreThanItWouldTake(t *testing.T) {
	p := BudgetPolicy{Burst: 10, Ratio: 0.1, Floor: 3}
	b := NewBudget(p)
	const rate, latency, seconds = 1000, 8, 60
	replaced, flying := 0, 0
	for i := range rate * seconds {
		now := epoch.Add(time.Duration(i) * time.Second / rate)
		b.begin(now, 0)
		if flying++; flying > rate*latency {
			flying--
			if b.Replace(now) {
				replaced++
			}
			b.end()
		}
	}
	most := 10 + 2*rate*latency + 2*(3*seconds+rate*seconds/10)
	if replaced > most {
		t.Errorf("%d of %d replaced, want %d at most", replaced, rate*(seconds-latency), most)
	}
	for range flying {
		b.end()
	}
	idle := NewBudget(BudgetPolicy{Burst: 0.5, Ratio: -1, Floor: -1})
	if idle.Replace(epoch) {
		t.Error("replaced with nothing in flight")
	}
	off := NewBudget(BudgetPolicy{Burst: -1, Ratio: -1, Floor: -1})
	off.begin(epoch, 0)
	if off.Replace(epoch) {
		t.Error("replaced by a budget that is switched off")
	}
}

// Every call that was counted is counted off, however it ends.
func TestBudgetCountsWhatIsInFlight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBudget(BudgetPolicy{})
		now := epoch
		var calls []Call
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				c := Begin(Spec{Policy: &Policy{}, Budget: b, Deadline: now.Add(time.Second), Safe: rapid.Bool().Draw(t, "safe")})
				if p, stop := c.Next(now, 0); stop == StopDone && rapid.Bool().Draw(t, "ends") {
					o := Outcome(rapid.IntRange(0, int(outcomes)-1).Draw(t, "outcome"))
					if c.Done(now, p, o, 0, 0).Retry {
						c.Next(now, 0)
					}
				}
				calls = append(calls, c)
			},
			"end": func(t *rapid.T) {
				if len(calls) == 0 {
					t.Skip("none")
				}
				i := rapid.IntRange(0, len(calls)-1).Draw(t, "which")
				calls[i].End(now)
				calls[i].End(now) // does nothing
				calls = append(calls[:i], calls[i+1:]...)
			},
			"": func(t *rapid.T) {
				if n := int(b.flying.Load()); n != len(calls) {
					t.Fatalf("%d in flight, want %d", n, len(calls))
				}
			},
		})
	})
}

func TestABudgetCountsCallsAndAttempts(t *testing.T) {
	b := NewBudget(BudgetPolicy{})
	now := time.Unix(1, 0)
	for n := range 3 { // with one, two and three attempts
		c := Begin(Spec{Policy: &Policy{MaxAttempts: 3}, Budget: b, Deadline: now.Add(time.Minute), Safe: true})
		for range n + 1 {
			p, stop := c.Next(now, 0)
			if stop != StopDone {
				t.Fatal(stop)
			}
			c.Done(now, p, Unsent, -1, 0)
		}
		c.End(now)
	}
	if calls, attempts := b.Counts(); calls != 3 || attempts != 6 {
		t.Errorf("%d calls, %d attempts", calls, attempts)
	}
}
