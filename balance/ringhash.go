package balance

import (
	"cmp"
	"slices"
)

const (
	// points is how many a node of mean weight has on the ring, unless that would be more than maxPoints in all.
	points    = 128
	maxPoints = 1 << 15
	// bound is how many times its part of all calls in flight a node may have before keys move on to the next (V. Mirrokni
	// et al., "Consistent Hashing with Bounded Loads", 2016).
	bound = 1.25
)

// point is one of a node's places on the ring.
type point struct {
	at   uint64
	node int32
}

func newRing(g *group) []point {
	each := float64(points)
	if n := len(g.nodes); n*points > maxPoints {
		each = max(float64(maxPoints)/float64(n), 1)
	}
	var ring []point
	for k, n := range g.nodes {
		at := hash(n.id)
		for range max(int(each*g.weight(k)), 1) {
			at = mix(at)
			ring = append(ring, point{at, int32(k)})
		}
	}
	slices.SortFunc(ring, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node))
	})
	return ring
}

// onRing takes the first node on the ring from the key's place on that was not tried, is warm enough for the key, and
// has room.
func (g *group) onRing(p *plan, c *Call) int {
	at := mix(c.Key)
	start, _ := slices.BinarySearchFunc(g.ring, at, func(q point, at uint64) int { return cmp.Compare(q.at, at) })
	total, first := int64(-1), -1
	for j := range g.ring {
		k := int(g.ring[(start+j)%len(g.ring)].node)
		n := g.nodes[k]
		if len(c.Tried) > 0 && c.tried(n) {
			continue
		}
		if first < 0 {
			first = k
		}
		// By the key and not by chance: it moves to the node once, and stays.
		if p.warms && n.warm.Load() != 0 && n.warmth(c.Now, p.set.SlowStart) <= float64(mix(at)>>11)/(1<<53) {
			continue
		}
		has := n.inFlight.Load()
		if has <= 0 {
			return k
		}
		if total < 0 {
			total = 1
			for _, m := range g.nodes {
				total += max(m.inFlight.Load(), 0)
			}
		}
		if float64(has) < bound*float64(total)/float64(len(g.nodes))*g.weight(k) {
			return k
		}
	}
	return max(first, 0)
}
