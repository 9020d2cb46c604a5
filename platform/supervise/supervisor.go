//go:build unix

package supervise

import (
	"context"
	"errors"
	"io"
)

var errTodo = errors.New("not implemented")

// Supervisor runs processes. It is a lifecycle Component: Run stops all processes, highest wave
// first, when its context ends. All methods may be called at once.
type Supervisor struct{ cfg Config }

// New opens the data directory and locks it. It waits a few seconds for the processes of a
// supervisor that was killed to be gone.
func New(cfg Config) (*Supervisor, error) { return &Supervisor{cfg: cfg}, nil }

// Close gives up a Supervisor that was never run. After Run it does nothing.
func (s *Supervisor) Close() error { return errTodo }

// Run runs the processes until ctx ends, then stops them and returns when all are gone.
func (s *Supervisor) Run(ctx context.Context) error { return errTodo }

// Ready is closed when Run has begun and is guarded.
func (s *Supervisor) Ready() <-chan struct{} { return nil }

// Name implements lifecycle.Namer.
func (s *Supervisor) Name() string { return "supervise" }

// Add starts a group, now or when Run begins. It does not wait; see WaitReady.
func (s *Supervisor) Add(g Group) error { return errTodo }

// WaitReady blocks until every instance of the services (none = of all services) is ready. It
// ends early with an error if an instance is crash looping: the error holds its last output.
func (s *Supervisor) WaitReady(ctx context.Context, services ...string) error { return errTodo }

// States returns all instances, sorted by service in the order of Add, then by number.
func (s *Supervisor) States() []State { return nil }

// Kill sends SIGKILL to the process group of an instance, which is then started again. An
// unknown id is a failure.NotFound, one without a process a failure.FailedPrecondition; the
// same for Freeze and Thaw.
func (s *Supervisor) Kill(id string) error { return errTodo }

// Freeze stops an instance as SIGSTOP does. Its connections stay open; it answers nothing.
func (s *Supervisor) Freeze(id string) error { return errTodo }

// Thaw lets a frozen instance go on.
func (s *Supervisor) Thaw(id string) error { return errTodo }

// Restart replaces all instances of a service, one at a time: a replacement is started under
// the lowest free number, and when it is ready the old one is stopped. If a replacement does
// not become ready it is taken away, the old ones stay, and Restart fails. A second Restart or
// Scale of the same service at the same time is a failure.Aborted.
func (s *Supervisor) Restart(ctx context.Context, service string) error { return errTodo }

// Scale sets the number of instances and waits until new ones are ready and surplus ones, the
// highest numbers, are gone. When ctx ends before, the new number stays in force.
func (s *Supervisor) Scale(ctx context.Context, service string, n int) error { return errTodo }

// Stop stops all instances of a service. It stays known and can be scaled up again.
func (s *Supervisor) Stop(ctx context.Context, service string) error { return errTodo }

// Events subscribes to changes of instances, starting now. The subscriber must call Stop.
func (s *Supervisor) Events() *Events { return nil }

// Logs returns the last n lines of a service or of one instance ("" = of all services), oldest
// first, and a subscription to what follows, without gap or overlap. With follow false the
// subscription is nil; otherwise the caller must Stop it.
func (s *Supervisor) Logs(name string, n int, follow bool) ([]Line, *Tail, error) {
	return nil, nil, errTodo
}

// Events is a bounded subscription to changes of instances.
type Events struct{}

// Next blocks until there is an event or ctx ends. io.EOF means that the supervisor has ended.
func (e *Events) Next(ctx context.Context) (Event, error) { return Event{}, io.EOF }

// Stop ends the subscription.
func (e *Events) Stop() {}

// Tail is a bounded subscription to log lines.
type Tail struct{}

// Next blocks until there is a line or ctx ends. io.EOF means that the supervisor has ended.
func (t *Tail) Next(ctx context.Context) (Line, error) { return Line{}, io.EOF }

// Stop ends the subscription.
func (t *Tail) Stop() {}

// Guard is the guardian's work: it reads process groups from the pipe and, when that ends
// because the supervisor is gone, kills them all. The hidden command that Config.Guardian names
// calls it with os.Stdin and exits when it returns.
func Guard(pipe io.Reader) error { return errTodo }
