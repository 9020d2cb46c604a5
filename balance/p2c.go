package balance

import "math/bits"

// caution is how many times the calls in flight of a node without history count against those of a node with
// one. A new node is probed at once, but is not flooded before its first answer; if it is frozen, it holds at
// most about an eighth of what the others do.
const caution = 8

type p2c struct{}

// NewP2C returns the default picker: of two random candidates, the one with the lower [Node.Cost].
//
// A node without history is taken if it is idle; once it is busy, calls in flight are compared instead, those of
// the unknown node counting eightfold: to take "unknown" for "fast" would send every call to a new node until its
// first answer. Sources: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001);
// Finagle's PeakEwma.
//
// It does not protect from an instance that fails fast: failures are no samples (see [None]), and few calls are in
// flight where calls end at once. That takes ejection, which filters the nodes before they get here.
func NewP2C() Picker { return p2c{} }

func (p2c) Pick(nodes []*Node, c Call) int {
	count, fresh := c.untried(nodes)
	switch count {
	case 0:
		return -1
	case 1:
		return c.candidate(nodes, 0, fresh)
	}
	i := scale(uint32(c.Rand), count)
	j := scale(uint32(c.Rand>>32), count-1)
	if j >= i {
		j++
	}
	i, j = c.candidate(nodes, i, fresh), c.candidate(nodes, j, fresh)
	if cheaper(nodes[j], nodes[i], c) {
		return j
	}
	return i
}

// cheaper reports whether a is a better choice than b.
func cheaper(a, b *Node, c Call) bool {
	la, oka := a.latency(c.Now)
	lb, okb := b.latency(c.Now)
	fa, fb := max(a.InFlight(), 0), max(b.InFlight(), 0)
	switch {
	case oka && okb:
		return la*float64(fa+1) < lb*float64(fb+1)
	case oka:
		return fa < caution*fb
	case okb:
		return caution*fa < fb || fa == 0
	default:
		return fa < fb
	}
}

// scale maps a uniform 32-bit number to [0, n) without a division.
func scale(r uint32, n int) int {
	hi, _ := bits.Mul64(uint64(r)<<32, uint64(n))
	return int(hi)
}
