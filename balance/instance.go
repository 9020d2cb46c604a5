package balance

import (
	"cmp"
	"slices"
	"time"
)

// The states of an Instance.
const (
	StateReady       = "ready"
	StateEjected     = "ejected"     // it gets no calls for a while
	StateProbing     = "probing"     // it was ejected, and single calls try whether it is well again, well so far
	StateSlowStart   = "slow-start"  // it is new, or just back, and its share grows
	StateDraining    = "draining"    // it has said that it stops
	StateUnreachable = "unreachable" // there is no connection to it
)

// Instance is what a client knows of an instance, for people and for metrics.
type Instance struct {
	ID string
	// Addr is where it is reached; "" where only a Balancer is asked.
	Addr  string
	State string // one of the constants above
	// Why says why it is not ready, in words; "" if it is.
	Why string
	// Until is when the next call tries whether it is back, or when it has its whole share; zero if that is not known.
	Until time.Time
	// InFlight is how many calls of this client are in flight at it.
	InFlight int
}

// Instances returns the members that this client uses, by ID, as of now. A member that is in no view is unreachable: whoever
// makes the views knows more about it. The slice is the caller's.
func (b *Balancer) Instances(now time.Time) []Instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Instance, 0, len(b.members))
	slowStart := b.set.Load().SlowStart
	for _, n := range b.members {
		if n.spare {
			continue
		}
		i := Instance{ID: n.id, State: StateReady, InFlight: n.InFlight()}
		warm := n.warm.Load()
		switch {
		case n.absent != 0:
			i.State = StateUnreachable
		case n.ejected.Load():
			i.State, i.Why, i.Until = StateEjected, n.why, now.Add(time.Duration(n.next.Load()-nanos(now)))
			if n.hopeful.Load() {
				i.State = StateProbing
			}
		case warm != 0 && nanos(now)-warm < int64(slowStart):
			i.State, i.Until = StateSlowStart, now.Add(time.Duration(warm-nanos(now))+slowStart)
			if i.Why = "new"; !n.back.IsZero() && nanos(n.back) == warm {
				i.Why = "back after an ejection: " + n.why
			}
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(x, y Instance) int { return cmp.Compare(x.ID, y.ID) })
	return out
}
