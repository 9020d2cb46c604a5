package balance

import (
	"sync/atomic"
	"time"
)

const (
	// enough is the share of the capacity it needs with which a zone keeps its calls (Envoy: an overprovisioning
	// factor of 1.4).
	enough = 0.7
	// overdue is by how much a probe of an ejected node has to be late before a call is taken for it that may not run
	// twice: there seem to be no others.
	overdue = 3 * time.Second
	// sparing is the share of calls that are probes at most, as 1 in so many: where calls are few, one a second is many.
	sparing = 64
	// patience is how late a probe may be, so that it is made whatever the share.
	patience = 10 * time.Second
)

// View is the nodes of a balancer that can be reached. Safe for concurrent use.
type View struct {
	b     *Balancer
	nodes []*Node
	last  atomic.Pointer[plan]
}

// plan is what a view picks by until an epoch ends. It is immutable.
type plan struct {
	epoch uint64
	set   *settings
	warms bool   // slow start is observed
	all   *group // what may be picked
	near  *group // of these, the client's zone; nil if that does not matter
	far   *group // and the other zones
	share uint64 // of calls that stay near, of 1<<32
	out   []int32
}

// Nodes returns the nodes of the view. It is not changed by the caller.
func (v *View) Nodes() []*Node { return v.nodes }

// Candidates returns how many nodes may be picked now: what is ejected or out of the subset is not counted, unless there
// is nothing else. It does not allocate, save as Pick does.
func (v *View) Candidates(now time.Time) int {
	if len(v.nodes) == 0 {
		return 0
	}
	return len(v.plan(now).all.nodes)
}

// Untried reports whether there is a candidate besides those tried. Without one, Pick returns one that is ejected, or one
// of these once more, where a hedge has no business. It does not allocate, save as Pick does.
func (v *View) Untried(now time.Time, tried ...*Node) bool {
	return len(v.nodes) > 0 && v.plan(now).all.untried(&Call{Tried: tried})
}

// Pick returns the index of the chosen node among the nodes of the view, or -1 if and only if there are none. It does
// not allocate, except the first time after what it picks from has changed.
func (v *View) Pick(c Call) int {
	if len(v.nodes) == 0 {
		return -1
	}
	p := v.plan(c.Now)
	r := mix(c.Rand)
	if len(p.out) > 0 && len(c.Tried) == 0 {
		if i := v.probe(p, &c, r); i >= 0 {
			return i
		}
	}
	g := p.all
	if p.near != nil {
		by := r
		if c.Key != 0 && p.set.policy == ringHash {
			by = mix(c.Key) // calls that belong together stay together
		}
		if g = p.far; by>>32 < p.share {
			g = p.near
		}
	}
	if len(c.Tried) > 0 && !g.untried(&c) {
		if g = p.all; !g.untried(&c) {
			if i := v.second(p, &c, r); i >= 0 {
				return i
			}
			c.Tried = nil // all of them once more
		}
	}
	return g.index[v.b.pick(p, g, c, r)]
}

// pick chooses one of a group that is not empty, by the policy.
func (b *Balancer) pick(p *plan, g *group, c Call, r uint64) int {
	if len(g.nodes) == 1 {
		return 0
	}
	switch p.set.policy {
	case custom:
		return min(max(p.set.picker.Pick(g.nodes, c), 0), len(g.nodes)-1)
	case roundRobin:
		return g.inTurn(p, &c, r, &b.turn)
	case leastRequest:
		return g.leastRequest(p, &c, r)
	case ringHash:
		if c.Key != 0 {
			return g.onRing(p, &c)
		}
		return g.p2c(p, &c, r)
	case hcl:
		if k := b.pool.pick(p, g, &c, r); k >= 0 {
			return k
		}
		return g.p2c(p, &c, r)
	case p2c:
	}
	return g.p2c(p, &c, r)
}

// probe returns the ejected node that is to be tried with this call, or -1.
func (v *View) probe(p *plan, c *Call, r uint64) int {
	now := nanos(c.Now)
	for k := range p.out {
		i := p.out[(k+int(r&0xffff))%len(p.out)]
		n := v.nodes[i]
		due := n.next.Load()
		late := time.Duration(now - due)
		switch {
		case late < 0, !c.Safe && late < overdue:
		case (r>>16)%sparing != 0 && late < patience && !n.hopeful.Load():
		case n.next.CompareAndSwap(due, now+n.interval.Load()):
			return int(i)
		}
	}
	return -1
}

// second returns an ejected node for a call that has failed at all others, or -1: it has perhaps got well since, and they
// have just shown what they are worth. It is not one that may keep the call waiting.
func (v *View) second(p *plan, c *Call, r uint64) int {
	var limit float64
	for _, t := range c.Tried {
		took, _ := t.latency(c.Now)
		limit = max(limit, shunned*took)
	}
	best := -1
	for k := range p.out {
		i := int(p.out[(k+int(r&0xffff))%len(p.out)])
		n := v.nodes[i]
		if c.tried(n) {
			continue
		}
		if n.hopeful.Load() {
			return i
		}
		if took, ok := n.latency(c.Now); best < 0 && (!ok || took <= limit) {
			best = i
		}
	}
	return best
}

// plan returns the plan of the present epoch.
func (v *View) plan(now time.Time) *plan {
	p := v.last.Load()
	if p == nil || p.epoch != v.b.epoch.Load() {
		p = v.make(now)
		v.last.Store(p)
	}
	return p
}

func (v *View) make(now time.Time) *plan {
	b := v.b
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &plan{epoch: b.epoch.Load(), set: b.set.Load()}
	var use, spare []int32
	once := make(map[*Node]struct{}, len(v.nodes))
	for i, n := range v.nodes {
		if _, twice := once[n]; twice {
			continue
		}
		once[n] = struct{}{}
		if n.spare {
			spare = append(spare, int32(i))
		} else {
			use = append(use, int32(i))
		}
	}
	if len(use) == 0 { // nobody of the subset can be reached
		use = spare
	}
	in := make([]int32, 0, len(use))
	warming := 0
	for _, i := range use {
		n := v.nodes[i]
		if n.ejected.Load() {
			p.out = append(p.out, i)
			continue
		}
		if n.warmth(now, p.set.SlowStart) < 1 {
			warming++
		}
		in = append(in, i)
	}
	if len(in) == 0 || float64(len(in)) < p.set.Panic*float64(len(use)) {
		in, p.out = use, nil
	}
	// Where most are new, to spare them would be to load the few others with everything.
	p.warms = 2*warming <= len(in)
	p.all = newGroup(p, v.nodes, in)
	if p.set.Zone != "" {
		v.zones(p, in)
	}
	return p
}

// zones divides in into the client's zone and the others. b.mu is held.
func (v *View) zones(p *plan, in []int32) {
	var near, far []int32
	for _, i := range in {
		if v.nodes[i].zone == p.set.Zone {
			near = append(near, i)
		} else {
			far = append(far, i)
		}
	}
	if len(near) == 0 || len(far) == 0 {
		return
	}
	has := 0.0
	for _, i := range near {
		has += float64(v.nodes[i].weight)
	}
	p.near, p.far = newGroup(p, v.nodes, near), newGroup(p, v.nodes, far)
	p.share = uint64(min(has/(enough*v.b.demand(p.set.Zone)), 1) * (1 << 32))
}

// demand is the capacity that the calls of a zone need if all members are well: what the zone has, but not less than its
// part if every zone has as many calls. b.mu is held.
func (b *Balancer) demand(zone string) float64 {
	own, all := 0.0, 0.0
	zones := make(map[string]struct{})
	for _, n := range b.members {
		if n.spare {
			continue
		}
		all += float64(n.weight)
		if n.zone == zone {
			own += float64(n.weight)
		}
		zones[n.zone] = struct{}{}
	}
	zones[zone] = struct{}{}
	return max(own, all/float64(len(zones)))
}

// MaxProbes is the most that one call asks for.
const MaxProbes = 8

// Probes puts into dst the indices of the nodes that are to be asked for their load now, after a pick, and returns how
// many. It is 0 for every policy but hcl. The answers are handed to [Balancer.Probed]; a probe that fails or that
// takes longer than a second is forgotten.
func (v *View) Probes(c Call, dst *[MaxProbes]int) int {
	if len(v.nodes) < 2 {
		return 0
	}
	p := v.plan(c.Now)
	if p.set.policy != hcl {
		return 0
	}
	g := p.all
	r := mix(^c.Rand)
	want := int(p.set.ProbeRate)
	if float64(uint32(r)) < (p.set.ProbeRate-float64(want))*(1<<32) {
		want++
	}
	want = min(want, len(g.nodes), MaxProbes)
	got := 0
	for tries := 0; got < want && tries < 4*MaxProbes; tries++ {
		r = mix(r)
		i := g.index[scale(uint32(r), len(g.nodes))]
		known := false
		for _, j := range dst[:got] {
			known = known || i == j
		}
		if !known {
			dst[got] = i
			got++
		}
	}
	return got
}

// Keyed reports whether picks go by Call.Key, so that others need not look for one.
func (v *View) Keyed() bool { return v.b.set.Load().policy == ringHash }
