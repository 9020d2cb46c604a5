package balance

import (
	"slices"
	"time"
)

// policy is a Config.Policy, or a Config.Picker.
type policy uint8

const (
	p2c policy = iota
	roundRobin
	leastRequest
	ringHash
	hcl
	custom
)

var policies = map[string]policy{P2C: p2c, RoundRobin: roundRobin, LeastRequest: leastRequest, RingHash: ringHash, HCL: hcl}

// group is nodes of a view that a policy chooses among. It is immutable.
type group struct {
	nodes []*Node
	index []int // in the view

	// Where weights differ: those in relation to their mean, and the tables of A. J. Walker's alias method, by which a
	// node is drawn with a probability that is its weight's, in constant time. nil where all are alike.
	weights  []float64
	heaviest float64
	keep     []uint32 // of 1<<32
	alias    []int32

	ring  []point         // of ring_hash
	where map[*Node]int32 // of hcl
}

func newGroup(p *plan, nodes []*Node, use []int32) *group {
	g := &group{nodes: make([]*Node, len(use)), index: make([]int, len(use))}
	sum, alike := 0.0, true
	for k, i := range use {
		n := nodes[i]
		g.nodes[k], g.index[k] = n, int(i)
		sum += float64(n.weight)
		alike = alike && n.weight == g.nodes[0].weight
	}
	if !alike {
		g.weights = make([]float64, len(use))
		for k, n := range g.nodes {
			g.weights[k] = float64(n.weight) * float64(len(use)) / sum
		}
		g.heaviest = slices.Max(g.weights)
		g.keep, g.alias = walker(g.weights)
	}
	switch p.set.policy {
	case ringHash:
		g.ring = newRing(g)
	case hcl:
		g.where = make(map[*Node]int32, len(g.nodes))
		for k, n := range g.nodes {
			g.where[n] = int32(k)
		}
	default:
	}
	return g
}

// walker makes the tables of the alias method for weights whose mean is 1, by M. D. Vose's algorithm.
func walker(weights []float64) (keep []uint32, alias []int32) {
	keep, alias = make([]uint32, len(weights)), make([]int32, len(weights))
	rest := slices.Clone(weights)
	var small, large []int32
	for k, w := range rest {
		keep[k], alias[k] = 1<<32-1, int32(k)
		if w < 1 {
			small = append(small, int32(k))
		} else {
			large = append(large, int32(k))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		keep[s], alias[s] = uint32(rest[s]*(1<<32-1)), l
		if rest[l] -= 1 - rest[s]; rest[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return keep, alias
}

// weight returns the weight of the k-th node in relation to the mean.
func (g *group) weight(k int) float64 {
	if g.weights == nil {
		return 1
	}
	return g.weights[k]
}

// untried reports whether there is a node that no earlier attempt went to.
func (g *group) untried(c *Call) bool {
	if len(g.nodes) > len(c.Tried) {
		return true
	}
	for _, n := range g.nodes {
		if !c.tried(n) {
			return true
		}
	}
	return false
}

// draws bounds how often a draw is repeated.
const draws = 8

// draw returns a random node by weight and warmth that was not tried and is not the one given, and the next random
// number; -1 if there is none. An untried one is always found.
func (g *group) draw(p *plan, c *Call, r uint64, not int) (int, uint64) {
	cold := -1
	for range draws {
		r = mix(r)
		k := scale(uint32(r), len(g.nodes))
		if g.keep != nil && uint32(r>>32) > g.keep[k] {
			k = int(g.alias[k])
		}
		if k == not || len(c.Tried) > 0 && c.tried(g.nodes[k]) {
			continue
		}
		if p.warms && g.nodes[k].warm.Load() != 0 {
			r = mix(r)
			if g.nodes[k].warmth(c.Now, p.set.SlowStart) <= float64(r>>11)/(1<<53) {
				cold = k
				continue
			}
		}
		return k, r
	}
	if cold >= 0 {
		return cold, r
	}
	for j := range g.nodes {
		k := (j + scale(uint32(r), len(g.nodes))) % len(g.nodes)
		if k != not && !c.tried(g.nodes[k]) {
			return k, r
		}
	}
	return -1, r
}

// coldest is the share with which a node starts.
const coldest = 0.1

// warmth is the share of its calls that a node gets as of now: 1 unless it is new or just back.
func (n *Node) warmth(now time.Time, slowStart time.Duration) float64 {
	from := n.warm.Load()
	if from == 0 {
		return 1
	}
	age := time.Duration(nanos(now) - from)
	if age >= slowStart {
		n.warm.CompareAndSwap(from, 0)
		return 1
	}
	return max(coldest, float64(age)/float64(slowStart))
}
