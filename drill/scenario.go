package drill

import (
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
)

// Scenario is one drill: the load, what is broken meanwhile, and what has to hold. Parse and Load make it of a file; a
// program may as well fill it in, and then Validate says what is wrong with it.
type Scenario struct {
	// Name of the drill: lower-case letters, digits and dashes.
	Name string
	// About says in a sentence what is tried, for the report.
	About string
	// For is how long load is offered, all of it: calm before the first fault and after the last included. Default 30 s.
	For time.Duration

	// Faults are what is broken, at times after the load began.
	Faults []inject.Fault
	// Random, if not nil, adds faults that are drawn from the seed.
	Random *Random
	// Expect are the promises.
	Expect Expect
}

// Random draws faults. It is a pure function of it, the seed, the system and the length of the drill: see [Draw].
type Random struct {
	// Every is the mean time from the beginning of one fault to the next. Default 3 s.
	Every time.Duration
	// Kinds to draw from. Empty means all that need no privileges, no network namespaces and nothing of the system's own.
	Kinds []inject.Kind
	// Spare are services and instances that are left alone.
	Spare []string
	// From and Until bound when faults begin and, Until, when the last of them is over; zero is 5 s after the beginning, and
	// 10 s before the end.
	From, Until time.Duration
}

// Expect are the promises of a drill. A zero field promises nothing.
type Expect struct {
	// Success is the least share of calls that may succeed, in (0, 1], of those that neither were refused.
	Success float64
	// P50, P99 and P999 are the longest that calls may take, from when they were due.
	P50, P99, P999 time.Duration
	// Mask is the longest time after the beginning of a fault in which calls may fail.
	Mask time.Duration
	// Recover is the longest time after the beginning of a fault until p99 is back.
	Recover time.Duration
	// Amplification is the most attempts a call may take on average.
	Amplification float64
}
