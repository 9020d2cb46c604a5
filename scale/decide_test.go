package scale_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/scale"
)

var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

const tick = 500 * time.Millisecond

// service drives Decide as an actuator that works at once would.
type service struct {
	t      interface{ Fatalf(string, ...any) }
	policy scale.Policy
	state  scale.State
	now    time.Time
	scale.Sample
	last    scale.Decision
	changes []int
}

func newService(t interface{ Fatalf(string, ...any) }, p scale.Policy, n int) *service {
	if err := p.Validate(); err != nil {
		t.Fatalf("policy: %v", err)
	}
	return &service{t: t, policy: p, now: epoch, Sample: scale.Sample{Wanted: n, Ready: n}}
}

// say sets what every ready instance has of the first target.
func (s *service) say(each float64) {
	s.Readings = []scale.Reading{{Sum: each * float64(s.Ready), Of: s.Ready}}
}

// total sets what all ready instances have together.
func (s *service) total(sum float64) { s.Readings = []scale.Reading{{Sum: sum, Of: s.Ready}} }

// step is one decision, without acting on it.
func (s *service) step() int {
	s.now = s.now.Add(tick)
	s.last, s.state = scale.Decide(s.policy, s.state, s.now, s.Sample)
	if n := s.last.Replicas; n < s.policy.Min || n > s.policy.Max {
		s.t.Fatalf("%d is not between %d and %d", n, s.policy.Min, s.policy.Max)
	}
	return s.last.Replicas
}

// run makes decisions for so long and acts on each at once.
func (s *service) run(d time.Duration, load func(at time.Duration)) {
	for begun := s.now; s.now.Sub(begun) < d; {
		load(s.now.Sub(begun))
		if n := s.step(); n != s.Wanted {
			s.Wanted, s.Ready = n, n
			s.changes = append(s.changes, n)
		}
	}
}

func inFlight(lo, hi int, target float64) scale.Policy {
	return scale.Policy{Min: lo, Max: hi, Targets: []scale.Target{{Metric: scale.InFlight, Value: target}}}
}

func (s *service) want(n int, held scale.Held) {
	if s.last.Replicas != n || s.last.Held != held {
		s.t.Fatalf("at %s: %+v, want %d, held %q", s.now.Sub(epoch), s.last, n, held)
	}
}

func TestGrowsAfterTheWindowAndSaysWhy(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 2)
	for range 6 {
		s.say(45)
		s.step()
		s.want(2, scale.Window)
	}
	s.step()
	s.want(4, scale.Step)
	if want := "in-flight 45 per instance, target 20"; s.last.Why != want || s.last.Wish != 5 {
		t.Errorf("%d, %q; want 5, %q", s.last.Wish, s.last.Why, want)
	}
}

// TestOneCalmSampleHoldsGrowthBack: the lowest wish of the window counts.
func TestOneCalmSampleHoldsGrowthBack(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 2)
	for i := range 40 {
		s.say(45)
		if i%5 == 4 {
			s.say(20)
		}
		if s.step() != 2 {
			t.Fatalf("grew at %s", s.now.Sub(epoch))
		}
	}
}

func TestShrinksByHalfAfterItsWindow(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 8)
	idle := func(time.Duration) { s.say(0) }
	s.run(time.Minute, idle)
	s.want(8, scale.Window)
	s.run(time.Second, idle)
	s.want(4, scale.Window) // its own window has begun
	s.run(time.Minute, idle)
	s.run(5*time.Minute, idle)
	s.want(2, scale.AtMin)
	if len(s.changes) != 2 {
		t.Errorf("steps %v, want 4 and 2", s.changes)
	}
}

func TestMissingIsNotIdle(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 3)
	s.Ready = 2 // one is frozen, and the other two have what is there for three
	s.run(5*time.Second, func(time.Duration) { s.total(60) })
	if len(s.changes) != 1 || s.changes[0] != 4 {
		t.Errorf("changes %v, want one for that which is missing: 4", s.changes)
	}
}

// TestWhatCrashesIsNotAddedTo: an instance that is lost is made up for; that what is added crashes, at once or after it has
// served for a while, does not ask for still more, up to Max, though more load does.
func TestWhatCrashesIsNotAddedTo(t *testing.T) {
	for name, c := range map[string]struct {
		ready  func(at time.Duration, wanted int) int
		at     int // where it comes to rest, with work for two
		loaded int // and with work for six
	}{
		"at once":            {func(time.Duration, int) int { return 1 }, 3, 7},
		"after some seconds": {func(at time.Duration, wanted int) int { return 1 + (wanted-1)*(int(at/(10*time.Second))%2) }, 3, 7},
		"after minutes": {func(at time.Duration, wanted int) int {
			if at%(4*time.Minute) < 2*time.Minute {
				return 1
			}
			return wanted
		}, 4, 12},
	} {
		for _, known := range []bool{false, true} { // who was lost
			s := newService(t, inFlight(2, 20, 20), 2)
			served := map[int]time.Duration{0: scale.Proof, 1: scale.Proof} // without a break
			run := func(d time.Duration, sum float64) (most int) {
				for begun := s.now; s.now.Sub(begun) < d; {
					s.Ready, s.Lost = c.ready(s.now.Sub(epoch), s.Wanted), 0
					for n := range s.Wanted {
						switch {
						case n < s.Ready:
							served[n] += tick
						case served[n] < scale.Proof:
							served[n] = 0
						case known:
							s.Lost++
						}
					}
					s.total(sum)
					s.Wanted = s.step()
					most = max(most, s.Wanted)
				}
				return most
			}
			if most := run(time.Hour, 40); most > c.at {
				t.Errorf("%s, %t: with work for 2 it went up to %d, want %d at most", name, known, most, c.at)
			}
			if most := run(time.Hour, 120); most < 6 || most > c.loaded {
				t.Errorf("%s, %t: with work for 6 it went up to %d, want 6 to %d", name, known, most, c.loaded)
			}
		}
	}
}

// TestWhatWasAddedAndServesIsMadeUpFor: once it has served for long enough, it is as good as the others.
func TestWhatWasAddedAndServesIsMadeUpFor(t *testing.T) {
	s := newService(t, inFlight(2, 20, 20), 2)
	s.run(time.Minute, func(time.Duration) { s.total(80) })
	if s.Wanted != 4 {
		t.Fatalf("%d, want 4", s.Wanted)
	}
	s.Ready = 2
	for range 7 {
		s.total(80)
		s.step()
	}
	s.want(6, scale.Free)
}

// TestStepsWaitForWhatWasStarted: what new instances take off the others is seen before more are asked for.
func TestStepsWaitForWhatWasStarted(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 4)
	s.Ready, s.Starting = 2, 2
	for range 60 {
		s.say(100)
		s.step()
		s.want(4, scale.Starting)
	}
	// Half a minute is enough: what does not come up is missing, and is made up for after the usual window.
	for range 7 {
		s.say(100)
		s.step()
	}
	s.want(8, scale.AtMax)
}

// TestOneThatCrashesSlowlyHoldsNothingUp: it is started again and again, and in between there is nothing to wait for: neither
// takes it as long as one that is started may, nor is there a window without it.
func TestOneThatCrashesSlowlyHoldsNothingUp(t *testing.T) {
	p := inFlight(2, 12, 20)
	p.UpAfter = 15 * time.Second
	s := newService(t, p, 4)
	for at := time.Duration(0); at < 10*time.Minute && s.Wanted == 4; at += tick {
		s.Ready, s.Starting = 3, 0
		if at%(10*time.Second) < 2*time.Second {
			s.Starting = 1
		}
		s.total(200)
		s.Wanted = s.step()
	}
	if at := s.now.Sub(epoch); s.Wanted != 8 || at > time.Minute {
		t.Errorf("%d after %s, want 8 within a minute: %+v", s.Wanted, at, s.last)
	}
}

// TestARestartIsWaitedForBesideOneThatIsFrozen: that not all have served for long is no reason not to wait for one that is
// started now.
func TestARestartIsWaitedForBesideOneThatIsFrozen(t *testing.T) {
	s := newService(t, inFlight(2, 12, 20), 4)
	sample := func(d time.Duration, ready, starting, lost int) {
		s.Ready, s.Starting, s.Lost = ready, starting, lost
		for end := s.now.Add(d); s.now.Before(end); {
			s.total(80)
			s.Wanted = s.step()
		}
	}
	sample(time.Minute, 4, 0, 0)
	sample(5*time.Second, 3, 0, 1) // one is frozen
	sample(5*time.Second, 3, 1, 1) // another one is started in its place
	sample(10*time.Minute, 4, 0, 1)
	sample(20*time.Second, 3, 1, 2) // and one of the others is restarted
	if s.Wanted != 5 {
		t.Errorf("%d, want 5: %+v", s.Wanted, s.last)
	}
}

// TestTheSecondThatIsLostIsMadeUpForToo: what was started for the first one serves as well as that did.
func TestTheSecondThatIsLostIsMadeUpForToo(t *testing.T) {
	s := newService(t, inFlight(2, 12, 20), 4)
	sample := func(d time.Duration, ready, lost int) {
		s.Ready, s.Lost = ready, lost
		for end := s.now.Add(d); s.now.Before(end) && s.last.Replicas <= s.Wanted; {
			s.total(80)
			s.step()
		}
	}
	sample(time.Minute, 4, 0)
	sample(5*time.Second, 3, 1)
	s.want(5, scale.Free)
	s.Wanted = 5
	sample(time.Minute, 4, 1)
	sample(5*time.Second, 3, 2)
	s.want(6, scale.Free)
}

// TestNoMoreAreLostThanAreMissing: whatever a sample says, and never more than as many as are needed.
func TestNoMoreAreLostThanAreMissing(t *testing.T) {
	for _, c := range []struct {
		ready, starting, lost int
		sum                   float64
		wish                  int
	}{
		{4, 0, 3, 80, 4},
		{3, 1, 1, 80, 4}, // it is being started again
		{3, 0, 3, 80, 5},
		{1, 0, 3, 20, 2},
		{3, 0, -1, 80, 5}, // four have served at once
	} {
		s := newService(t, inFlight(2, 12, 20), 4)
		s.Ready, s.Starting, s.Lost = c.ready, c.starting, c.lost
		s.total(c.sum)
		if s.step(); s.last.Wish != c.wish {
			t.Errorf("%+v: %d are asked for", c, s.last.Wish)
		}
	}
}

func TestWhatIsSharedAndUsedUpHoldsGrowthBack(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 2)
	s.Full = true
	for range 100 {
		s.say(100)
		s.step()
	}
	s.want(2, scale.Full)
	s.Full = false
	s.step()
	s.want(4, scale.Step)
}

func TestNoneServes(t *testing.T) {
	p := inFlight(2, 8, 20)
	p.Targets = []scale.Target{{Metric: scale.Lag, Value: 100, Topic: "orders.placed"}}
	s := newService(t, p, 3)
	s.Ready, s.Readings = 0, []scale.Reading{{Sum: 1e6, Whole: true}}
	for range 100 {
		s.step()
		s.want(3, scale.Down)
	}
}

func TestLagIsOfTheWholeService(t *testing.T) {
	p := inFlight(1, 8, 1)
	p.Targets = []scale.Target{{Metric: scale.Lag, Value: 100, Topic: "orders.placed", Group: "shipping"}}
	s := newService(t, p, 3)
	for range 7 {
		s.Readings = []scale.Reading{{Sum: 550, Whole: true}}
		s.step()
	}
	s.want(6, scale.Free)
	if want := "183 messages of orders.placed wait per instance, target 100"; s.last.Why != want {
		t.Errorf("%q, want %q", s.last.Why, want)
	}
}

func TestTheTargetThatAsksForMostCounts(t *testing.T) {
	p := inFlight(1, 8, 20)
	p.Targets = append(p.Targets, scale.Target{Metric: scale.CPU, Value: 0.5}, scale.Target{Metric: scale.Limiter, Value: 0.7})
	s := newService(t, p, 2)
	s.Readings = []scale.Reading{{Sum: 10, Of: 2}, {Sum: 1.6, Of: 2}, {Sum: 0.5, Of: 2}}
	for range 7 {
		s.step()
	}
	s.want(4, scale.Free)
	if want := "0.8 processors per instance, target 0.5"; s.last.Why != want {
		t.Errorf("%q, want %q", s.last.Why, want)
	}
}

func TestOutOfBoundsIsPutRightAtOnce(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 1)
	if n := s.step(); n != 2 {
		t.Errorf("1 became %d, want 2", n)
	}
	s.Wanted, s.Ready = 12, 12
	if n := s.step(); n != 8 {
		t.Errorf("12 became %d, want 8", n)
	}
}

// TestAGapBeginsTheWindowsAnew: a minute of which nothing is known, such as one in which this machine slept, is no minute of idleness.
func TestAGapBeginsTheWindowsAnew(t *testing.T) {
	s := newService(t, inFlight(2, 8, 20), 4)
	s.run(30*time.Second, func(time.Duration) { s.say(0) })
	s.now = s.now.Add(time.Hour)
	s.run(59*time.Second, func(time.Duration) { s.say(0) })
	s.want(4, scale.Window)
	s.run(2*time.Second, func(time.Duration) { s.say(0) })
	if s.Wanted != 2 {
		t.Errorf("%d after a window, want 2", s.Wanted)
	}
}

// TestNeverShrinksOnWhatIsNotKnown: whatever comes, it is within bounds, and it is never fewer while one is missing, is being
// started, or has said nothing, nor within a window after that; nor more when what they share is used up or none serves.
func TestNeverShrinksOnWhatIsNotKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.IntRange(1, 5).Draw(t, "min")
		p := inFlight(lo, lo+rapid.IntRange(0, 12).Draw(t, "range"), rapid.Float64Range(0.1, 100).Draw(t, "target"))
		p.Targets = append(p.Targets, scale.Target{Metric: scale.CPU, Value: 0.5})
		p.UpAfter = time.Duration(rapid.IntRange(0, 5).Draw(t, "up")) * time.Second
		p.DownAfter = time.Duration(rapid.IntRange(0, 10).Draw(t, "down")) * time.Second
		s := newService(t, p, rapid.IntRange(p.Min, p.Max).Draw(t, "wanted"))
		whole := s.now // since when everything is there and known
		for range rapid.IntRange(1, 120).Draw(t, "samples") {
			s.now = s.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			s.Ready = rapid.IntRange(0, s.Wanted+1).Draw(t, "ready")
			s.Starting = rapid.IntRange(0, max(0, s.Wanted-s.Ready)).Draw(t, "starting")
			s.Lost = rapid.IntRange(-1, s.Wanted+1).Draw(t, "lost")
			s.Full = rapid.Bool().Draw(t, "full")
			s.Readings = nil
			known := s.Ready >= s.Wanted
			for range rapid.IntRange(0, 2).Draw(t, "readings") {
				r := scale.Reading{
					Sum: rapid.OneOf(rapid.Float64Range(0, 1000), rapid.Just(math.NaN()), rapid.Just(math.Inf(1)), rapid.Just(-1.0), rapid.Just(1e300)).Draw(t, "sum"),
					Of:  rapid.IntRange(-1, s.Ready+1).Draw(t, "of"),
				}
				known = known && r.Of >= s.Ready && r.Sum >= 0 && !math.IsInf(r.Sum, 0)
				s.Readings = append(s.Readings, r)
			}
			known = known && len(s.Readings) == 2
			before := s.Wanted
			n := s.step()
			if !known {
				whole = s.now
			}
			if n < before && s.now.Sub(whole) < p.Resolved().DownAfter {
				t.Fatalf("%d became %d %s after something was missing: %+v", before, n, s.now.Sub(whole), s.last)
			}
			if n > before && (s.Full || s.Ready == 0 || n > max(before+1, 2*before)) {
				t.Fatalf("%d became %d: %+v", before, n, s.last)
			}
			if rapid.Bool().Draw(t, "obeyed") {
				s.Wanted = n
			}
		}
	})
}

// TestNoFlapping: at a constant load with noise, of which calls in flight have plenty, a service comes to rest: it is grown
// at most a step beyond what the load needs on average, and what was grown is not taken back and grown again.
func TestNoFlapping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		noise := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		mean := rapid.Float64Range(0, 150).Draw(t, "in flight")
		s := newService(t, inFlight(2, 10, 20), rapid.IntRange(2, 10).Draw(t, "begin"))
		load := func(time.Duration) { s.total(max(0, mean+math.Sqrt(mean)*noise.NormFloat64())) } // as Poisson
		s.run(5*time.Minute, load)
		s.changes = nil
		s.run(15*time.Minute, load)
		if len(s.changes) > 1 {
			t.Fatalf("%v within a quarter of an hour at a constant load of %v", s.changes, mean)
		}
		need := max(2, int(math.Ceil(mean/20)))
		if s.Wanted < need-1 || s.Wanted > need+2 {
			t.Fatalf("came to rest at %d, where %v in flight need %d", s.Wanted, mean, need)
		}
	})
}
