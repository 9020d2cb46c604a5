package balance

import "sync/atomic"

// inTurn takes turns, starting at a random node: of many clients started together, each would otherwise send its first
// call to the same instance. A node's turns are in proportion to its weight, and spread out: it passes on those that its
// weight does not cover (the static stride scheduler of gRPC's weighted round robin, gRFC A58).
func (g *group) inTurn(p *plan, c *Call, r uint64, turn *atomic.Uint64) int {
	if turn.Load() == 0 {
		turn.CompareAndSwap(0, r>>1|1)
	}
	n := uint64(len(g.nodes))
	last := -1
	for range 4 * n {
		t := turn.Add(1)
		k := int(t % n)
		if len(c.Tried) > 0 && c.tried(g.nodes[k]) {
			continue
		}
		last = k
		if g.weights != nil && !g.covers(k, t/n) {
			continue
		}
		if p.warms && g.nodes[k].warm.Load() != 0 {
			r = mix(r)
			if g.nodes[k].warmth(c.Now, p.set.SlowStart) <= float64(r>>11)/(1<<53) {
				continue
			}
		}
		return k
	}
	if last < 0 {
		last, _ = g.draw(p, c, r, -1)
	}
	return last
}

// covers reports whether the weight of a node covers its turn in a round: of each 1<<16 rounds as many as its
// weight is of the heaviest's, evenly spread, and not the same for nodes of the same weight.
func (g *group) covers(k int, round uint64) bool {
	w := uint64(g.weights[k] / g.heaviest * (1 << 16))
	return (w*round+uint64(k)<<15)&(1<<16-1)+w >= 1<<16
}
