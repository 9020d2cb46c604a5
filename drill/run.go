package drill

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// Config is how a drill is run. Control is required.
type Config struct {
	// Control reaches the running system.
	Control *control.Client
	// Seed of all that is drawn: arrivals, keys, instances that are hit, faults of Random.
	Seed uint64
	// Command is what runs the same drill again, for the report. Version is that of the program.
	Command, Version string
	// Progress, if not nil, is told what happens: at most a few times a second, from one goroutine.
	Progress func(Progress)
}

// Progress is how far a drill is.
type Progress struct {
	At      time.Duration // since the load began; negative while it is being prepared
	For     time.Duration // of the load
	Calls   int           // so far
	Failed  int           // of these
	P99     time.Duration // of the last second
	Broken  []string      // faults in force, in words
	Message string        // what has just happened, in words; "" if nothing
}

// Run drills a running system and says what came of it. It returns no error: a drill that could not be run, and one that ctx
// ended, says so in CouldNot, with what was measured until then. All that it broke is mended when it returns, and, by
// leases, seconds after this process has been killed.
func Run(ctx context.Context, sc *Scenario, cfg Config) *report.Report {
	_ = ctx
	return &report.Report{Drill: sc.Name, About: sc.About, Seed: cfg.Seed, Command: cfg.Command, Version: cfg.Version, CouldNot: "not implemented"}
}
