package check

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// Checker makes one check. Its methods are called once each, in this order.
type Checker interface {
	// Name says what is checked, in a few words: "register", "checkout is acknowledged once".
	Name() string
	// Prepare looks whether the check can be made at all, before anything is broken.
	Prepare(ctx context.Context, w *World) error
	// Run makes what the check needs while load and faults are on, until ctx is done, and joins what it started.
	Run(ctx context.Context, w *World)
	// Judge says what came of it, after the load has ended and what was broken is mended. A ctx that is done is Unknown.
	Judge(ctx context.Context, w *World) Verdict
}

// World is what checks see of a drill.
type World struct {
	Caller *load.Caller
	Record *load.Recorder // its clock is theirs, too
	Calls  []load.Call    // of the mix, prepared
	Seed   uint64
	// Instances returns the instances of a service as they are now; nil when nothing is known of them.
	Instances func(ctx context.Context, service string) ([]Instance, error)
	// Dir is where commands run, the directory of the system file, and Env what they are told besides the environment of
	// this process ("HOLDFAST_EDGE=…").
	Dir string
	Env []string
}

// Instance is one instance of a service.
type Instance struct {
	ID   string // "orders-1"
	HTTP string // the address of its own HTTP server, "" if it has none
}

// New returns the check of an invariant.
func New(i Invariant) (Checker, error) { return nil, nil }

// Invariant is one of the kinds. Exactly one field is set.
type Invariant struct {
	// Name, if not empty, is the check's name.
	Name         string
	Register     *Register
	Acknowledged *Acknowledged
	Once         *Once
	Leader       *Leader
	HTTP         *HTTP
	Command      *Command
	Func         *Func
}

// Register has clients write and read a few keys alongside the load, and checks that one order of them explains every
// answer (linearizability, by porcupine). A write without an answer may happen at any time after it was sent.
type Register struct {
	Keys    int           // 0 is 5
	Clients int           // 0 is 3
	Every   time.Duration // the pause of a client between its calls, on average; 0 is 50 ms
	// Write is called with {{.key}} and {{.value}}, which is a number that nothing else writes, and Read with {{.key}}, and
	// keeps the value as "value". What a Read refuses (a 404, say) was never written.
	Write, Read load.Call
}

// Acknowledged checks that each call of a kind that was acknowledged is there: At, filled with what that call was made with
// and what it kept, is answered as it expects.
type Acknowledged struct {
	Call   string // in the mix
	At     load.Call
	Within time.Duration // how long it is asked again; 0 is 10 s
}

// Once checks that each call of a kind had its effect at most once, and if it was acknowledged exactly once. Calls with the
// same value of By, a variable ("key"), are the same. Each of List's answers has to keep the number of effects as "count";
// without a List, only that acknowledgements of the same call kept the same is checked.
type Once struct {
	Call   string
	By     string // "" is "key"
	List   *load.Call
	Within time.Duration // how long it is asked again; 0 is 10 s
}

// Leader asks each instance of a service, over and over, whether it leads, and checks that no two do at a time. Get has to
// keep "leader" (true or false), and "term" if there is one: a number that grows with each leader.
//
// Two answers at different times do not show two leaders at a time. What does is: the same term claimed by two, or one
// that leads before and after another did in between, with the same term.
type Leader struct {
	Service string
	Get     load.Call     // its Path is asked at each instance's own address
	Every   time.Duration // 0 is 50 ms
}

// HTTP makes a call when the load is over, and checks that it is answered as it expects. No answer at all is unknown.
type HTTP struct {
	Call   load.Call
	Within time.Duration // how long it is asked again; 0 is 10 s
}

// Command runs a command by sh -c when the load is over: exit code 0 holds, 1 is broken, with a finding on each line of what it
// says, and anything else is unknown. HOLDFAST_DRILL_RECORD is a file with the samples, a line of JSON each.
type Command struct {
	Run     string
	Timeout time.Duration // 0 is 2 min
}

// Func is a check in Go.
type Func struct {
	Judge func(ctx context.Context, w *World) Verdict
}
