package check

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
)

// contradiction returns operations of one key for which there is no order that is one of a register and in which each has its
// place between its call and its return; nil if the whole has such an order. Values are written once. A write without an
// answer has its place anywhere after its call, or none.
//
// That is decided by clusters: a write and the reads that saw it. From the first return of a cluster to its last call, if
// that is later, the register must hold its value throughout: a forward zone. Else one instant between the two is enough: a
// backward zone. There is an order if and only if no value was read before its write was called, no two forward zones
// overlap, and no backward zone is inside a forward one (Gibbons and Korach, Testing Shared Memories, SIAM J. Comput. 26(4),
// 1997). A general search for an order takes time that is exponential in the writes without an answer; this one sorts.
func contradiction(ops []linear.Op) []linear.Op {
	var forward, backward []zone
	for _, c := range clusters(ops) {
		if early := c.readEarly(); early != nil {
			return early
		}
		if z := c.zone(); z.to > z.from {
			forward = append(forward, z)
		} else {
			backward = append(backward, zone{z.to, z.from, z.ops})
		}
	}
	slices.SortFunc(forward, func(a, b zone) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	for i := range forward {
		if i > 0 && forward[i].from < forward[i-1].to {
			return slices.Concat(forward[i-1].ops, forward[i].ops)
		}
	}
	for _, b := range backward {
		// They do not overlap, so the last one that begins before is the only one that it can be inside of.
		i, _ := slices.BinarySearchFunc(forward, b.from, func(z zone, at time.Duration) int { return cmp.Compare(z.from, at) })
		if i > 0 && b.to < forward[i-1].to {
			return slices.Concat(forward[i-1].ops, b.ops)
		}
	}
	return nil
}

// cluster is a write and the reads that saw it. That of "" has no write: it is what was there before all others.
type cluster struct {
	value string
	write *linear.Op
	reads []linear.Op
}

// clusters sorts operations by value, in the order of the values. Writes that nobody read and that had no answer are not in it:
// whether such a write never happened, or was overwritten before anybody looked, nothing tells.
func clusters(ops []linear.Op) (out []cluster) {
	byValue := make(map[string]*cluster)
	of := func(value string) *cluster {
		if byValue[value] == nil {
			byValue[value] = &cluster{value: value}
		}
		return byValue[value]
	}
	for _, op := range ops {
		switch {
		case op.Kind == linear.Put:
			of(op.Value).write = &op
		case op.Outcome == linear.Done:
			c := of(op.Got)
			c.reads = append(c.reads, op)
		}
	}
	for _, value := range slices.Sorted(maps.Keys(byValue)) {
		c := byValue[value]
		if c.write == nil || c.write.Outcome == linear.Done || len(c.reads) > 0 {
			out = append(out, *c)
		}
	}
	return out
}

// readEarly returns a read of what was never written, or written later only.
func (c cluster) readEarly() []linear.Op {
	for _, r := range c.reads {
		switch {
		case c.value == "":
		case c.write == nil:
			return []linear.Op{r}
		case r.Return < c.write.Call:
			return []linear.Op{r, *c.write}
		}
	}
	return nil
}

// zone is from the first return of a cluster to its last call. ops are those that make it what it is.
type zone struct {
	from, to time.Duration
	ops      []linear.Op
}

func (c cluster) zone() zone {
	z := zone{from: math.MinInt64, to: math.MinInt64} // of what was there before all others
	var first, last linear.Op
	if c.write != nil {
		z.from, z.to, first, last = returned(*c.write), c.write.Call, *c.write, *c.write
		z.ops = append(z.ops, *c.write)
	}
	for _, r := range c.reads {
		if r.Return < z.from {
			z.from, first = r.Return, r
		}
		if r.Call > z.to {
			z.to, last = r.Call, r
		}
	}
	for _, op := range []linear.Op{first, last} {
		if op.Kind == linear.Get && op.Outcome == linear.Done && (len(z.ops) == 0 || z.ops[len(z.ops)-1] != op) {
			z.ops = append(z.ops, op)
		}
	}
	return z
}

// returned is when an operation had its answer; of a write without one, never.
func returned(op linear.Op) time.Duration {
	if op.Outcome == linear.Unknown {
		return math.MaxInt64
	}
	return op.Return
}
