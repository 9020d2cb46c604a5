package fault

import (
	"encoding/json"
	"fmt"
	"time"
)

// MaxState bounds the JSON of a State, in bytes. A process that would say more leaves things out (State.Cut), and an agent
// takes no more.
const MaxState = 256 << 10

// State is how a process is, for people: whom it calls and which of them it avoids, what it leads and holds, how far behind it
// is. A process says it when it has changed, at most once a second.
type State struct {
	// Admin is the host:port of the admin listener, "" without one.
	Admin string `json:"admin,omitempty"`
	// Draining says that the process is about to stop.
	Draining bool `json:"draining,omitempty"`
	// RSS is the memory the process has, in bytes, to the MiB; 0 where that is not known.
	RSS int64 `json:"rss,omitempty"`
	// Goroutines is how many there are, to the ten.
	Goroutines int     `json:"goroutines,omitempty"`
	GC         GCState `json:"gc,omitzero"`

	Groups        []GroupState        `json:"groups,omitempty"`        // of replicated state, by name
	Leads         []HoldState         `json:"leads,omitempty"`         // elections that this instance has won, by name
	Locks         []HoldState         `json:"locks,omitempty"`         // locks that it holds, without those, by name
	Balancers     []BalancerState     `json:"balancers,omitempty"`     // of the services it calls, by name
	Subscriptions []SubscriptionState `json:"subscriptions,omitempty"` // by topic and group
	// Cut is how many entries of the lists above were left out, for want of room.
	Cut int `json:"cut,omitempty"`
}

// GCState is what the garbage collector has to do.
type GCState struct {
	// Heap is what is reachable after the last collection, in bytes, to the MiB.
	Heap int64 `json:"heap,omitempty"`
	// Goal is the heap at which the next one begins, in bytes, to the MiB.
	Goal int64 `json:"goal,omitempty"`
}

// GroupState is a group of replicated state, as this member of it sees it.
type GroupState struct {
	Name   string `json:"name"`
	Leader string `json:"leader,omitempty"` // "" is that none is known
	Term   uint64 `json:"term"`
	// Role is this member's: "leader", "follower", "learner"; or "starting", "founding", "joining", "stopped", "failed".
	Role    string `json:"role"`
	Applied uint64 `json:"applied"` // the index of the last entry that this member has applied
	// Members are all of the group, by name, and what the leader of them knows of each.
	Members []MemberState `json:"members,omitempty"`
	Error   string        `json:"error,omitempty"` // why this member cannot be used, "" if it can
}

// MemberState is a member of a group.
type MemberState struct {
	Name    string `json:"name"`
	Voter   bool   `json:"voter,omitempty"`
	Applied uint64 `json:"applied,omitempty"` // of this member itself, and what the leader knows of others
	// Away says that the leader, which is this process then, does not hear of it.
	Away bool `json:"away,omitempty"`
}

// HoldState is a lock that is held.
type HoldState struct {
	Name  string    `json:"name"`
	Token uint64    `json:"token"`
	Since time.Time `json:"since"`
}

// BalancerState is what a client knows of the instances of a service. A service that is called by gRPC and by HTTP is there
// twice.
type BalancerState struct {
	Service   string          `json:"service"`
	Protocol  string          `json:"protocol"` // "grpc" or "http"
	Instances []InstanceState `json:"instances"`
}

// The states of an instance, as a client of it sees it.
const (
	InstanceReady       = "ready"
	InstanceEjected     = "ejected"     // it gets no calls for a while
	InstanceProbing     = "probing"     // it was ejected, and single calls try whether it is well again
	InstanceSlowStart   = "slow-start"  // it is new or back, and its share grows
	InstanceDraining    = "draining"    // it has announced that it stops
	InstanceUnreachable = "unreachable" // there is no connection to it
)

// InstanceState is what a client knows of one instance.
type InstanceState struct {
	ID    string `json:"id"`
	Addr  string `json:"addr,omitempty"`
	State string `json:"state"` // one of the constants above
	// Why says why it is not ready, in words, "" if it is.
	Why string `json:"why,omitempty"`
	// Until is when the state ends by itself, at the earliest: zero if it does not.
	Until    time.Time `json:"until,omitzero"`
	InFlight int       `json:"in_flight,omitempty"` // calls of this client
}

// SubscriptionState is a subscription of this process.
type SubscriptionState struct {
	Topic string `json:"topic"`
	Group string `json:"group"`
	// Lag is how many messages the group has before it that are not settled, and Dead how many dead letters there are, as of
	// the last look, which is every 15 s.
	Lag  int64 `json:"lag"`
	Dead int64 `json:"dead,omitempty"`
	// Oldest is the age that the oldest of the messages last received had then.
	Oldest time.Duration `json:"oldest,omitempty"`
	// Slowed says that attempts fail for want of a dependency, and that the subscription probes for it.
	Slowed bool `json:"slowed,omitempty"`
}

// encodeState returns a message with s, and its newline, in MaxState bytes: what is too much is cut off the longest lists.
func encodeState(s State) ([]byte, error) {
	for {
		b, err := json.Marshal(Message{State: &s})
		if err != nil {
			return nil, fmt.Errorf("write state: %w", err)
		}
		if len(b) < MaxState {
			return append(b, '\n'), nil
		}
		if !s.cut() {
			return nil, fmt.Errorf("write state: larger than %d bytes", MaxState)
		}
	}
}

// cut halves the longest list; false if there is nothing left. The lists may be shared, and are not changed.
func (s *State) cut() bool {
	most, at := 1, -1
	for i := range s.Balancers {
		if n := len(s.Balancers[i].Instances); n > most {
			most, at = n, i
		}
	}
	lists := []struct {
		n   int
		cut func(n int)
	}{
		{len(s.Balancers), func(n int) { s.Balancers = s.Balancers[:n] }},
		{len(s.Groups), func(n int) { s.Groups = s.Groups[:n] }},
		{len(s.Leads), func(n int) { s.Leads = s.Leads[:n] }},
		{len(s.Locks), func(n int) { s.Locks = s.Locks[:n] }},
		{len(s.Subscriptions), func(n int) { s.Subscriptions = s.Subscriptions[:n] }},
	}
	longest := 0
	for i, l := range lists {
		if l.n > lists[longest].n {
			longest = i
		}
	}
	switch n := lists[longest].n; {
	case at >= 0 && most >= n:
		s.Balancers = append([]BalancerState(nil), s.Balancers...)
		s.Balancers[at].Instances = s.Balancers[at].Instances[:most/2]
		s.Cut += most - most/2
	case n > 0:
		lists[longest].cut(n / 2)
		s.Cut += n - n/2
	default:
		return false
	}
	return true
}
