package balance

import (
	"sync"
	"time"
)

// Member is one instance of a target.
type Member struct {
	// ID is the instance's.
	ID string
	// Zone is where it runs; "" is unknown.
	Zone string
	// Weight is its capacity in relation to the others'. 0 and less mean 1.
	Weight int
}

// Balancer chooses the instances for the calls to one target. It keeps what is known about them over every change of
// the set. Safe for concurrent use; the time is passed to it, and it starts nothing.
type Balancer struct {
	table  Table
	mu     sync.Mutex
	cfg    Config
	picker Picker
}

// New returns a balancer without members. What Validate would report in cfg is replaced by its default.
func New(cfg Config) *Balancer {
	b := &Balancer{}
	b.Configure(cfg)
	return b
}

// Configure replaces the configuration, save OnEject. What is known about the nodes stays.
func (b *Balancer) Configure(cfg Config) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cfg = cfg.defaults()
	switch {
	case cfg.Picker != nil:
		b.picker = cfg.Picker()
	case cfg.Policy == RoundRobin:
		b.picker = NewRoundRobin()
	default:
		b.picker = NewP2C()
	}
}

// Update makes members the instances of the target and returns their nodes in the order of members: the node that the
// balancer already has for an ID, else a new one. The returned slice is the caller's.
func (b *Balancer) Update(_ time.Time, members []Member) []*Node {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return b.table.Update(ids)
}

// View returns the nodes that can be reached, to pick from. It is immutable but for what is known of the nodes, and is
// replaced by a new one when a connection comes or goes. It keeps nodes, which is not changed from here on.
func (b *Balancer) View(_ time.Time, nodes []*Node) *View { return &View{b, nodes} }

// InSubset reports whether n is one of those that this client uses: all, unless Config.Subset says otherwise.
func (b *Balancer) InSubset(*Node) bool { return true }

// Done ends a call to n that began at start; now is the time of its end, s what its duration is worth, and h what it
// says about the node. Each [Node.Start] is followed by one Done.
func (b *Balancer) Done(n *Node, now, start time.Time, s Sample, _ Health) { n.Done(now, start, s) }

// Probed tells the answer to a probe that [View.Probes] asked for.
func (b *Balancer) Probed(*Node, time.Time, Report) {}

// View is the nodes of a balancer that can be reached. Safe for concurrent use.
type View struct {
	b     *Balancer
	nodes []*Node
}

// Pick returns the index of the chosen node among the nodes of the view, or -1 if and only if there are none. It
// does not allocate.
func (v *View) Pick(c Call) int { return v.b.picker.Pick(v.nodes, c) }

// MaxProbes is the most that one call asks for.
const MaxProbes = 8

// Probes puts into dst the indices of the nodes that are to be asked for their load now, after a pick, and returns how
// many. It is 0 for every policy but hcl. The answers are handed to [Balancer.Probed]; a probe that fails or that
// takes longer than a second is forgotten.
func (v *View) Probes(Call, *[MaxProbes]int) int { return 0 }

// Nodes returns the nodes of the view. It is not changed by the caller.
func (v *View) Nodes() []*Node { return v.nodes }
