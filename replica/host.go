package replica

import (
	"context"
	"net"
)

// Host is a process's part in replicated state: one log, one listener, many groups. It is a lifecycle component with
// Name, Ready and Drain. Start it before and stop it after whatever uses its groups. Safe for concurrent use.
type Host struct {
	cfg   Config
	ready chan struct{}
}

// NewHost opens the directory, replays the log and listens. Directories that another process has open, that are damaged
// or belong to a host of another name are errors here. A Host that is never run must be closed.
func NewHost(cfg Config) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Host{cfg: cfg.defaults(), ready: make(chan struct{})}, nil
}

// Group makes this host a member of a group. All hosts of the group call it with the same name. It can be called before
// and while Run runs; the machine must be empty. What this host has of the group on its disk is restored before the
// first entry is applied. Propose and Read wait until the group is founded or joined.
func (h *Host) Group(name string, machine Machine, cfg GroupConfig) (*Group, error) { panic("not yet") }

// Run takes part until ctx ends, then stops and closes everything. It returns an error when the disk fails, and nil when
// only a group does, which then answers with that error.
func (h *Host) Run(ctx context.Context) error { panic("not yet") }

// Ready is closed once Run serves the other members. Groups are not waited for: see Group.Ready.
func (h *Host) Ready() <-chan struct{} { return h.ready }

// Name returns "replica NAME".
func (h *Host) Name() string { return "replica " + h.cfg.Name }

// Drain hands the leadership of all groups over to the members that are most up to date, and goes on serving. It returns
// when that is done, or ctx is.
func (h *Host) Drain(ctx context.Context) error { panic("not yet") }

// Addr returns the address that the host listens on.
func (h *Host) Addr() net.Addr { panic("not yet") }

// Close ends a Host that is not run.
func (h *Host) Close() error { panic("not yet") }

// Groups returns the groups of this host, sorted by name.
func (h *Host) Groups() []*Group { panic("not yet") }
