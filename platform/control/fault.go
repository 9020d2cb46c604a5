package control

import (
	"context"
	"time"
)

// Breaker breaks a system on purpose, and mends it: the part of a [System] that drills use.
//
// Everything it breaks is under a lease, so that nothing stays broken when whoever broke it is gone.
type Breaker interface {
	// Inject begins a fault that has been checked by [FaultRequest.Validate] and returns when it is in force as far as it can be told: a
	// frozen process takes note when it goes on. It is ended by Mend, when its lease runs out, and when the system stops;
	// a process that is started in the meantime suffers it, too. An instance that does not exist is a failure.NotFound; a
	// process that cannot be made to suffer it is a failure.FailedPrecondition with ReasonDoesNotFollow.
	Inject(ctx context.Context, req FaultRequest) (Fault, error)
	// Renew lets the lease of a fault run from now. A fault that is not in force is a failure.NotFound with
	// ReasonUnknownFault: it was mended, or its lease ran out.
	Renew(ctx context.Context, id string) (Fault, error)
	// Mend ends a fault and returns when it is no longer in force, as far as that can be told. Errors are those of Renew.
	Mend(ctx context.Context, id string) error
	// Faults lists what is in force, oldest first. It answers from memory; the caller owns the slice.
	Faults() []Fault

	// Wipe stops the named control members, all at once, deletes what they keep and starts them again. It returns when
	// they are ready. With all of them, what the registry, the live settings and the queue held is lost.
	Wipe(ctx context.Context, instances []string) error
	// Stats is what the processes last said of themselves. It answers from memory; the caller owns it.
	Stats() Stats
}

// Bounds of a lease, and of the number of faults that are in force at once.
const (
	DefaultTTL = 5 * time.Second
	MaxTTL     = 30 * time.Second
	MaxFaults  = 256
)

// FaultKind is what a fault does.
type FaultKind string

// The kinds of faults. Each takes the fields of FaultRequest that are named here and no others.
const (
	FaultFreeze  FaultKind = "freeze"   // Targets are stopped with SIGSTOP
	FaultSlowCPU FaultKind = "slow-cpu" // Targets get Share of the time
	FaultNet     FaultKind = "net"      // Links
	FaultCalls   FaultKind = "calls"    // Targets answer some calls as Calls says
	FaultDisk    FaultKind = "disk"     // writes of Targets suffer Disk
	FaultMemory  FaultKind = "memory"   // each of Targets takes Bytes
	FaultScale   FaultKind = "scale"    // the service in Targets has Replicas, and afterwards as many as before
	FaultClock   FaultKind = "clock"    // the wall clocks of Targets are wrong by Jump
)

// FaultRequest says what to break and for how long. Durations are nanoseconds in JSON.
type FaultRequest struct {
	Kind FaultKind `json:"kind"`
	// TTL is the lease: so long after the last Renew the fault ends by itself. 0 means DefaultTTL; at most MaxTTL.
	TTL time.Duration `json:"ttl,omitempty"`
	// Note says what it is for, in a line that is shown wherever the fault is: "drill leaders-die".
	Note string `json:"note,omitempty"`

	// Targets are instances by their exact names; of FaultScale, one service.
	Targets  []string      `json:"targets,omitempty"`
	Links    []Link        `json:"links,omitempty"`
	Calls    []Calls       `json:"calls,omitempty"`
	Disk     *Disk         `json:"disk,omitempty"`
	Share    float64       `json:"share,omitempty"`
	Bytes    int64         `json:"bytes,omitempty"`
	Replicas *int          `json:"replicas,omitempty"`
	Jump     time.Duration `json:"jump,omitempty"`
}

// Ends of a Link that are no instances.
const (
	// Everybody is all others, those outside of the system included.
	Everybody = "*"
	// EdgeEnd is the platform itself: its edges, and what it asks of the registry.
	EdgeEnd = "edge"
	// RegistryEnd and QueueEnd are the engines as the services reach them, embedded ones or others, and nothing else of the
	// processes that they are.
	RegistryEnd = "registry"
	QueueEnd    = "queue"
)

// Link is the connections between each of From and each of To: instances by their exact names, Everybody, EdgeEnd, and in
// To also RegistryEnd, QueueEnd and addresses (host:port) as the processes dial them. It does not matter which end has made a
// connection, except for Refuse and Reset, which mean those that From makes.
type Link struct {
	From []string `json:"from"`
	To   []string `json:"to"`
	Shape
}

// Shape is what becomes of the bytes on a Link, open connections included. Out and in are as From sees it.
type Shape struct {
	// CutOut holds back what From sends to To, CutIn the other direction, until the fault ends: as a network does
	// that loses every packet. With either, no connection can be made from the end whose packets are lost.
	CutOut bool `json:"cut_out,omitempty"`
	CutIn  bool `json:"cut_in,omitempty"`
	// Refuse refuses new connections; Reset ends open ones once, and again every ResetEvery.
	Refuse     bool          `json:"refuse,omitempty"`
	Reset      bool          `json:"reset,omitempty"`
	ResetEvery time.Duration `json:"reset_every,omitempty"`
	// Delay and Jitter (uniform, added; order is kept) hold back each piece in each direction.
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"`
	// Rate bounds bytes a second in each direction. 0 is no bound.
	Rate int64 `json:"rate,omitempty"`
	// Loss is the share of packets that is lost in each direction, only between network namespaces (holdfast up --netns).
	Loss float64 `json:"loss,omitempty"`
}

// Calls is a rule for calls that a process serves, gRPC and HTTP alike. Of several, the first that matches counts.
type Calls struct {
	// Methods are full gRPC methods ("/shop.v1.Orders/Get"), or "METHOD /path/prefix"; empty is all but health and
	// reflection.
	Methods []string `json:"methods,omitempty"`
	// Share of the calls that suffer, in (0, 1].
	Share float64 `json:"share"`
	// Code is answered instead of what the handler would ("UNAVAILABLE"); empty means that the handler runs.
	Code string `json:"code,omitempty"`
	// Delay is waited before, and ends with the call.
	Delay time.Duration `json:"delay,omitempty"`
}

// Disk is what becomes of writes of what was acknowledged. Full and FailSync are ENOSPC and EIO.
type Disk struct {
	Full     bool          `json:"full,omitempty"`
	FailSync bool          `json:"fail_sync,omitempty"`
	SlowSync time.Duration `json:"slow_sync,omitempty"`
}

// Fault is something that is broken on purpose now.
type Fault struct {
	ID string `json:"id"`
	FaultRequest
	// What says it in a line for people: "orders-1 is frozen".
	What  string    `json:"what"`
	Begun time.Time `json:"begun"`
	// Until is when the lease runs out.
	Until time.Time `json:"until"`
	// Trouble says who does not suffer it at the moment, and why; empty if all do.
	Trouble string `json:"trouble,omitempty"`
}

// Stats is what a system's processes said last of themselves.
type Stats struct {
	// Instances has those that speak to the platform, by name; an instance of a foreign program is not in it.
	Instances map[string]InstanceStats `json:"instances"`
	// Edge is the platform's own.
	Edge InstanceStats `json:"edge"`
}

// ServerStats is what a process says of one of its servers.
type ServerStats struct {
	Protocol string `json:"protocol"` // grpc or http
	InFlight int    `json:"in_flight"`
	Waiting  int    `json:"waiting"`
	// Limit is how many may be handled at once. Found is how many can be: what was found when the server was overloaded. 0 is
	// that it is not, or not known to be: then Limit is only what is never exceeded.
	Limit int `json:"limit,omitempty"`
	Found int `json:"found,omitempty"`
}

// InstanceStats is what one process said last. Counters begin at 0 with the process.
type InstanceStats struct {
	// At is when it was said: twice a second by a process that is well.
	At time.Time `json:"at,omitzero"`
	// PID is whose it is.
	PID int `json:"pid,omitempty"`
	// InFlight is how many calls are being handled, Waiting how many are admitted to wait, and Limit how many may be
	// handled at once; 0 is none known.
	InFlight int `json:"in_flight"`
	Waiting  int `json:"waiting"`
	Limit    int `json:"limit,omitempty"`
	// Servers are those of the process one by one; InFlight, Waiting and Limit are theirs together. Empty: it does not tell.
	Servers []ServerStats `json:"servers,omitempty"`
	// Served and Shed count calls that were handled and that were turned away.
	Served uint64 `json:"served"`
	Shed   uint64 `json:"shed"`
	// Calls and Attempts count what the process asked of others, and how often it had to.
	Calls    uint64 `json:"calls"`
	Attempts uint64 `json:"attempts"`
	// CPU is processor time since the start.
	CPU time.Duration `json:"cpu"`
	// Suffered counts what faults did: pieces held back, connections reset, calls failed, syncs failed.
	Suffered uint64 `json:"suffered"`
}
