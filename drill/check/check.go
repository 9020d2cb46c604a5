// Package check judges what a drilled system did: histories that have to be linearizable, writes that were acknowledged and
// have to be there, effects that have to have happened once, leaders of which there may be one at a time, and whatever the
// system's own checks say.
package check

import "time"

// Answer is what a check says.
type Answer string

// The answers. Unknown is neither: a check that could not be made says so and why.
const (
	Holds   Answer = "holds"
	Broken  Answer = "broken"
	Unknown Answer = "unknown"
)

// Verdict is the outcome of one invariant.
type Verdict struct {
	Name   string `json:"name"`
	Answer Answer `json:"answer"`
	// Says is one line: what was looked at and what came of it, with numbers.
	Says string `json:"says"`
	// Findings are what is wrong, one line each, at most MaxFindings; More is how many there are beyond.
	Findings []string `json:"findings,omitempty"`
	More     int      `json:"more,omitempty"`
	// At is when, since the load began, the first of them was seen; 0 is not known.
	At time.Duration `json:"at,omitempty"`
	// History, if not empty, is the smallest part of a history that no order explains, for the report to draw.
	History []Operation `json:"history,omitempty"`
}

// MaxFindings bounds Findings.
const MaxFindings = 20

// Operation is one operation of a history: a read or a write of one key by one client.
type Operation struct {
	Client int           `json:"client"`
	Key    string        `json:"key"`
	Write  bool          `json:"write"`
	Value  string        `json:"value"` // written, or read
	Begun  time.Duration `json:"begun"` // since the load began
	Ended  time.Duration `json:"ended"` // 0: never answered, it may take effect at any time from Begun on
}
