package linear

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// narrow uses what is known of a key that is only appended to: its last value has the order of all appends, and each
// value that was read has its place in it. What must be in that order narrows the times at which it can have happened,
// and the search, which is exponential in what overlaps, has next to nothing left to try. Appends of unknown outcome
// that are not in the last value have not happened before it was read, and are left out.
//
// Where the order contradicts the times, or a value is not in the order, nothing is narrowed: the search says so.
func narrow(ops []Op, when []interval, final string) ([]Op, []interval) {
	place, end := map[string]int{}, []int{0} // of an appended value, from 1; the length of the value with so many
	for token := range strings.SplitAfterSeq(final, string(End)) {
		if token != "" {
			end = append(end, end[len(end)-1]+len(token))
			place[token] = len(end) - 1
		}
	}
	var kept []Op
	var times []interval
	var places []int
	for i, op := range ops {
		at, ok := place[op.Value]
		if op.Kind == Get {
			at, ok = slices.BinarySearch(end, len(op.Got))
			ok = ok && strings.HasPrefix(final, op.Got)
		} else if !ok && op.Outcome == Unknown {
			continue
		}
		if !ok {
			return ops, when
		}
		kept, times, places = append(kept, op), append(times, when[i]), append(places, at)
	}
	order := make([]int, len(kept))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(places[a]-places[b], cmp.Compare(kind(kept[a]), kind(kept[b])))
	})
	narrowed := slices.Clone(times)
	// Forward: an append comes after everything of the places before, a read after the append of its place.
	floor, here := time.Duration(math.MinInt64), time.Duration(math.MinInt64)
	for _, i := range order {
		if kept[i].Kind == Append {
			floor = here
		}
		narrowed[i].from = max(narrowed[i].from, floor)
		here = max(here, narrowed[i].from)
		if kept[i].Kind == Append {
			floor = here
		}
	}
	// Backward: a read comes before the next append, an append before all reads of its place, too.
	ceiling, here := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for _, i := range slices.Backward(order) {
		if kept[i].Kind == Append {
			ceiling = here
		}
		narrowed[i].to = min(narrowed[i].to, ceiling)
		here = min(here, narrowed[i].to)
		if kept[i].Kind == Append {
			ceiling = here
		}
	}
	for _, v := range narrowed {
		if v.from > v.to {
			return kept, times
		}
	}
	return kept, narrowed
}

// kind sorts an append before the reads of its place.
func kind(op Op) int {
	if op.Kind == Append {
		return 0
	}
	return 1
}
