package balance

import "time"

const (
	// caution is how many times the calls in flight of a node without history count against those of a node with
	// one. A new node is probed at once, but is not flooded before its first answer; if it is frozen, it holds at
	// most about an eighth of what the others do.
	caution = 8

	// explore is the time between two calls by which it is found out whether a node that was slow still is, and idle
	// the time without an answer after which that is not known from other calls.
	explore = 2 * time.Second
	idle    = time.Second
	// shunned is how many times the latency of a node is that of the one preferred to it, for it to be explored.
	shunned = 2
	// glances bounds the nodes that are looked at for one to explore.
	glances = 16
	// similar is the factor up to which two latencies are no different: peaks are chance, and to go by them would give
	// alike nodes unlike shares.
	similar = 1.5
	// twice is how much cheaper a node has to be than one that was drawn twice.
	twice = 2
)

// p2c is the default policy: of two random nodes, the one with the lower latency × (calls in flight + 1).
//
// A node without history is taken if it is idle; once it is busy, calls in flight are compared instead, those of
// the unknown node counting eightfold: to take "unknown" for "fast" would send every call to a new node until its
// first answer. Sources: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001);
// Finagle's PeakEwma.
//
// A slow node that is never preferred would be slow for ever: now and then one gets a single call that may run twice.
func (g *group) p2c(p *plan, c *Call, r uint64) int {
	i, r := g.draw(p, c, r, -1)
	var j int
	if g.weights == nil {
		j, r = g.draw(p, c, r, i)
	} else if j, r = g.draw(p, c, r, -1); i == j {
		// Of a heavy node among light ones both draws are often the same, and that is how it gets its share.
		if j, _ = g.draw(p, c, r, i); j < 0 || !g.cheaper(j, i, c, twice) {
			return i
		}
		return j
	}
	if j < 0 {
		return i
	}
	if g.cheaper(j, i, c, 1) {
		i = j
	}
	if c.Safe && len(c.Tried) == 0 && r%sparing == 0 {
		if k := g.explore(i, c, mix(r)); k >= 0 {
			return k
		}
	}
	return i
}

// cheaper reports whether i is a better choice than j, by more than a factor if it knows both.
func (g *group) cheaper(i, j int, c *Call, by float64) bool {
	a, b := g.nodes[i], g.nodes[j]
	la, oka := a.latency(c.Now)
	lb, okb := b.latency(c.Now)
	fa, fb := float64(max(a.InFlight(), 0))/g.weight(i), float64(max(b.InFlight(), 0))/g.weight(j)
	switch {
	case oka && okb && by == 1 && la < similar*lb && lb < similar*la:
		return fa < fb
	case oka && okb:
		return by*la*(fa+1) < lb*(fb+1)
	case oka:
		return fa < caution*fb
	case okb:
		return caution*fa < fb || fa == 0
	default:
		return fa < fb
	}
}

// explore returns a node of which it is time to know whether it is still slow, or -1. best is the one that it is compared
// with.
func (g *group) explore(best int, c *Call, r uint64) int {
	limit, ok := g.nodes[best].latency(c.Now)
	if !ok {
		return -1
	}
	now := nanos(c.Now)
	for j := range min(len(g.nodes), glances) {
		k := (j + scale(uint32(r), len(g.nodes))) % len(g.nodes)
		n := g.nodes[k]
		if n.InFlight() > 0 {
			continue
		}
		v, ok := n.latency(c.Now)
		if !ok || v < shunned*limit || n.since(c.Now) < idle {
			continue
		}
		if due := n.next.Load(); now >= due && n.next.CompareAndSwap(due, now+int64(explore)) {
			return k
		}
	}
	return -1
}

// leastRequest takes the one with fewer calls in flight of two random nodes, by weight. Latency does not matter, so it
// suits calls that differ widely.
func (g *group) leastRequest(p *plan, c *Call, r uint64) int {
	i, r := g.draw(p, c, r, -1)
	j, _ := g.draw(p, c, r, i)
	if j >= 0 && float64(g.nodes[j].InFlight())/g.weight(j) < float64(g.nodes[i].InFlight())/g.weight(i) {
		return j
	}
	return i
}
