// Package report says what came of a drill: in the terminal, as JSON, as JUnit XML, and as one HTML page that needs nothing
// else.
package report

import (
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
)

// Report is one drill. Durations are nanoseconds in JSON, as everywhere in Go. The functions of this package read it and
// change nothing; all that it says may come from outside and is escaped for where it goes.
type Report struct {
	System   string        `json:"system"`
	Drill    string        `json:"drill"`
	About    string        `json:"about,omitempty"`
	Seed     uint64        `json:"seed"`
	Command  string        `json:"command"` // does it again
	Began    time.Time     `json:"began"`
	Length   time.Duration `json:"length"` // of the load
	Version  string        `json:"version"`
	Machine  string        `json:"machine"`             // "linux/amd64, 2 processors, go1.26.8"
	HeldUp   time.Duration `json:"held_up,omitempty"`   // how long the drill itself did not get to run, at most: what was measured then is this machine's
	Host     *Host         `json:"host,omitempty"`      // what the host of a virtual machine took; nil: nothing to speak of
	CouldNot string        `json:"could_not,omitempty"` // why it could not be run or judged; then the verdict is CouldNotRun

	Figures      Figures         `json:"figures"`
	Calls        []Call          `json:"calls"` // by kind, in the order of the scenario
	Faults       []Fault         `json:"faults"`
	Expectations []Expectation   `json:"expectations"`
	Invariants   []check.Verdict `json:"invariants"`
	Timeline     []Slice         `json:"timeline"`
	Instances    []Instance      `json:"instances"`
	Failed       []Failure       `json:"failed"` // at most MaxFailures
	MoreFailed   int             `json:"more_failed,omitempty"`
	Advice       []string        `json:"advice,omitempty"`   // what to change, in the order of what it brings
	LeftOut      []string        `json:"left_out,omitempty"` // what was not drilled though it could have been, and why
}

// Host is what the host of a virtual machine took of its processors, to give it to others.
type Host struct {
	Share float64 `json:"share"` // of all that the processors could have done, 0 to 1
	Most  float64 `json:"most"`  // the same, in the worst second
	Spans []Span  `json:"spans"` // in which it was so much that what was measured is the host's, not the system's
}

// Span is a time, since the load began.
type Span struct {
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
}

// MaxFailures bounds Report.Failed.
const MaxFailures = 200

// Figures are over all calls of the drill.
type Figures struct {
	Calls   int     `json:"calls"`
	OK      int     `json:"ok"`
	Failed  int     `json:"failed"`
	Refused int     `json:"refused"`
	Success float64 `json:"success"` // OK of (OK+Failed)

	P50     time.Duration `json:"p50"`
	P99     time.Duration `json:"p99"`
	P999    time.Duration `json:"p999"`
	Slowest time.Duration `json:"slowest"`
	CalmP50 time.Duration `json:"calm_p50,omitempty"` // before the first fault
	CalmP99 time.Duration `json:"calm_p99,omitempty"`

	// Mask is the longest time after the beginning of a fault until no call failed any more; Recover until p99 was below
	// twice that before (or the goal), too.
	Mask    time.Duration `json:"mask"`
	Recover time.Duration `json:"recover"`

	Amplification float64 `json:"amplification,omitempty"` // attempts a call; 0 is not known
}

// Call is the figures of one kind of call.
type Call struct {
	Name string `json:"name"`
	Figures
}

// Fault is one thing that was done.
type Fault struct {
	Kind   string        `json:"kind"`
	What   string        `json:"what"` // in words: "kill -9 orders-2"
	Target []string      `json:"target,omitempty"`
	Begun  time.Duration `json:"begun"`           // since the load began
	Ended  time.Duration `json:"ended,omitempty"` // of those that last; 0 for those that do not
	Error  string        `json:"error,omitempty"` // why it could not be done or undone
	Mask   time.Duration `json:"mask"`
	Failed int           `json:"failed"` // calls that failed from its beginning until it was masked
}

// Expectation is one promise and what came of it.
type Expectation struct {
	Name  string `json:"name"`  // "success"
	Goal  string `json:"goal"`  // "at least 99.99 %"
	Value string `json:"value"` // "100 %"
	Kept  bool   `json:"kept"`
	// Unknown, if not empty, is why it could not be judged; Kept does not count then.
	Unknown string `json:"unknown,omitempty"`
	// Machine is that this machine alone is why, and not the system or the drill.
	Machine bool `json:"machine,omitempty"`
}

// Slice is a piece of the timeline, all of the same length.
type Slice struct {
	From    time.Duration `json:"from"` // since the load began; calls are counted when they were due
	OK      int           `json:"ok"`
	Failed  int           `json:"failed"`
	Refused int           `json:"refused"`
	P50     time.Duration `json:"p50"` // of those that were answered; 0 if none was
	P99     time.Duration `json:"p99"`
}

// Instance is the lane of one instance.
type Instance struct {
	ID     string  `json:"id"`
	Phases []Phase `json:"phases"`
}

// Phase is a state of an instance from a time on.
type Phase struct {
	From  time.Duration `json:"from"`
	State string        `json:"state"` // as platform/control calls it
	PID   int           `json:"pid,omitempty"`
}

// Failure is one call that failed, and why as far as is known.
type Failure struct {
	load.Sample
	During  []string `json:"during,omitempty"` // faults that were in force, or had begun less than 5 s before
	Explain string   `json:"explain"`          // in plain words
}
