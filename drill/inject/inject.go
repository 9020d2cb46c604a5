// Package inject is the vocabulary of what a drill breaks, and what applies it to a running system and undoes it.
//
// A [Fault] is a line of a scenario. Targets are names; which instance "orders" means is drawn from the drill's seed when the
// fault begins ([Resolve]), so that the same seed hits the same ones. The control API applies it under a lease: what is
// broken is mended when the drill says so, when it ends, and when it is killed.
package inject

import "time"

// Kind is what is done.
type Kind string

// The kinds. Those that last take For.
const (
	Kill      Kind = "kill"      // kill -9; the supervisor starts it again
	Freeze    Kind = "freeze"    // SIGSTOP, For
	SlowCPU   Kind = "slow-cpu"  // the target gets Share of the processor time it wants, For
	Restart   Kind = "restart"   // rolling, as for a new version
	Scale     Kind = "scale"     // to Replicas, For; then as before
	Partition Kind = "partition" // no bytes between From and To (Way: both, out, in), For; or between the sets of Between
	Latency   Kind = "latency"   // Delay and Jitter between From and To, For
	Bandwidth Kind = "bandwidth" // Rate bytes a second between From and To, For
	Loss      Kind = "loss"      // Share of the packets between From and To is lost, For: only in network namespaces
	Reset     Kind = "reset"     // connections from From to To are reset: once, or every Every, For
	Errors    Kind = "errors"    // Share of the calls of Methods is answered with Code, after Delay, For
	Disk      Kind = "disk"      // Mode full, slow (Delay each sync) or failing, For
	Memory    Kind = "memory"    // Bytes are taken, For
	Clock     Kind = "clock"     // the wall clock jumps by Jump (may be negative), For
	Registry  Kind = "registry"  // Mode down, wiped or slow (Delay), For
	Broker    Kind = "broker"    // Mode down or slow (Delay), For
	Command   Kind = "command"   // Run, and Undo after For: for what only the user's system knows
	HTTP      Kind = "http"      // a request to each target, and another one after For: a dependency that is slow, fails, lies
)

// Fault is one thing that is broken. Only the fields that its Kind names may be set.
type Fault struct {
	Kind Kind          `json:"kind"`
	At   time.Duration `json:"at"`            // after the load began
	For  time.Duration `json:"for,omitempty"` // how long, for kinds that last

	// Target is an instance ("orders-1"), one instance of a service that is drawn ("orders"), all of a service
	// ("orders/all"), one of any ("*"), a control member ("control-1", "control", "control/all"). Several are each resolved.
	Target []string `json:"target,omitempty"`

	// From and To are the ends of a Partition, Latency, Bandwidth, Loss, Reset, as Target; empty To is everybody else.
	From    []string   `json:"from,omitempty"`
	To      []string   `json:"to,omitempty"`
	Way     string     `json:"way,omitempty"` // both (default), out (From to To is lost), in
	Between [][]string `json:"between,omitempty"`

	Share    float64       `json:"share,omitempty"`
	Delay    time.Duration `json:"delay,omitempty"`
	Jitter   time.Duration `json:"jitter,omitempty"`
	Every    time.Duration `json:"every,omitempty"`
	Rate     int64         `json:"rate,omitempty"`
	Bytes    int64         `json:"bytes,omitempty"`
	Jump     time.Duration `json:"jump,omitempty"`
	Replicas int           `json:"replicas,omitempty"`
	Code     string        `json:"code,omitempty"`
	Methods  []string      `json:"methods,omitempty"`
	Mode     string        `json:"mode,omitempty"`

	Run  string `json:"run,omitempty"` // Command
	Undo string `json:"undo,omitempty"`

	Request *Request `json:"request,omitempty"` // HTTP
	Mend    *Request `json:"mend,omitempty"`
}

// Request is an HTTP request to a target's own address.
type Request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   string `json:"body,omitempty"`
}
