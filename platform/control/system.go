package control

import (
	"context"
	"time"
)

// System is what the server shows and steers: one running system. The package owns this interface so that
// the server can be tested with a fake and knows nothing of processes.
//
// All methods are called from many goroutines at once. Errors carry a code of package failure, and their
// messages are shown to users as they are. The server has checked every name before it calls: a method
// still has to answer failure.NotFound for an instance that went away in the meantime.
type System interface {
	// Info describes the system as a whole. It answers from memory, at once.
	Info() Info
	// Instances lists what runs now, sorted by service in the order of the system file, then by number;
	// the control members come first, under the service name "control". The caller owns the slice.
	Instances() []Instance

	// Kill ends one instance with SIGKILL, as a crash would. The platform starts it again.
	Kill(ctx context.Context, instance string) error
	// Freeze stops the process of one instance with SIGSTOP: its connections stay open and answer nothing.
	// Freezing what is frozen does nothing.
	Freeze(ctx context.Context, instance string) error
	// Thaw lets a frozen instance go on. Thawing what is not frozen does nothing.
	Thaw(ctx context.Context, instance string) error
	// Restart restarts the named instances of one service, one after another and in their places, while another one
	// stands in, and returns when all are ready again. A control member has no stand-in. When ctx ends, no further
	// restart is begun.
	Restart(ctx context.Context, service string, instances []string) error
	// Scale sets how many instances the service should have and returns when the change has been made:
	// added instances are ready, removed ones have drained and ended. A service that is scaled by its load is from then
	// on left at that number, until Autoscale.
	Scale(ctx context.Context, service string, replicas int) error
	// Autoscale gives a service back to being scaled by its load, as the system file says, and returns at once. It does nothing
	// to one that is, and is a failure.FailedPrecondition for one of which the file says nothing.
	Autoscale(service string) error
	// Down begins to stop the system and returns at once.
	Down()

	Breaker

	// Logs hands lines of output to emit, oldest first: at most q.Lines kept lines and then, if q.Follow,
	// each new one until ctx ends (which is no error). A consumer too slow to follow loses lines, never
	// slows a service: a LogLine with Dropped set says how many are missing at that place. An error of emit
	// ends the call and is returned. An instance that nobody has heard of is a failure.NotFound; one that is gone is not.
	Logs(ctx context.Context, q LogQuery, emit func(LogLine) error) error
	// Events hands what happens from now on to emit until ctx ends (which is no error). Like Logs, a slow
	// consumer loses events rather than hold anything up.
	Events(ctx context.Context, emit func(Event) error) error
}

// State is the state of the system as a whole.
type State string

// The states of a system, in the order in which it goes through them.
const (
	Building State = "building" // service binaries are being built
	Starting State = "starting" // control members, then services by waves
	Ready    State = "ready"    // every service has been ready once
	Stopping State = "stopping" // on the way down
)

// Info describes a running system.
type Info struct {
	System   string    `json:"system"`             // the name in the system file
	State    State     `json:"state"`              //
	Since    time.Time `json:"since"`              // when `holdfast up` was started
	PID      int       `json:"pid"`                // of `holdfast up`
	Version  string    `json:"version"`            // of Holdfast
	Dir      string    `json:"dir"`                // of the system file
	Data     string    `json:"data"`               // of the system's data
	Registry string    `json:"registry,omitempty"` // URL, as the services get it
	Config   string    `json:"config,omitempty"`   // URL of the live settings
	Queue    string    `json:"queue,omitempty"`    // URL of the engine for messages, without secrets
	// Network is that of the instances if each has a namespace of its own ("10.200.0.0/16"): whoever calls them then does so
	// beyond loopback. Faults of the network are then about packets.
	Network string `json:"network,omitempty"`
	// Clock is whether the wall clocks of services that are Go packages can be moved.
	Clock bool `json:"clock,omitempty"`
	// Telemetry is where the platform receives OTLP, over HTTP and gRPC; empty if it does not.
	Telemetry string    `json:"telemetry,omitempty"`
	Services  []Service `json:"services"` // in the order of the system file; "control" is not among them
}

// Service is the wanted and the present state of one service.
type Service struct {
	Name     string `json:"name"`
	Replicas int    `json:"replicas"`       // wanted
	Ready    int    `json:"ready"`          // of those, ready now
	HTTP     string `json:"http,omitempty"` // address at which the platform listens for it

	// Replicated is whether its instances keep state among themselves, as the system file says (state: replicated).
	Replicated bool `json:"replicated,omitempty"`

	Autoscale *Autoscale `json:"autoscale,omitempty"` // nil for one that is not scaled by its load
}

// Autoscale is how a service is scaled by its load.
type Autoscale struct {
	Min int `json:"min"`
	Max int `json:"max"`
	// Wish is how many instances its metrics ask for now, which they have to do for a while; 0 while that is not known.
	Wish int `json:"wish,omitempty"`
	// Why names the metric that asks for most: "in-flight 45 per instance, target 20".
	Why string `json:"why,omitempty"`
	// Waits is why there are not as many yet, in words, empty if there are: "an instance is missing".
	Waits string `json:"waits,omitempty"`
	// Paused is why the number is left alone at the moment, empty if it is not: "set to 5 by hand".
	Paused string `json:"paused,omitempty"`
}

// ControlService is the name under which the members of the control plane are listed and addressed. No
// service of a system file may have it.
const ControlService = "control"

// Frozen is the State of an instance whose process was stopped by SIGSTOP, by Freeze or by anybody else.
const Frozen = "frozen"

// Instance is one process of the system.
type Instance struct {
	Service  string    `json:"service"`
	ID       string    `json:"id"`
	PID      int       `json:"pid"`      // 0 while no process runs
	Addr     string    `json:"addr"`     // host:port of its first protocol; empty while unknown
	State    string    `json:"state"`    // starting, ready, frozen, draining, backoff, ...; as the supervisor calls them
	Restarts int       `json:"restarts"` // starts after the first
	Since    time.Time `json:"since"`    // of the present state

	Addrs  map[string]string `json:"addrs,omitempty"`  // all addresses by protocol: "grpc", "http"
	Reason string            `json:"reason,omitempty"` // why it is not ready yet, once that takes long, or else why its process ended last; empty if it never did
}

// LogQuery selects log lines.
type LogQuery struct {
	Service string // a service, an instance, "control"; empty for everything
	Follow  bool   // go on with new lines
	Lines   int    // kept lines to begin with; 0 means none
	// Text is what a line has to have in it, upper and lower case being the same, and Trace whose trace it has to be about;
	// empty is any.
	Text, Trace string
}

// LogLine is one line that a process wrote.
type LogLine struct {
	Time     time.Time `json:"time"`
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	Text     string    `json:"text"`
	Dropped  int       `json:"dropped,omitempty"` // lines lost before this one, because the reader was too slow

	Trace string `json:"trace,omitempty"` // ID of the trace on whose behalf it was written, if it says so
	Span  string `json:"span,omitempty"`
	Level string `json:"level,omitempty"` // "DEBUG", "INFO", "WARN", "ERROR", if it says so
}

// EventRestarted and EventScaled are the State of the event that follows, for the service, all others of a restart or
// of a change of scale that has been made. EventScaling is that of the event which comes before those of a change that the
// service's load has brought about: its message says why.
const (
	EventRestarted = "restarted"
	EventScaled    = "scaled"
	EventScaling   = "scaling"
)

// EventFaultBegun and EventFaultEnded are the State of events about faults; Event.Fault names it.
const (
	EventFaultBegun = "fault-begun"
	EventFaultEnded = "fault-ended"
)

// These are the State of events about what processes say of each other and of themselves: an instance is given no calls any more,
// or again, by another one; it has won an election or lost it; it has announced that it stops.
const (
	EventEjected    = "ejected"
	EventReadmitted = "readmitted"
	EventElected    = "elected"
	EventDeposed    = "deposed"
	EventDraining   = "draining"
)

// Event is something that happened to the system, in words for people and in fields for programs.
type Event struct {
	Time     time.Time `json:"time"`
	Service  string    `json:"service,omitempty"`
	Instance string    `json:"instance,omitempty"`
	State    string    `json:"state,omitempty"` // the new state: of the instance, or of the system if none is named; or EventRestarted ...
	Fault    string    `json:"fault,omitempty"` // ID of the fault that begins or ends
	Message  string    `json:"message"`         // one line
}
