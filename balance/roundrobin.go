package balance

import "sync/atomic"

type roundRobin struct{ turn atomic.Uint64 }

// NewRoundRobin returns a picker that takes turns, starting at a random node: of many clients started together,
// each would otherwise send its first call to the same instance.
func NewRoundRobin() Picker { return &roundRobin{} }

func (p *roundRobin) Pick(nodes []*Node, c Call) int {
	count, fresh := c.untried(nodes)
	if count == 0 {
		return -1
	}
	if p.turn.Load() == 0 {
		p.turn.CompareAndSwap(0, c.Rand>>1|1)
	}
	return c.candidate(nodes, int(p.turn.Add(1)%uint64(count)), fresh)
}
