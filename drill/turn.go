package drill

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

const (
	// slack is within which faults begin, or end, at the same time.
	slack = 100 * time.Millisecond
	// apart is how far from each other failures are of two outages, if a call was answered in between.
	apart = time.Second
	// window is what p99 is taken over to see when it is back, slot by slot; widest where there are few calls.
	window = 2
	widest = 10
	slot   = 500 * time.Millisecond
	// noise is a p99 that nobody waits for: what is below it is back.
	noise = 50 * time.Millisecond
	// fewest is how many calls it takes to speak of a p99.
	fewest = 5
)

// turn is when something changed: a fault began, or ended.
type turn struct {
	at     time.Duration
	faults []int // which; several, if it was at the same time
}

// turnsOf are the turns, in their order.
func turnsOf(faults []report.Fault) []turn {
	var all []turn
	for i, f := range faults {
		all = append(all, turn{f.Begun, []int{i}})
		if f.Ended > 0 {
			all = append(all, turn{f.Ended, []int{i}})
		}
	}
	slices.SortStableFunc(all, func(a, b turn) int { return int(a.at - b.at) })
	var out []turn
	for _, t := range all {
		if n := len(out); n > 0 && t.at-out[n-1].at <= slack {
			if !slices.Contains(out[n-1].faults, t.faults[0]) {
				out[n-1].faults = append(out[n-1].faults, t.faults...)
			}
			continue
		}
		out = append(out, t)
	}
	return out
}

// turnOf is what became of a call is due to, if it is due to any: the last turn before it was due; or a later one, if that came
// when the call had not taken longer yet than calls should. -1 is none.
func turnOf(turns []turn, s load.Sample, limit time.Duration) int {
	i, exact := slices.BinarySearchFunc(turns, s.Due, func(t turn, at time.Duration) int { return cmp.Compare(t.at, at) })
	if !exact {
		i--
	}
	for i+1 < len(turns) && turns[i+1].at <= s.Due+s.Took && turns[i+1].at-s.Due < limit {
		i++
	}
	return i
}

// mask fills in, for each fault, how many calls failed because of it beginning or ending, and how long it was from then until
// the last of them had failed. Failures that follow each other are one outage, whatever else is broken meanwhile: all of it
// belongs to what it began with. The samples are in the order in which they were due.
func mask(faults []report.Fault, turns []turn, samples []load.Sample, limit time.Duration) {
	first := -1 // the turn that the outage began with
	var until time.Duration
	over := false // a call was answered since
	for _, s := range samples {
		if s.Outcome != load.Failed {
			over = over || s.Due >= until
			continue
		}
		i := turnOf(turns, s, limit)
		if i < 0 {
			continue
		}
		if first < 0 || over && s.Due-until >= apart {
			first, until = i, 0
		}
		until, over = max(until, s.Due+s.Took), false
		blamed := turns[first].faults
		for _, f := range blamed {
			faults[f].Failed++
			faults[f].Mask = max(faults[f].Mask, s.Due+s.Took-turns[first].at)
		}
		for _, f := range turns[i].faults {
			if !slices.Contains(blamed, f) {
				faults[f].Failed++
				faults[f].Mask = max(faults[f].Mask, s.Due+s.Took-turns[i].at)
			}
		}
	}
}

// threshold is what p99 has to be below to be back: the goal, or twice what it was when all was calm.
func threshold(e Expect, calm time.Duration) time.Duration {
	if e.P99 > 0 {
		return e.P99
	}
	return max(2*calm, noise)
}

// recovered is how p99 came back.
type recovered struct {
	longest time.Duration // after a turn
	never   bool          // not until the end
	unknown bool          // there were too few calls at the end to tell
}

// cell is what became of the calls of one slot.
type cell struct {
	calls int
	took  []time.Duration // of those that were answered
}

// recovery finds out how long after a turn p99 was back, at most. What is not back, or not known to be, when the next turn comes
// is still measured from the one before.
func recovery(turns []turn, samples []load.Sample, limit time.Duration) (r recovered) {
	cells := make([][]cell, len(turns))
	for _, s := range samples {
		i := turnOf(turns, s, limit)
		if i < 0 {
			continue
		}
		// A call that was under way at the turn is one of its first.
		n := int(max(0, s.Due-turns[i].at) / slot)
		for len(cells[i]) <= n {
			cells[i] = append(cells[i], cell{})
		}
		c := &cells[i][n]
		c.calls++
		if s.Outcome != load.Failed {
			c.took = append(c.took, s.Took)
		}
	}
	var since time.Duration
	settled := true // p99 was back when this turn came
	for i, of := range cells {
		at := turns[i].at
		if settled {
			since = at
		}
		settled, r.never = false, false
		for n := range of {
			switch slow, known := p99Above(of[n:], limit); {
			case !known:
			case slow:
				r.longest = max(r.longest, at+time.Duration(n+1)*slot-since)
				settled, r.never = false, true
			default:
				since, settled, r.never = at, true, false
			}
		}
	}
	r.unknown = !settled && !r.never
	return r
}

// p99Above reports whether p99 is above the limit in the window that begins with the first of the cells. Where there are few
// calls it takes a longer one, and now and then there are too few to know.
func p99Above(cells []cell, limit time.Duration) (slow, known bool) {
	calls := 0
	var took []time.Duration
	for k, c := range cells[:min(len(cells), widest)] {
		calls += c.calls
		took = append(took, c.took...)
		switch {
		case k+1 < window && k+1 < len(cells):
		case len(took) >= fewest:
			slices.Sort(took)
			// With few calls the slowest one is no p99: it takes two.
			return took[int(0.99*float64(len(took)-1))] > limit, true
		case len(took) == 0 && calls >= fewest: // nobody is answered: nothing is back
			return true, true
		}
	}
	return false, false
}
