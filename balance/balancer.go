package balance

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// retain is how long the state of an instance is kept that has left the set: a registration that lapsed comes back.
	retain = time.Minute
	// retained bounds how many are, besides as many as there are members.
	retained = 16
	// blink is the absence after which a node that can be reached again starts slowly: a connection that was renewed
	// is no cold cache.
	blink = time.Second
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
	onEject func(Event)
	seed    uint64
	set     atomic.Pointer[settings]
	turn    atomic.Uint64 // of round robin
	pool    pool          // of hcl
	judged  atomic.Int64  // when success rates were compared last, in Unix nanoseconds

	// epoch grows whenever plans of views are out of date: after what they depend on has changed.
	epoch atomic.Uint64

	mu      sync.Mutex
	nodes   map[string]*Node // of members, and of those that left lately
	members []*Node          // as of the last Update
	viewed  []*Node          // of the last View, each once
	reach   []*Node          // of these, the subset
}

// settings is a configuration, and what follows from it. It is immutable.
type settings struct {
	Config
	policy policy
	picker Picker // of one's own
}

// New returns a balancer without members. What Validate would report in cfg has no defined meaning, but does no harm.
func New(cfg Config) *Balancer {
	b := &Balancer{onEject: cfg.OnEject, seed: cfg.Seed, nodes: make(map[string]*Node)}
	if b.seed == 0 {
		b.seed = rand.Uint64() //nolint:gosec // not a secret
	}
	b.Configure(cfg)
	return b
}

// Configure replaces the configuration, save OnEject and Seed. What is known about the nodes stays, except that
// Ejection.Off re-admits all of them. Another Subset chooses the nodes anew;
// whoever connects to these only does so with the next Update.
func (b *Balancer) Configure(cfg Config) {
	s := &settings{Config: cfg.defaults()}
	s.policy = policies[s.Policy]
	if cfg.Picker != nil {
		s.policy, s.picker = custom, cfg.Picker()
	}
	b.mu.Lock()
	b.set.Store(s)
	if s.Ejection.Off {
		for _, n := range b.nodes {
			n.ejected.Store(false)
		}
	}
	b.choose()
	b.mu.Unlock()
	b.epoch.Add(1)
}

// Update makes members the instances of the target and returns their nodes in the order of members: the node that the
// balancer already has for an ID, else a new one. The returned slice is the caller's.
func (b *Balancer) Update(now time.Time, members []Member) []*Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := nanos(now)
	joining := len(b.reach) > 0 // there are others to compare them with
	next := make(map[string]*Node, len(members))
	out := make([]*Node, len(members))
	for i, m := range members {
		n := next[m.ID]
		if n == nil {
			n = b.nodes[m.ID]
		}
		if n == nil {
			n = NewNode(m.ID)
			n.absent, n.newcomer = at, joining
		}
		n.zone, n.weight, n.gone = m.Zone, max(m.Weight, 1), 0
		next[m.ID], out[i] = n, n
	}
	room := len(members) + retained
	for id, n := range b.nodes {
		if next[id] != nil {
			continue
		}
		if n.gone == 0 {
			n.gone = at
			if n.absent == 0 {
				n.absent = at
			}
		}
		if at-n.gone < int64(retain) && room > 0 {
			next[id] = n
			room--
		}
	}
	b.nodes, b.members = next, slices.Clone(out)
	b.choose()
	b.epoch.Add(1)
	return out
}

// choose chooses the subset, and those of it that can be reached. b.mu is held.
func (b *Balancer) choose() {
	b.rank()
	b.reach = slices.DeleteFunc(slices.Clone(b.viewed), func(n *Node) bool { return n.spare })
}

// rank chooses the subset: the members with the highest hashes (rendezvous hashing, gRFC A68), so that a change of
// one instance changes at most one of the subset. b.mu is held.
func (b *Balancer) rank() {
	size := b.set.Load().Subset
	if size <= 0 || size >= len(b.members) {
		for _, n := range b.members {
			n.spare = false
		}
		return
	}
	ranked := slices.Clone(b.members)
	rank := func(n *Node) uint64 { return mix(b.seed ^ hash(n.id)) }
	slices.SortFunc(ranked, func(x, y *Node) int {
		if rank(x) > rank(y) {
			return -1
		}
		return 1
	})
	for i, n := range ranked {
		n.spare = i >= size
	}
}

// InSubset reports whether n is one of those that this client uses, so that connections are made to them only: all,
// unless Config.Subset says otherwise.
func (b *Balancer) InSubset(n *Node) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !n.spare
}

// View returns the nodes that can be reached, to pick from. It is replaced by a new one when a connection comes or
// goes. It keeps nodes, which is not changed from here on.
func (b *Balancer) View(now time.Time, nodes []*Node) *View {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := nanos(now)
	// If all are back from the same outage, to spare one would be to load another that is as cold.
	slowStart := b.set.Load().SlowStart
	settled := slices.ContainsFunc(nodes, func(n *Node) bool { return n.absent == 0 && at-n.entered >= int64(slowStart) })
	in := make(map[*Node]struct{}, len(nodes))
	b.viewed = make([]*Node, 0, len(nodes))
	for _, n := range nodes {
		if _, twice := in[n]; twice {
			continue
		}
		in[n] = struct{}{}
		b.viewed = append(b.viewed, n)
		if n.absent == 0 {
			continue
		}
		if settled && (n.newcomer || n.seen && at-n.absent >= int64(blink)) {
			n.warm.Store(at)
		}
		n.absent, n.newcomer, n.seen, n.entered = 0, false, true, at
	}
	for _, n := range b.nodes {
		if _, here := in[n]; !here && n.absent == 0 {
			n.absent = at
		}
	}
	b.reach = slices.DeleteFunc(slices.Clone(b.viewed), func(n *Node) bool { return n.spare })
	b.epoch.Add(1)
	return &View{b: b, nodes: nodes}
}
