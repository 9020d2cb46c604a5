//go:build unix

package supervise

import (
	"log/slog"
	"net/netip"
	"os"
	"time"
)

// Config configures a Supervisor. Only Dir is required.
type Config struct {
	// Dir is the data directory. It holds the logs of instances and what services keep, and is
	// locked against a second supervisor. The lock is free once all processes of the one before
	// are gone, also after kill -9.
	Dir string
	// Guardian is the command line of a process that calls Guard, normally this program with a
	// hidden command. It kills all processes if this one is killed. Empty means none: then only
	// the direct children go along, and only on Linux. It gets the environment of this process.
	Guardian []string
	// Env is the environment of every process, as KEY=VALUE, such as HOLDFAST_REGISTRY. The
	// environment of this process is not passed on by itself: append os.Environ() first.
	Env []string
	// StopTimeout is how long a process may take from SIGTERM until it is killed. Default 30 s.
	StopTimeout time.Duration
	// ReadyTimeout is how long an instance in a rolling restart may take. Default 60 s.
	ReadyTimeout time.Duration
	// LogLines bounds the lines kept in memory per service. Default 2000.
	LogLines int
	// LogFileBytes bounds the log file of one instance; one older file of that size is kept
	// beside it. Default 8 MiB.
	LogFileBytes int64
	// Network says where instances are, if each is to have a network of its own. Default: all share
	// the one of this process, and listen on loopback.
	Network Network
	// Logger gets what nobody is told otherwise. Default: discarded.
	Logger *slog.Logger
}

// Network gives instances network namespaces, which only Linux has; platform/netns has one.
type Network interface {
	// Place returns the address of an instance and the namespace that its processes are started
	// in. It is asked before each start, and its answer for an ID must not change. The file stays
	// the Network's; nil is for the namespace of this process.
	Place(id string) (netip.Addr, *os.File, error)
}

// Group is a set of like processes: a service and its instances.
type Group struct {
	// Service is the name, unique in a Supervisor. Instances are named Service-1, Service-2 ...
	Service string
	// Command is the program and its arguments.
	Command []string
	// Dir is the working directory. Default: that of this process.
	Dir string
	// Env is added to Config.Env and what the supervisor sets itself, as KEY=VALUE; the later
	// one of two with the same key counts. Set are HOLDFAST_INSTANCE (the id), HOLDFAST_DATA_DIR
	// (one directory for all services), HOLDFAST_GRPC_ADDR and HOLDFAST_HTTP_ADDR: loopback
	// addresses that the instance may listen on, its own until it is stopped for good. In a Network
	// they are on the address of the instance, HOLDFAST_REPLICA_ADDR, too, and HOLDFAST_INSECURE is
	// true: nothing but this machine is in it.
	Env []string
	// Replicas is the number of instances at the start.
	Replicas int
	// Wave orders the end: groups with a higher wave are stopped before those with a lower one.
	// It does not order the start: that is Add's caller, with WaitReady.
	Wave int
	// Members, if not empty, makes the group a fixed set: Replicas is ignored, Scale is refused,
	// and Restart stops each one before it starts it again in its place.
	Members []Member
	// Serves are the protocols ("grpc", "http") that each instance listens for before it is ready.
	// Without any, one that listens nowhere is ready, too, after 2 s.
	Serves []string
	// Ready overrides how it is found out that an instance is ready; see Probe.
	Ready Probe
}

// Member is one instance of a fixed group.
type Member struct {
	// ID is the name of the instance, unique in the Supervisor.
	ID string
	// Addrs are its addresses, by protocol ("grpc", "http"): fixed, and probed for readiness. It
	// finds them in HOLDFAST_GRPC_ADDR and HOLDFAST_HTTP_ADDR as any instance does.
	// Other addresses of it belong into Args or Env.
	Addrs map[string]string
	// Args are appended to Group.Command.
	Args []string
	// Env is appended to Group.Env.
	Env []string
}

// Phase is where an instance is in its life.
type Phase string

// The phases. See DESIGN.md for what leads from one to another.
const (
	Starting Phase = "starting"      // running, not yet ready
	Ready    Phase = "ready"         // running, its probe has succeeded
	Frozen   Phase = "frozen"        // stopped by SIGSTOP, ours or anyone's
	Draining Phase = "draining"      // told to end, still running
	Backoff  Phase = "backoff"       // ended by itself, waiting to be started again
	Looping  Phase = "crash-looping" // Backoff after several crashes in a row
	Stopped  Phase = "stopped"       // ended on purpose; the last state of an instance
)

// State is one instance as it is now.
type State struct {
	Service string `json:"service"`
	ID      string `json:"id"`
	// PID is 0 while no process is running.
	PID int `json:"pid"`
	// Addrs are the addresses by protocol ("grpc", "http") that it listens on, as found out by
	// its probe; before that, all that it was given.
	Addrs map[string]string `json:"addrs"`
	State Phase             `json:"state"`
	// Restarts counts starts after the first.
	Restarts int `json:"restarts"`
	// RetryAt is when it is started again; zero unless State is Backoff or Looping.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Since is when it came into State.
	Since time.Time `json:"since"`
	// Reason says why it ended last, "" if it never did: "exit status 1", "killed by SIGKILL", "killed by
	// SIGKILL, as asked for" if that was by Kill. With Late it is why it is not ready yet: "http
	// 127.0.0.1:20001: /healthz answers 503 Service Unavailable".
	Reason string `json:"reason,omitempty"`
	// Late says that it is Starting and has been for 5 s.
	Late bool `json:"late,omitempty"`
}

// Event is a change of one instance.
type Event struct {
	Time time.Time `json:"time"`
	State
	// Dropped, if not 0, says that so many events before this one were lost because the
	// subscriber was too slow; then the rest of this event is empty.
	Dropped int `json:"dropped,omitempty"`
}

// Line is one line of a process's output, standard output and standard error alike.
type Line struct {
	Time     time.Time `json:"time"`
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	// Text is valid UTF-8 without escape sequences and control characters other than tab, cut at
	// 16 KiB.
	Text string `json:"text"`
	// Dropped, if not 0, says that so many lines before this one were lost because the
	// subscriber was too slow; then the rest of this line is empty.
	Dropped int `json:"dropped,omitempty"`

	start int // which process of the instance wrote it, counted from 1
}
