package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// Control is what a drill needs of a running system; a *control.Client is one.
type Control interface {
	inject.Control
	System(ctx context.Context) (control.Info, error)
	Instances(ctx context.Context) ([]control.Instance, error)
	Events(ctx context.Context, connected func(), emit func(control.Event) error) error
	Faults(ctx context.Context) ([]control.Fault, error)
	Stats(ctx context.Context) (control.Stats, error)
}

// Config is how drills are run. Control is required.
type Config struct {
	// Control reaches the running system, Addr is where, for commands.
	Control Control
	Addr    string
	// Seed of all that is drawn: arrivals, keys, instances that are hit, faults of Random.
	Seed uint64
	// Command is what runs the same drill again, for the report. Version is that of the program.
	Command, Version string
	// Progress, if not nil, is told what happens, and about once a second how far it is. It is called by one goroutine at a
	// time and must not block for long.
	Progress func(Progress)
	// GRPC returns a connection to a service for calls over gRPC. nil, or a nil connection: over the addresses of its instances
	// as the system has them, without TLS, in turn.
	GRPC func(service string) (grpc.ClientConnInterface, error)
	// HTTP, if not nil, makes the requests to public addresses.
	HTTP http.RoundTripper
	// Guard, see inject.Applier.
	Guard func(inject.Undo) (undone func(), err error)

	look func() (processors, bool) // at this machine's; nil: as they are
}

// Progress is how far a drill is.
type Progress struct {
	At      time.Duration // since the load began; 0 while it is being prepared
	For     time.Duration // of the load
	Calls   int           // so far
	Failed  int           // of these
	Refused int           // of these
	Last    Second        // the last second
	Broken  []string      // what is broken now, in words
	Message string        // what has just happened, in words; "" if it is only time that has passed
	Bad     bool          // and it is bad news
}

// Second is what became of calls that were answered within a second.
type Second struct {
	Calls, Failed int
	Slowest       time.Duration
}

const (
	// readyTime is how long a system may take to be well before a drill, and after it.
	readyTime = 60 * time.Second
	// mendTime is how long mending may take altogether.
	mendTime = 30 * time.Second
	// judgeTime bounds one check, beside what it says itself that it may take.
	judgeTime = 5 * time.Minute
)

// Run drills a running system and says what came of it. It returns no error: a drill that could not be run, and one that ctx
// ended, says so in CouldNot, with what was measured until then. All that it broke is mended when it returns. When this
// process is killed, leases mend it seconds later, and Config.Guard's owner the rest.
func Run(ctx context.Context, sc *Scenario, cfg Config) *report.Report {
	s := &session{cfg: cfg, sc: sc.complete(), rec: &load.Recorder{}, host: host{look: cfg.look}}
	if s.host.look == nil {
		s.host.look = lookAtProcessors
	}
	err := s.prepare(ctx)
	if err == nil {
		err = s.drill(ctx)
	}
	s.close()
	r := s.report()
	if s.gone {
		s.explainGone(r)
	}
	switch {
	case ctx.Err() != nil && s.began:
		r.CouldNot = fmt.Sprintf("interrupted %s after the load began", inject.Span(s.length.Round(100*time.Millisecond)))
	case ctx.Err() != nil:
		r.CouldNot = "interrupted before the load began"
	case err != nil:
		r.CouldNot = says(err)
	}
	return r
}

// explainGone says of the failures since the platform ended that they are no consequence of what was broken.
func (s *session) explainGone(r *report.Report) {
	r.Advice = nil
	for i := range r.Failed {
		if f := &r.Failed[i]; f.Due+f.Took >= s.seen {
			f.During, f.Explain = nil, "The platform itself had ended, or was about to."
		}
	}
}

// says is an error without the code that programs go by.
func says(err error) string {
	var refused *failure.Error
	if errors.As(err, &refused) && refused.Message != "" {
		return refused.Message
	}
	return err.Error()
}

// machine says what was measured on.
func machine() string {
	return fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}

// environ is what commands of a scenario know of the system.
func (s *session) environ() []string {
	env := append(os.Environ(),
		"HOLDFAST_REGISTRY="+s.info.Registry, "HOLDFAST_QUEUE="+s.info.Queue, "HOLDFAST_CONTROL="+s.cfg.Addr,
		fmt.Sprintf("HOLDFAST_DRILL=%s", s.sc.Name), fmt.Sprintf("HOLDFAST_DRILL_SEED=%d", s.cfg.Seed))
	if s.info.Network != "" { // of namespaces: beyond loopback, and on this machine
		env = append(env, "HOLDFAST_INSECURE=true")
	}
	for _, service := range s.info.Services {
		if service.HTTP != "" {
			return append(env, "HOLDFAST_EDGE=http://"+service.HTTP)
		}
	}
	return env
}
