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

// shrink takes operations away from a contradiction, as long as what is left is one, and returns what is left.
//
// What is left tells the truth. Without a read, an order has less to explain. A write goes only if nobody reads what it wrote:
// in an order of the whole, no read would stand between it and the next write, so the order without it were one of the rest.
// Had the whole an order, so would what is left.
func shrink(ops []linear.Op) []linear.Op {
	for at := 0; at < len(ops); {
		less := slices.Delete(slices.Clone(ops), at, at+1)
		if !isRead(ops[at], less) && contradiction(less) != nil {
			ops, at = less, 0
		} else {
			at++
		}
	}
	return ops
}

// isRead reports whether op is a write that is read.
func isRead(op linear.Op, by []linear.Op) bool {
	return op.Kind == linear.Put && slices.ContainsFunc(by, func(r linear.Op) bool { return r.Kind == linear.Get && r.Got == op.Value })
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
