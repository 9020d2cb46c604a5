package balance

import "sync/atomic"

type simple struct {
	kind policy
	turn atomic.Uint64
}

// NewP2C returns a picker that goes by p2c.
func NewP2C() Picker { return &simple{kind: p2c} }

// NewRoundRobin returns a picker that goes by round_robin.
func NewRoundRobin() Picker { return &simple{kind: roundRobin} }

func (s *simple) Pick(nodes []*Node, c Call) int {
	if len(nodes) == 0 {
		return -1
	}
	use := make([]int32, len(nodes))
	for i := range nodes {
		use[i] = int32(i)
	}
	p := &plan{set: &settings{Config: Config{}.defaults(), policy: s.kind}}
	g := newGroup(p, nodes, use)
	if len(c.Tried) > 0 && !g.untried(&c) {
		c.Tried = nil
	}
	b := &Balancer{}
	b.turn.Store(s.turn.Load())
	i := b.pick(p, g, c, mix(c.Rand))
	s.turn.Store(b.turn.Load())
	return i
}
