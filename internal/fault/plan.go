// Package fault is what a process of a system that is drilled suffers on purpose: connections that are slow, cut or reset,
// disks that are full or slow, handlers that fail, memory that is taken.
//
// The platform sends each process a [Plan] through its agent (package platform/agent at one end, [Follow] at the other), and
// the library's dialers, listeners, servers and files ask an [Injector] what to do. A process that was not started by
// the platform has no Injector, a nil one does nothing, and costs nothing.
package fault

import "time"

// Plan is all that one process suffers at a time. The zero value is nothing.
type Plan struct {
	// Dial are rules for connections that this process makes. The first that matches counts.
	Dial []Link `json:"dial,omitempty"`
	// Accept, if not nil, is for all connections that others make to this process.
	Accept *Shape `json:"accept,omitempty"`
	// Calls are for calls that this process serves. The first that matches counts.
	Calls []Calls `json:"calls,omitempty"`
	// Disk, if not nil, is for files whose loss would lose what was acknowledged.
	Disk *Disk `json:"disk,omitempty"`
	// Ballast is memory in bytes that is taken and written to.
	Ballast int64 `json:"ballast,omitempty"`
}

// Link is a rule for connections to some addresses.
type Link struct {
	// To are host:port as the process dials them, or [ToQueue]; "*" is every one that no rule before it matches.
	To []string `json:"to"`
	Shape
}

// Shape is what becomes of the bytes of a connection, open ones included. The zero value leaves it alone.
type Shape struct {
	// CutOut and CutIn hold back what is sent and what is received, until they are lifted: as a network that loses every
	// packet does to TCP. With CutOut no connection can be made.
	CutOut bool `json:"cut_out,omitempty"`
	CutIn  bool `json:"cut_in,omitempty"`
	// Refuse refuses new connections, Reset ends open ones once, when the rule begins, and again every ResetEvery.
	Refuse     bool          `json:"refuse,omitempty"`
	Reset      bool          `json:"reset,omitempty"`
	ResetEvery time.Duration `json:"reset_every,omitempty"`
	// Serial tells one Reset from another that begins before the first is over: open connections are reset whenever it grows.
	Serial uint64 `json:"serial,omitempty"`
	// Delay and Jitter (uniform, added, order is kept) hold back each piece, in each direction.
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"`
	// Rate bounds bytes a second in each direction. 0 is no bound.
	Rate int64 `json:"rate,omitempty"`
	// Loss is the share of packets that are lost, in [0, 1]. A process has no packets: it is for a network of namespaces
	// (platform/netns) alone.
	Loss float64 `json:"loss,omitempty"`
}

// Calls is a rule for calls that a process serves, gRPC and HTTP alike.
type Calls struct {
	// Methods are full gRPC methods ("/shop.v1.Orders/Get"), or "METHOD /path/prefix"; empty is all but health and reflection.
	Methods []string `json:"methods,omitempty"`
	// Share of the calls that suffer, in (0, 1].
	Share float64 `json:"share"`
	// Code is answered instead of what the handler would ("UNAVAILABLE"); empty means that the handler runs.
	Code string `json:"code,omitempty"`
	// Delay is waited before, and ends with the call.
	Delay time.Duration `json:"delay,omitempty"`
}

// Disk is what becomes of writes. Full and FailSync are errors as a file system makes them (ENOSPC, EIO).
type Disk struct {
	Full     bool          `json:"full,omitempty"`
	FailSync bool          `json:"fail_sync,omitempty"`
	SlowSync time.Duration `json:"slow_sync,omitempty"`
}

// Stats is what a process says of itself, about twice a second: what autoscaling and drills go by. Counters begin at 0 with
// the process.
type Stats struct {
	// InFlight is how many calls are being handled, Waiting how many are admitted to wait, and Limit how many may be handled
	// at once; 0 is none known.
	InFlight int `json:"in_flight"`
	Waiting  int `json:"waiting"`
	Limit    int `json:"limit,omitempty"`
	// Servers are those of the process one by one; InFlight, Waiting and Limit are theirs together.
	Servers []Server `json:"servers,omitempty"`
	// Served and Shed count calls that were handled and that were turned away.
	Served uint64 `json:"served"`
	Shed   uint64 `json:"shed"`
	// Calls and Attempts count what this process asked of others, and how often it had to.
	Calls    uint64 `json:"calls"`
	Attempts uint64 `json:"attempts"`
	// CPU is processor time since the start.
	CPU time.Duration `json:"cpu"`
	// Suffered counts what the Plan did: pieces held back, connections reset, calls failed, syncs failed.
	Suffered uint64 `json:"suffered"`
}

// Server is what a process says of one of its servers.
type Server struct {
	Protocol string `json:"protocol"` // grpc or http
	InFlight int    `json:"in_flight"`
	Waiting  int    `json:"waiting"`
	// Limit is how many may be handled at once, and Found the limit that was found when the server was overloaded, 0 while there is
	// none: then Limit is only what is never exceeded.
	Limit int `json:"limit,omitempty"`
	Found int `json:"found,omitempty"`
}
