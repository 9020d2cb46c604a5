package netns

import (
	"errors"
	"log/slog"
	"net/netip"
)

// ErrTaken says that a network is used by somebody else on this machine.
var ErrTaken = errors.New("taken")

// Config configures a Network. The zero value works.
type Config struct {
	// Subnet is the network to use, as of one that was made before: control members remember their addresses. It is of
	// those from 10.200.0.0/16 to 10.250.0.0/16. The zero value means any of them that this machine has no route to.
	Subnet netip.Prefix
	// Logger gets what nobody is told otherwise. Default: discarded.
	Logger *slog.Logger
}
