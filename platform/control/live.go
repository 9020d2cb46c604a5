package control

import (
	"context"
	"time"
)

// Live is a running system at one moment: what the console and `holdfast top` show. It has what the single requests of the API
// have, put together, and is pushed to whoever follows (Client.Live): once a second, and at once when the state of an instance
// changes.
type Live struct {
	At   time.Time `json:"at"`
	Info Info      `json:"info"`
	// Instances are in the order of System.Instances.
	Instances []LiveInstance `json:"instances"`
	// Edge is what the platform's own edges do, and what they cannot reach.
	Edge LiveEdge `json:"edge"`
	// Graph is who calls whom. It is empty without a Sight.
	Graph  Graph   `json:"graph"`
	Groups []Group `json:"groups"` // by service and name
	Queues []Queue `json:"queues"` // by topic and group
	Locks  []Lock  `json:"locks"`  // by name
	Faults []Fault `json:"faults"` // oldest first
	// Missing says what of all this is not known at the moment, and why, a line each; empty if nothing is.
	Missing []string `json:"missing,omitempty"`
}

// LiveInstance is an instance with all that is known of it.
type LiveInstance struct {
	Instance
	// Stats is nil for an instance that does not speak to the platform: a foreign program, or one that hangs since its start.
	Stats *InstanceStats `json:"stats,omitempty"`
	Rates *InstanceRates `json:"rates,omitempty"` // nil if nothing is known
	Condition
}

// LiveEdge is what is known of the platform's own edges, taken together.
type LiveEdge struct {
	Stats InstanceStats  `json:"stats"`
	Rates *InstanceRates `json:"rates,omitempty"`
}

// Condition is how one process says it is, and what others say of it.
type Condition struct {
	// Role is what it leads: "leader of stock", "leader of stock/1, stock/4", in one line; empty if nothing.
	Role string `json:"role,omitempty"`
	// Ejected are those that give it no calls at the moment, a line each: "by gateway-1: 5 of 5 calls failed".
	Ejected []string `json:"ejected,omitempty"`
	// Draining is whether it has announced that it stops.
	Draining bool `json:"draining,omitempty"`
	// RSS is its memory in bytes, 0 if not known.
	RSS        int64 `json:"rss,omitempty"`
	Goroutines int   `json:"goroutines,omitempty"`
	Heap       int64 `json:"heap,omitempty"` // bytes that were reachable after the last collection
	// Admin is host:port of its admin listener, empty without one.
	Admin string `json:"admin,omitempty"`
}

// Group is a Raft group of a service that keeps replicated state.
type Group struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	// Leader is the instance that leads it, empty while there is none.
	Leader  string        `json:"leader,omitempty"`
	Term    uint64        `json:"term"`
	Members []GroupMember `json:"members"` // by instance
	// Trouble says what is wrong with it: "no leader", "2 of 3 members are away"; empty if nothing is.
	Trouble string `json:"trouble,omitempty"`
}

// GroupMember is an instance in a Group.
type GroupMember struct {
	Instance string `json:"instance"`
	Role     string `json:"role"`    // "leader", "follower", "learner", "away" for one that says nothing
	Applied  uint64 `json:"applied"` // index of the last entry that it has applied, as far as that is known
}

// Lock is a lock, or an election that was won.
type Lock struct {
	Name string `json:"name"`
	// Holder is the instance; empty for a lock that is held by somebody outside of the system or that does not say.
	Holder string    `json:"holder,omitempty"`
	Token  uint64    `json:"token"` // fencing token: grows with every holder
	Since  time.Time `json:"since,omitzero"`
	// Election is whether it is one.
	Election bool `json:"election,omitempty"`
	// Waiting is how many wait for it, as far as the engine can tell; 0 else.
	Waiting int `json:"waiting,omitempty"`
}

// Steering is what a [Server] shows and steers of a running system beside its processes: what these say of themselves, its
// queues, its locks, its policies. A server without one (Config.Steering) answers failure.Unimplemented where it is asked for.
//
// All methods are called from many goroutines at once. What they return is the caller's.
type Steering interface {
	// Conditions has those that have said something, or of which something was said, by instance. It answers from memory, as
	// Groups, Locks and Queues do.
	Conditions() map[string]Condition
	// Groups lists the groups of replicated state by service and name.
	Groups() []Group
	// Locks lists what is held, by name. missing says why that is not all, or not known at all.
	Locks() (locks []Lock, missing string)
	// Queues lists how far consumer groups are, by topic and group, as it was measured last; it is measured while somebody asks.
	// missing is as with Locks.
	Queues() (queues []Queue, missing string)

	// Dead lists dead letters of a group, oldest first, at most limit of those after the one whose position is after; "" is the
	// beginning. An unknown topic or group is a failure.NotFound with ReasonUnknown, an engine that does not answer a
	// failure.Unavailable or failure.DeadlineExceeded.
	Dead(ctx context.Context, topic, group, after string, limit int) ([]DeadLetter, error)
	// Replay gives dead letters to their group again, and to no other, and says how many there were: those at positions, all
	// of the group if there are none. The errors are those of Dead.
	Replay(ctx context.Context, topic, group string, positions ...string) (int, error)
	// Discard removes them for good, likewise.
	Discard(ctx context.Context, topic, group string, positions ...string) (int, error)

	// Policies are those in force, of every service of the system in the order of the system file, or of the one that is named.
	Policies(ctx context.Context, service string) ([]PolicyInForce, error)
}
