package drill

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
)

// Scenario is one drill: the load, what is broken meanwhile, and what has to hold. Parse and Load make it of a file; a
// program may as well fill it in: Run says what is wrong with it.
type Scenario struct {
	// Name of the drill: lower-case letters, digits and dashes.
	Name string
	// About says in a sentence what is tried, for the report.
	About string
	// For is how long load is offered, all of it: calm before the first fault and after the last included. Zero is as long as
	// the steps of Load, else until 10 s after the last fault, else DefaultLength.
	For time.Duration

	// Load is what users do meanwhile. Without calls, it is a GET of each public address; without steps, DefaultRate calls a
	// second. A single step without a length is a constant rate.
	Load load.Mix
	// Faults are what is broken, at times after the load began.
	Faults []inject.Fault
	// Random, if not nil, adds faults that are drawn from the seed.
	Random *Random
	// Expect are the promises.
	Expect Expect
	// Invariants are what has to hold whatever is broken.
	Invariants []check.Invariant

	// File is where the scenario comes from, "" for none. LeftOut is what it leaves out though it could have it, and why.
	File    string
	LeftOut []string
	// Lenient leaves out, with a line in LeftOut, faults that the processes of this system cannot be made to suffer. Without
	// it they make it impossible to judge.
	Lenient bool

	lines []int // of the Faults, as they were read
	short bool  // Last has left out all that it breaks
}

// Length returns how long load is offered.
func (s Scenario) Length() time.Duration { return s.complete().For }

// Last returns the scenario with a load of so long: steps that are longer are cut, and the last rate of those that are shorter
// goes on. Faults that it is too short for are left out; if those are all that there are, the scenario cannot be run.
func (s Scenario) Last(d time.Duration) Scenario {
	s = s.complete()
	s.For, s.Load.Steps = d, cut(s.Load.Steps, d)
	var faults []inject.Fault
	for _, f := range s.Faults {
		if f.At+f.For <= d && f.At < d {
			faults = append(faults, f)
		}
	}
	if left := len(s.Faults) - len(faults); left > 0 {
		s.LeftOut = append(slices.Clone(s.LeftOut), fmt.Sprintf("%d faults that are over after %s", left, inject.Span(d)))
	}
	s.short = s.short || len(s.Faults) > 0 && len(faults) == 0 && s.Random == nil
	s.Faults = faults
	return s.complete()
}

// What is taken where a scenario does not say.
const (
	DefaultLength = 30 * time.Second
	DefaultRate   = 50 // calls a second
	// Calm is how long nothing is broken at the beginning, and Settle at the end, where that is not said.
	Calm   = 5 * time.Second
	Settle = 10 * time.Second
	// DefaultSuccess is expected where nothing is said of success, whatever else is: 99.99 %.
	DefaultSuccess = 0.9999
)

// Random draws faults: see [Draw].
type Random struct {
	// Every is the mean time from the beginning of one fault to the next. Default 3 s.
	Every time.Duration
	// Kinds to draw from. Empty is [RandomKinds].
	Kinds []inject.Kind
	// Spare are services and instances that are left alone.
	Spare []string
}

// Expect are the promises of a drill. A zero field promises nothing, but for Success.
type Expect struct {
	// Success is the least share of the calls that has to succeed, in (0, 1]. Calls that were refused do not count. Zero is
	// DefaultSuccess: a promise about something else, or an invariant, says nothing about calls that fail.
	Success float64
	// P50, P99 and P999 are the longest that calls may take, from when they were due.
	P50, P99, P999 time.Duration
	// Mask is the longest time after the beginning, or the end, of a fault in which calls may fail. A scenario without faults
	// leaves it out, and Recover.
	Mask time.Duration
	// Recover is the longest time after the beginning, or the end, of a fault until p99 is back.
	Recover time.Duration
	// Amplification is the most attempts that a call may take on average.
	Amplification float64
}

// or returns the promises with those of base where they say nothing.
func (e Expect) or(base Expect) Expect {
	return Expect{
		Success: cmp.Or(e.Success, base.Success), P50: cmp.Or(e.P50, base.P50), P99: cmp.Or(e.P99, base.P99), P999: cmp.Or(e.P999, base.P999),
		Mask: cmp.Or(e.Mask, base.Mask), Recover: cmp.Or(e.Recover, base.Recover), Amplification: cmp.Or(e.Amplification, base.Amplification),
	}
}

// faultsLast is how long the load has to last for the system to be seen after the last fault; 0 if there is none.
func (s Scenario) faultsLast() (d time.Duration) {
	for _, f := range s.Faults {
		d = max(d, f.At+f.For+Settle)
	}
	return d
}

// cut returns the first d of steps.
func cut(steps []load.Step, d time.Duration) (out []load.Step) {
	var sum time.Duration
	for _, step := range steps {
		if rest := d - sum; step.For > rest {
			step.To = step.From + (step.To-step.From)*rest.Seconds()/step.For.Seconds()
			step.For = rest
		}
		if step.For > 0 {
			out = append(out, step)
		}
		sum += step.For
	}
	return out
}

// complete fills in what a scenario does not say, as far as that does not take the system. It returns a copy.
func (s Scenario) complete() Scenario {
	if s.For == 0 {
		s.For = s.Load.Length()
	}
	if s.For == 0 {
		s.For = s.faultsLast()
	}
	if s.For == 0 {
		s.For = DefaultLength
	}
	switch {
	case len(s.Load.Steps) == 0:
		s.Load.Steps = []load.Step{{For: s.For, From: DefaultRate, To: DefaultRate}}
	case s.Load.Length() > s.For:
		s.Load.Steps = cut(s.Load.Steps, s.For)
	case s.Load.Length() < s.For:
		last := s.Load.Steps[len(s.Load.Steps)-1]
		rest := load.Step{For: s.For - s.Load.Length(), From: last.To, To: last.To}
		if last.For == 0 { // a constant rate
			s.Load.Steps = []load.Step{rest}
		} else {
			s.Load.Steps = append(s.Load.Steps[:len(s.Load.Steps):len(s.Load.Steps)], rest)
		}
	}
	if s.Expect.Success == 0 {
		s.Expect.Success = DefaultSuccess
	}
	if len(s.Faults) == 0 && s.Random == nil && (s.Expect.Mask > 0 || s.Expect.Recover > 0) {
		s.Expect.Mask, s.Expect.Recover = 0, 0
		s.LeftOut = append(slices.Clone(s.LeftOut), "mask and recover are not judged: nothing is broken that they could be measured from")
	}
	return s
}
