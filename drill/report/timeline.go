package report

import (
	"cmp"
	"slices"
	"time"
)

// timeline is the common scale of all that is drawn over time.
type timeline struct {
	end  time.Duration // of what is drawn; positive
	step time.Duration // length of a bin
	bins []Slice       // consecutive, of the same length, each at index × step
}

// newTimeline merges slices until there are at most most of them. Counts are added; of percentiles, which cannot be
// added, the worst p99 and the median p50 of those merged are kept, so that no peak is lost.
func newTimeline(r *Report, most int) timeline {
	slices_ := slices.SortedStableFunc(slices.Values(r.Timeline), func(a, b Slice) int { return cmp.Compare(a.From, b.From) })
	slices_ = slices.DeleteFunc(slices_, func(s Slice) bool { return s.From < 0 || s.From > maxDrawn })
	t := timeline{end: min(max(r.Length, time.Second), maxDrawn), step: width(slices_, r.Length)}
	if n := len(slices_); n > 0 {
		t.end = max(t.end, slices_[n-1].From+t.step)
	}
	for _, f := range r.Faults {
		t.end = max(t.end, min(f.Begun, maxDrawn), min(f.Ended, maxDrawn))
	}
	if bins := int((t.end + t.step - 1) / t.step); bins > most {
		t.step *= time.Duration((bins + most - 1) / most)
	}
	if len(slices_) == 0 {
		return t
	}
	t.bins = make([]Slice, (t.end+t.step-1)/t.step)
	medians := make([][]time.Duration, len(t.bins))
	for _, s := range slices_ {
		i := min(int(s.From/t.step), len(t.bins)-1)
		b := &t.bins[i]
		b.OK, b.Failed, b.Refused = b.OK+max(0, s.OK), b.Failed+max(0, s.Failed), b.Refused+max(0, s.Refused)
		b.P99 = max(b.P99, s.P99)
		if s.P50 > 0 {
			medians[i] = append(medians[i], s.P50)
		}
	}
	for i := range t.bins {
		t.bins[i].From = time.Duration(i) * t.step
		if m := medians[i]; len(m) > 0 {
			slices.Sort(m)
			t.bins[i].P50 = m[len(m)/2]
		}
	}
	return t
}

// maxDrawn bounds what is drawn: a week. A time beyond it in a report is a slip, and must not make a page of it.
const maxDrawn = 7 * 24 * time.Hour

// width is the length of slices, which all have the same: the shortest distance between two.
func width(sorted []Slice, length time.Duration) time.Duration {
	shortest := time.Duration(0)
	for i := 1; i < len(sorted); i++ {
		if d := sorted[i].From - sorted[i-1].From; d > 0 && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	if shortest == 0 {
		shortest = max(length, time.Second) // there is one
	}
	return max(shortest, 10*time.Millisecond)
}

// share is where at is on the scale, from 0 to 1.
func (t timeline) share(at time.Duration) float64 {
	return min(1, max(0, float64(at)/float64(t.end)))
}

// rate is calls a second in a bin. The last one may be cut short.
func (t timeline) rate(i, calls int) float64 {
	length := min(t.step, t.end-time.Duration(i)*t.step)
	return float64(calls) / max(length.Seconds(), 0.001)
}

// steps are the distances that ticks may have.
var steps = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
	2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// tick is a mark on the scale.
type tick struct {
	At    time.Duration
	Label string
}

// ticks are at most most of them, at round times, from 0 on.
func (t timeline) ticks(most int) []tick {
	step := steps[len(steps)-1]
	for _, s := range steps {
		if int(t.end/s) < most {
			step = s
			break
		}
	}
	var out []tick
	for at := time.Duration(0); at <= t.end && len(out) < most; at += step {
		label := moment(at, t.end)
		if t.end < 2*time.Minute {
			label = digits(at.Seconds()) + " s"
		}
		out = append(out, tick{At: at, Label: label})
	}
	return out
}
