package control

import (
	"context"
	"errors"
)

// Client calls the API of a running system. Safe for concurrent use.
type Client struct {
	addr string
}

// ErrNotRunning is matched by errors of a Client that found nobody listening at its address.
var ErrNotRunning = errors.New("no system is running")

// NewClient returns a client for the API at addr (host:port).
func NewClient(addr string) *Client { return &Client{addr: addr} }

// Addr is the address that the client calls.
func (c *Client) Addr() string { return c.addr }

// System describes the running system.
func (c *Client) System(ctx context.Context) (Info, error) { return Info{}, errors.ErrUnsupported }

// Instances lists the running instances, the control members first.
func (c *Client) Instances(ctx context.Context) ([]Instance, error) { return nil, errors.ErrUnsupported }

// Logs hands log lines to emit until there are no more or, with q.Follow, until ctx ends or the system is gone.
func (c *Client) Logs(ctx context.Context, q LogQuery, emit func(LogLine) error) error {
	return errors.ErrUnsupported
}

// Events hands events to emit until ctx ends or the system is gone.
func (c *Client) Events(ctx context.Context, emit func(Event) error) error { return errors.ErrUnsupported }

// Kill ends the target with SIGKILL, as a crash would, and returns the instances that were hit.
// A service of several instances is only killed whole if all is set.
func (c *Client) Kill(ctx context.Context, target string, all bool) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Freeze stops the target's processes (SIGSTOP); rules as for Kill.
func (c *Client) Freeze(ctx context.Context, target string, all bool) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Thaw lets the target's frozen processes go on. A service is thawed whole.
func (c *Client) Thaw(ctx context.Context, target string) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Restart replaces the target's instances one after another and returns the replacements when all are ready.
func (c *Client) Restart(ctx context.Context, target string) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Scale sets the number of instances of a service and returns when it is reached.
func (c *Client) Scale(ctx context.Context, service string, replicas int) error {
	return errors.ErrUnsupported
}

// Down asks the system to stop and returns as soon as it has begun to.
func (c *Client) Down(ctx context.Context) error { return errors.ErrUnsupported }
