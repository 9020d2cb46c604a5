package check

import (
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
)

// ofKey returns the operations of one key that say something.
func ofKey(ops []linear.Op, key string) (out []linear.Op) {
	for _, op := range ops {
		if op.Key == key && op.Outcome != linear.Refused && (op.Kind != linear.Get || op.Outcome == linear.Done) {
			out = append(out, op)
		}
	}
	return out
}

// shrink takes operations away from a history that no order explains, as long as none explains what is left, and returns what
// is left when nothing more can go, or at the deadline.
//
// What is left tells the truth. Without a read, an order has less to explain. A write goes only if nobody reads what it wrote:
// in an order of the whole, no read would stand between it and the next write, so the order without it were one of the rest.
// Had the whole an order, so would what is left.
func shrink(ops []linear.Op, deadline time.Time) []Operation {
	bad := func(ops []linear.Op) bool {
		left := time.Until(deadline)
		return left > 0 && len(linear.Check(ops, nil, left).Violations) > 0
	}
	// Whole pieces at first, then smaller ones (delta debugging; Zeller, TSE 28(2), 2002).
	for piece := max(1, len(ops)/2); ; piece = max(1, piece/2) {
		before := len(ops)
		for at := 0; at < len(ops) && time.Now().Before(deadline); {
			if less, ok := without(ops, at, min(at+piece, len(ops))); ok && bad(less) {
				ops = less
			} else {
				at += piece
			}
		}
		if piece == 1 && len(ops) == before || !time.Now().Before(deadline) {
			break
		}
	}
	return operations(ops)
}

// without returns ops without those in [from, to), writes that are read by one of the rest excepted; ok is false if none goes.
func without(ops []linear.Op, from, to int) (less []linear.Op, ok bool) {
	read := make(map[string]bool)
	for i, op := range ops {
		if op.Kind == linear.Get && (i < from || i >= to) {
			read[op.Got] = true
		}
	}
	less = make([]linear.Op, 0, len(ops))
	for i, op := range ops {
		if i < from || i >= to || op.Kind == linear.Put && read[op.Value] {
			less = append(less, op)
		}
	}
	return less, len(less) < len(ops)
}

func operations(ops []linear.Op) []Operation {
	out := make([]Operation, 0, len(ops))
	for _, op := range ops {
		o := Operation{Client: op.Client, Key: op.Key, Write: op.Kind == linear.Put, Value: op.Value, Begun: op.Call, Ended: op.Return}
		if !o.Write {
			o.Value = op.Got
		}
		if op.Outcome == linear.Unknown {
			o.Ended = 0
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b Operation) int { return int(a.Begun - b.Begun) })
	return out
}

// begun is when the first answer came that nothing explains: the beginning of the last read.
func begun(history []Operation) (at time.Duration) {
	for _, o := range history {
		if !o.Write {
			at = o.Begun
		}
	}
	return at
}
