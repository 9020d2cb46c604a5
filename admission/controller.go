package admission

import (
	"context"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// Controller decides for one server. Make one with [New]. Safe for concurrent use.
type Controller struct {
	cfg Config
}

// New returns a Controller. Values in cfg that Validate finds wrong count as their defaults.
func New(cfg Config) *Controller { return &Controller{cfg: cfg.defaults()} }

// Configure changes the configuration of a running Controller; calls in progress and waiting are kept.
func (c *Controller) Configure(Config) {}

// Request is what is decided on.
type Request struct {
	Criticality resilience.Criticality
	// Tenant is on whose behalf the call is made; "" nobody's.
	Tenant string
	// Attempt is how often the call was tried before: under load, first attempts go before repetitions.
	Attempt int
}

// Outcome is how a call that was admitted ended.
type Outcome uint8

// The outcomes.
const (
	// Done: the handler did its work; how long it took says something about the server.
	Done Outcome = iota
	// Failed: it ended early, or for a reason that says nothing about the server: a wrong argument, a caller who
	// hung up, a fault.
	Failed
	// Late: it was given up at its deadline: it would have taken longer than it did.
	Late
)

// OutcomeOf is how a handler's answer with code counts.
func OutcomeOf(code failure.Code) Outcome {
	switch code {
	case failure.OK:
		return Done
	case failure.DeadlineExceeded:
		return Late
	default:
		return Failed
	}
}

// Ticket is the right to run one call.
type Ticket struct {
	c *Controller
}

// Admit waits until the call may begin, which under no load is at once.
func (c *Controller) Admit(ctx context.Context, r Request) (Ticket, error) {
	return Ticket{c: c}, nil
}

// Done gives the right back. It must be called once, when the handler really has returned.
func (t Ticket) Done(Outcome) {}

// Pushback is what a caller whose call was refused with err should be told about repeating it: after how many
// milliseconds, or -1 for not at all. ok: err is a refusal of this package.
func Pushback(err *failure.Error) (ms int, ok bool) { return 0, false }

// Stats returns what the Controller is doing.
func (c *Controller) Stats() Stats { return Stats{} }
