package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
)

// Variable is the name of the environment variable that tells a process where its agent listens.
const Variable = "HOLDFAST_AGENT"

// Config configures a Server. The zero value works.
type Config struct {
	// Changed is called when a process begins or ceases to follow, from one goroutine at a time. It must not block.
	Changed func()
	// Logger gets what goes wrong. Default: discarded.
	Logger *slog.Logger
}

// Said is what a process last said of itself.
type Said struct {
	fault.Stats
	At  time.Time
	PID int
}

// Server is where the processes of one system ask what they are to suffer. It is a lifecycle Component. Safe for
// concurrent use.
type Server struct{ cfg Config }

// Listen listens at once on a unix socket in a directory of its own that only this user can reach. A Server that is not run
// must be closed.
func Listen(cfg Config) (*Server, error) { return &Server{cfg}, nil }

// Env is the variable that leads a process here, as KEY=VALUE.
func (s *Server) Env() string { return "" }

// Name implements lifecycle.Namer.
func (s *Server) Name() string { return "agent" }

// Run serves until ctx ends. Every plan is void then.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close gives up a Server that will not be run.
func (s *Server) Close() error { return nil }

// SetPlan says what an instance is to suffer from now on, also after it is started again, and waits until its process has
// put that in force: until ctx ends, or for 2 s. An instance that does not follow at the moment gets its plan when it does; that is a
// failure.FailedPrecondition. A process that does not answer in time, because it is frozen, gets it when it goes on; that is a
// failure.DeadlineExceeded.
func (s *Server) SetPlan(ctx context.Context, instance string, plan fault.Plan) error { return nil }

// Follows says whether a process of an instance is connected.
func (s *Server) Follows(instance string) bool { return false }

// Stats is what those that are connected said last, by instance. One that has not said anything yet is not in it.
func (s *Server) Stats() map[string]Said { return nil }
