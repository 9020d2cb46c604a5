package breakage

import (
	"slices"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/control"
)

// World is a system as it is now, as far as faults are concerned.
type World struct {
	Instances []Instance
	// Services are those that can be scaled.
	Services []string
	// Registry and Queue are where the processes reach the engines: host:port. Empty if there is none.
	Registry, Queue []string
	// Edge is where users come in: the addresses of the platform's edges.
	Edge []string
}

// Instance is one process of a system.
type Instance struct {
	ID, Service string
	// PID is 0 while no process runs.
	PID int
	// Frozen is whether it is stopped by a signal, whoever sent it.
	Frozen bool
	// Settled is whether it has had the time to connect to its agent, if it ever does.
	Settled bool
	// Follows is whether it is connected to its agent.
	Follows bool
	// Clock is whether its wall clock can be moved.
	Clock bool
	// Addrs are all addresses at which others reach it.
	Addrs []string
}

// member reports whether it is one of the control plane: it follows nobody, and calls no service.
func (i Instance) member() bool { return i.Service == control.ControlService }

func (w World) find(id string) (Instance, bool) {
	for _, i := range w.Instances {
		if i.ID == id {
			return i, true
		}
	}
	return Instance{}, false
}

// follower reports whether connections of an end can be shaped where they are made: those of the platform's own, and of
// every process that is not known to be foreign. One that is just being started may follow yet.
func (w World) follower(end string) bool {
	if end == control.EdgeEnd {
		return true
	}
	i, ok := w.find(end)
	return ok && !i.member() && (i.Follows || !i.Settled || i.PID == 0)
}

// addrs are where an end is reached. An end that is neither an instance nor a name is an address itself.
func (w World) addrs(end string) []string {
	switch end {
	case control.EdgeEnd:
		return w.Edge
	case control.RegistryEnd:
		return w.Registry
	case control.QueueEnd:
		if len(w.Queue) == 0 {
			return nil
		}
		return append(slices.Clone(w.Queue), fault.ToQueue) // and where its brokers tell clients to go
	}
	if i, ok := w.find(end); ok {
		return i.Addrs
	}
	if isAddr(end) {
		return []string{end}
	}
	return nil
}
