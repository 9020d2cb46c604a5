// Package balance chooses the instance for a call.
//
// A [Node] holds what this client has measured about one instance, a [Table] keeps the nodes over every change of
// the set, and a [Picker] chooses among them. All three are values in, values out: no clock, no goroutine, no I/O,
// and no allocation for a pick. The rpc and rest clients drive them; so can any other client.
//
// [NewP2C], the default, compares two random nodes by expected latency ("the power of two choices"), which keeps
// load away from slow and from busy instances without all clients running to the same best one. [NewRoundRobin]
// takes turns.
package balance

import "time"

// Call is what a picker knows about the attempt it picks for.
type Call struct {
	// Now is the time of the pick.
	Now time.Time
	// Rand is a fresh random number, uniform over all 64 bits. Pickers draw none themselves, so that a pick can be
	// repeated in a test.
	Rand uint64
	// Tried are the nodes that earlier attempts of this call went to. None of them is picked while another is left.
	Tried []*Node
	// Key is what ring_hash goes by: calls with the same key go to the same node. 0: none.
	Key uint64
	// Safe says that the call may run twice. Such calls are the first to be sent to a node of which it is not known
	// whether it is well again.
	Safe bool
}

// A Picker chooses a node. Implementations are safe for concurrent use and do not keep or change nodes or c.
type Picker interface {
	// Pick returns the index of the chosen node, or -1 if and only if nodes is empty.
	Pick(nodes []*Node, c Call) int
}

// tried reports whether n is among the nodes of earlier attempts; there are at most a handful.
func (c Call) tried(n *Node) bool {
	for _, t := range c.Tried {
		if t == n {
			return true
		}
	}
	return false
}

// untried counts the nodes that no earlier attempt went to. If it is none, all of them are candidates again, and
// fresh is false.
func (c Call) untried(nodes []*Node) (count int, fresh bool) {
	if len(c.Tried) == 0 {
		return len(nodes), false
	}
	for _, n := range nodes {
		if !c.tried(n) {
			count++
		}
	}
	if count == 0 || count == len(nodes) {
		return len(nodes), false
	}
	return count, true
}

// candidate returns the index of the k-th candidate: of the k-th untried node if fresh, else k itself.
func (c Call) candidate(nodes []*Node, k int, fresh bool) int {
	if !fresh {
		return k
	}
	for i, n := range nodes {
		if c.tried(n) {
			continue
		}
		if k == 0 {
			return i
		}
		k--
	}
	return -1
}
