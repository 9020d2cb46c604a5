package resilience

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// outage is a service that is called at a fixed rate, in virtual time, and is down for a while.
type outage struct {
	rate    int           // calls a second
	latency time.Duration // of a good answer
	failing time.Duration // of a bad one
	down    func(at time.Duration) bool
	good    float64 // the share of calls that go well while it is not down; 0: all
}

// second is what happened to the calls made in one second.
type second struct{ calls, passed, ok int }

// run returns what happened, second by second.
func (o outage) run(t *Throttle, seed uint64, until time.Duration) []second {
	type end struct {
		at time.Duration
		v  Vote
	}
	rnd := rand.New(rand.NewPCG(seed, 3))
	seconds := make([]second, int(until/time.Second)+1)
	fast, slow := []end{}, []end{} // in order of time, each for itself
	for at := time.Duration(0); at < until; at += time.Second / time.Duration(o.rate) {
		for len(fast) > 0 && fast[0].at <= at {
			t.Vote(epoch.Add(fast[0].at), Critical, fast[0].v)
			fast = fast[1:]
		}
		for len(slow) > 0 && slow[0].at <= at {
			t.Vote(epoch.Add(slow[0].at), Critical, slow[0].v)
			slow = slow[1:]
		}
		s := &seconds[at/time.Second]
		s.calls++
		if !t.Allow(epoch.Add(at), Critical, rnd.Uint64()) {
			continue
		}
		s.passed++
		if o.down(at) || o.good > 0 && rnd.Float64() >= o.good {
			slow = append(slow, end{at + o.failing, Reject})
		} else {
			s.ok++
			fast = append(fast, end{at + o.latency, Accept})
		}
	}
	return seconds
}

// A service is down for two minutes. Meanwhile a twentieth of the calls gets through, or one a second, and 8 s after it
// is well again 95 % of them do, whether they failed at once or after a second.
func TestThrottleRecoversFromATwoMinuteOutage(t *testing.T) {
	const from, until = 60 * time.Second, 180 * time.Second
	for _, rate := range []int{2, 20, 100, 1000} {
		for _, failing := range []time.Duration{time.Millisecond, time.Second} {
			seeds := uint64(3)
			if rate == 1000 { // chance evens out
				seeds = 1
			}
			for seed := range seeds {
				o := outage{rate: rate, latency: 10 * time.Millisecond, failing: failing, down: func(at time.Duration) bool { return at >= from && at < until }}
				seconds := o.run(NewThrottle(ThrottlePolicy{}), seed, until+30*time.Second)
				leaked := 0
				for _, s := range seconds[150:180] {
					leaked += s.passed
				}
				if most := 40 + rate*30*8/100; leaked > most {
					t.Errorf("%d a second, failing after %v: %d calls got through in 30 s, more than %d", rate, failing, leaked, most)
				}
				after := 0
				for i, s := range seconds[180:210] {
					if float64(s.passed) < 0.95*float64(s.calls) {
						after = i + 1
					}
				}
				if after > 8 {
					t.Errorf("%d a second, failing after %v, seed %d: 95 %% get through %d s later", rate, failing, seed, after)
				}
				if before := seconds[59]; before.passed != before.calls {
					t.Errorf("%d of %d calls got through before", before.passed, before.calls)
				}
			}
		}
	}
}

// Of a service that can take a quarter of what it is sent, twice that is sent; and of one that fails a tenth, nothing
// is held back.
func TestThrottleSendsTwiceWhatIsAccepted(t *testing.T) {
	never := func(time.Duration) bool { return false }
	o := outage{rate: 500, latency: time.Millisecond, failing: time.Millisecond, down: never, good: 0.9}
	for i, s := range o.run(NewThrottle(ThrottlePolicy{}), 1, time.Minute) {
		if s.passed != s.calls {
			t.Fatalf("second %d: %d of %d", i, s.passed, s.calls)
		}
	}
	// It accepts 100 a second, whatever it is sent.
	throttle, rnd, now := NewThrottle(ThrottlePolicy{}), rand.New(rand.NewPCG(1, 1)), epoch
	passed, accepted, room := 0, 0, 0.0
	const rate, seconds = 400, 120
	for i := range rate * seconds {
		now = now.Add(time.Second / rate)
		room = min(room+100.0/rate, 5)
		if !throttle.Allow(now, Critical, rnd.Uint64()) {
			continue
		}
		v := Reject
		if room >= 1 {
			room--
			v = Accept
		}
		throttle.Vote(now, Critical, v)
		if i >= rate*seconds/2 {
			passed++
			if v == Accept {
				accepted++
			}
		}
	}
	if want := 100 * seconds / 2; accepted < want*95/100 || passed > want*22/10 {
		t.Errorf("%d calls got through, %d were accepted, of %d that could be", passed, accepted, want)
	}
}

// An overload in which the service accepts all that is critical and nothing that is sheddable ends. What is sheddable
// gets through again within two seconds.
func TestThrottleLetsALevelFollowAnother(t *testing.T) {
	for seed := range uint64(5) {
		throttle, rnd, now := NewThrottle(ThrottlePolicy{}), rand.New(rand.NewPCG(seed, 1)), epoch
		const over = 60 * time.Second
		var last time.Duration // when something was held back
		for now.Before(epoch.Add(over + 10*time.Second)) {
			now = now.Add(2 * time.Millisecond)
			level, v := Critical, Accept
			if rnd.Float64() < 0.15 {
				level = Sheddable
				if now.Before(epoch.Add(over)) {
					v = Reject
				}
			}
			if throttle.Allow(now, level, rnd.Uint64()) {
				throttle.Vote(now, level, v)
			} else {
				last = now.Sub(epoch)
			}
		}
		if last < over || last > over+2*time.Second {
			t.Errorf("seed %d: the last call was held back %v after the end of the overload", seed, last-over)
		}
	}
}

// With few refusals everything gets through, and one a second always; what is neutral changes nothing, and no level
// knows of another.
func TestThrottleKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		throttle, now := NewThrottle(ThrottlePolicy{}), epoch
		rejects := 0
		var passed time.Time
		t.Repeat(map[string]func(*rapid.T){
			"vote": func(t *rapid.T) {
				v := Vote(rapid.IntRange(0, 2).Draw(t, "vote"))
				for range rapid.IntRange(1, 30).Draw(t, "times") {
					throttle.Vote(now, Critical, v)
					if v == Reject {
						rejects++
					}
				}
			},
			"neutral": func(t *rapid.T) {
				before := throttle.Pass(Critical)
				throttle.Vote(now, Critical, Neutral)
				if after := throttle.Pass(Critical); after != before {
					t.Fatalf("a neutral vote changes %v to %v", before, after)
				}
			},
			"allow": func(t *rapid.T) {
				ok := throttle.Allow(now, Critical, rapid.Uint64().Draw(t, "rnd"))
				switch {
				case ok:
					passed = now
				case rejects < slack:
					t.Fatalf("refused after %d rejects", rejects)
				case !passed.IsZero() && now.Sub(passed) > time.Second+window:
					t.Fatalf("nothing got through for %v", now.Sub(passed))
				default:
					rejects++
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(40*time.Second)).Draw(t, "d")))
			},
			"": func(t *rapid.T) {
				if p := throttle.Pass(Critical); p < defaultPassFloor || p > 1 {
					t.Fatalf("%v get through", p)
				}
				if throttle.On(CriticalPlus) || throttle.On(Sheddable) {
					t.Fatal("another level is held back")
				}
			},
		})
	})
}

// What a call says late, with the time when it was made, gives the service no more time, and looking at the throttle none either.
func TestThrottleRecoversNoSoonerForWhatIsLate(t *testing.T) {
	recovery := func(late func(*Throttle, time.Time)) time.Duration {
		throttle, now := NewThrottle(ThrottlePolicy{}), epoch
		for range 200 {
			throttle.Vote(now, Critical, Reject)
			now = now.Add(10 * time.Millisecond)
		}
		begun := now
		for i := uint64(0); throttle.On(Critical); i++ {
			if now.Sub(begun) > time.Minute {
				t.Fatal("it does not recover")
			}
			if throttle.Allow(now, Critical, i*0x9e3779b97f4a7c15) {
				throttle.Vote(now, Critical, Accept)
			}
			late(throttle, now)
			now = now.Add(10 * time.Millisecond)
		}
		return now.Sub(begun)
	}
	usual := recovery(func(*Throttle, time.Time) {})
	if looked := recovery(func(throttle *Throttle, _ time.Time) { throttle.Pass(Critical) }); looked != usual {
		t.Errorf("%v if it is looked at, %v otherwise", looked, usual)
	}
	late := recovery(func(throttle *Throttle, now time.Time) {
		throttle.Allow(now.Add(-900*time.Millisecond), Critical, 1<<63)
	})
	if late < usual-100*time.Millisecond {
		t.Errorf("%v with calls that come late, %v otherwise", late, usual)
	}
}

func TestThrottleCanBeTurnedOff(t *testing.T) {
	g := NewGuard(Policy{Throttle: ThrottlePolicy{K: -1}})
	for range 1000 {
		p, stop := g.allow(epoch, Critical, 1<<63)
		if stop != StopDone {
			t.Fatal(stop)
		}
		g.done(epoch, Critical, p, Verdict{Throttle: Reject})
	}
	g.Configure(Policy{})
	for range 1000 {
		g.throttle.Vote(epoch, Critical, Reject)
	}
	if _, stop := g.allow(epoch, Critical, 1<<63); stop != StopThrottled {
		t.Errorf("turned on again: %v", stop)
	}
}

func BenchmarkThrottle(b *testing.B) {
	g := NewGuard(Policy{})
	b.ReportAllocs()
	now := epoch
	for b.Loop() {
		now = now.Add(time.Microsecond)
		p, _ := g.allow(now, Critical, 0)
		g.done(now, Critical, p, Verdict{Throttle: Accept})
	}
}
