// Package load offers a running system calls as users would: an open loop of Poisson arrivals, of mixed kinds, over HTTP and
// gRPC, and records what became of each.
//
// A call's time counts from when it was due, not from when this process got round to it (no coordinated omission).
package load

import "time"

// Outcome is what is known of a call.
type Outcome string

// The outcomes. What failed may have happened all the same, unless it was refused.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"  // an error, or a status that the call does not expect: the user noticed, the effect is unknown
	Refused Outcome = "refused" // answered as the call says is right, such as 409 for something sold out: neither success nor failure
)

// Sample is what became of one call.
type Sample struct {
	Call string        `json:"call"`           // its name in the mix
	Due  time.Duration `json:"due"`            // since the load began
	Took time.Duration `json:"took"`           // from when it was due
	Late time.Duration `json:"late,omitempty"` // how much later than due it was sent: this machine's doing

	Outcome Outcome `json:"outcome"`
	Status  string  `json:"status,omitempty"` // "200", "503", "UNAVAILABLE"
	Error   string  `json:"error,omitempty"`  // what the answer said, cut at 1 KiB
	Empty   bool    `json:"empty,omitempty"`  // it failed for having nothing in it: a yes that says nothing

	Attempts int    `json:"attempts,omitempty"` // 0 is not known
	Instance string `json:"instance,omitempty"` // the address that answered, if known

	Again bool `json:"again,omitempty"` // it repeats the call before it, with the same vars and the same key

	Vars map[string]string `json:"vars,omitempty"` // what the call was made with, its key as "key"
	Kept map[string]string `json:"kept,omitempty"` // what it keeps of the answer
}
