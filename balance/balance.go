// Package balance chooses the instance for a call.
//
// A [Balancer] holds what this client knows of the instances of one target: a [Node] for each, with the calls in flight,
// a moving average of their latency and a record of their health. It outlives every change of the set. A [View] is those
// that can be reached at the moment, and picks among them. What an instance has to pass to be picked, in this order:
//
//   - it is in the client's subset, if there is one ([Config.Subset]);
//   - it is not ejected ([Ejection]), unless too few would be left ([Config.Panic]). An ejected node is tried with a
//     single real call now and then, and is back after a few good answers;
//   - it is in the client's zone, while that has the capacity ([Config.Zone]);
//   - no earlier attempt of the call failed at it, while another is left: in the end, one that is ejected is;
//   - the policy ([Config.Policy]) prefers it, and it is not new or just back ([Config.SlowStart]).
//
// All is values in, values out: no clock, no goroutine, no I/O, no randomness but the caller's, and no allocation for a
// pick. The rpc and rest clients drive it; so can any other client.
package balance

import (
	"math/bits"
	"time"
)

// Call is what a pick knows about the attempt that it is for.
type Call struct {
	// Now is the time of the pick.
	Now time.Time
	// Rand is a fresh random number, uniform over all 64 bits. Nothing here draws one itself, so that a pick can be
	// repeated in a test.
	Rand uint64
	// Tried are the nodes that earlier attempts of this call went to. None of them is picked while another is left; one
	// that is ejected is left only if it answers about as fast as these.
	Tried []*Node
	// Key is what ring_hash goes by: calls with the same key go to the same node. 0: none.
	Key uint64
	// Safe says that the call may run twice. Such calls are the first to be sent to a node of which it is not known
	// whether it is well again.
	Safe bool
}

// A Picker is a policy of one's own. Implementations are safe for concurrent use and do not keep or change nodes or c.
type Picker interface {
	// Pick returns the index of the chosen node, or -1 if and only if nodes is empty.
	Pick(nodes []*Node, c Call) int
}

// tried reports whether n is among the nodes of earlier attempts; there are at most a handful.
func (c *Call) tried(n *Node) bool {
	for _, t := range c.Tried {
		if t == n {
			return true
		}
	}
	return false
}

// mix makes a new number of one: the next of SplitMix64, by S. Vigna.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// scale maps a uniform 32-bit number to [0, n) without a division.
func scale(r uint32, n int) int {
	hi, _ := bits.Mul64(uint64(r)<<32, uint64(n))
	return int(hi)
}

// hash is FNV-1a, and mixed: its upper bits are poor otherwise.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}
