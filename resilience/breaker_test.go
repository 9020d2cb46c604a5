package resilience

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever ends how and when, or not at all: no more probes than allowed are under way, and the breaker closes again
// once the service is well.
func TestBreakerCannotBeWedged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := BreakerPolicy{Probes: rapid.IntRange(1, 5).Draw(t, "probes")}
		b, now := NewBreaker(policy), epoch
		var tickets []uint64
		t.Repeat(map[string]func(*rapid.T){
			"allow": func(t *rapid.T) {
				for range rapid.IntRange(1, 30).Draw(t, "n") {
					if ticket, ok := b.Allow(now); ok {
						tickets = append(tickets, ticket)
					}
				}
			},
			"done": func(t *rapid.T) {
				if len(tickets) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(tickets)-1).Draw(t, "which")
				b.Done(now, tickets[i], Vote(rapid.IntRange(0, 2).Draw(t, "vote")))
				tickets = append(tickets[:i], tickets[i+1:]...)
			},
			"lose": func(*rapid.T) { tickets = nil },
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(7*time.Second)).Draw(t, "d")))
			},
			"": func(t *rapid.T) {
				if b.probes < 0 || b.probes > policy.Probes {
					t.Fatalf("%d probes of %d", b.probes, policy.Probes)
				}
			},
		})
		for range 10 {
			if b.State() == "closed" {
				return
			}
			now = now.Add(policy.defaults().Open)
			for range policy.Probes {
				if ticket, ok := b.Allow(now); ok {
					b.Done(now, ticket, Accept)
				}
			}
		}
		t.Fatalf("%s although all is well", b.State())
	})
}

func TestBreakerIgnoresWhatBeganBeforeItOpened(t *testing.T) {
	b := NewBreaker(BreakerPolicy{Calls: 2})
	old, _ := b.Allow(epoch)
	for range 2 {
		ticket, _ := b.Allow(epoch)
		b.Done(epoch, ticket, Reject)
	}
	if _, ok := b.Allow(epoch.Add(time.Second)); ok || b.State() != "open" {
		t.Fatal(b.State())
	}
	now := epoch.Add(5 * time.Second)
	if _, ok := b.Allow(now); !ok || b.State() != "half open" {
		t.Fatal(b.State())
	}
	b.Done(now, old, Reject)
	if b.State() != "half open" {
		t.Error("a late failure of before has opened it again")
	}
}

func TestGuardKeepsWhatItKnowsWhenThePolicyChanges(t *testing.T) {
	p := Policy{MaxInFlight: 1, Rate: 1, Breaker: &BreakerPolicy{Calls: 1}}
	g := NewGuard(p)
	if _, stop := g.enter(); stop != StopDone {
		t.Fatal(stop)
	}
	ps, stop := g.allow(epoch, Critical, 0)
	if stop != StopDone {
		t.Fatal(stop)
	}
	g.done(epoch, Critical, ps, Verdict{Throttle: Reject})
	p.MaxInFlight, p.Burst = 2, 5
	g.Configure(p)
	if _, stop := g.enter(); stop != StopDone || g.InFlight() != 2 {
		t.Errorf("two of two: %v, %d under way", stop, g.InFlight())
	}
	if _, stop := g.allow(epoch.Add(2*time.Second), Critical, 0); stop != StopBreaker {
		t.Errorf("the open breaker is forgotten: %v", stop)
	}
	g.Configure(Policy{})
	if _, stop := g.allow(epoch, Critical, 0); stop != StopDone {
		t.Errorf("nothing is limited: %v", stop)
	}
}

// Every refusal has an error that says who refused, and that nothing was sent.
func TestRefusalsSayWho(t *testing.T) {
	for stop := range Stop(len(stops)) {
		by, refused := stop.Refused()
		e := stop.Failure("echo")
		if refused != (by != "") || refused && stop != StopBudget && !e.Local() || !refused && e.Local() {
			t.Errorf("%v: refused by %q: %v", stop, by, e)
		}
		if stop.String() == "" || stop == StopThrottled && (Plan{}).Classify(e, MaybeSent, 0) != Local {
			t.Errorf("stop %d: %q", stop, stop)
		}
	}
}
