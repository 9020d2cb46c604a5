package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-go/holdfast/bench/internal/load"
)

// What is no growth: less than a share of the level, or less than so many MiB.
const (
	maxShare    = 0.10
	maxResident = 12
	maxHeap     = 6
	// minPoints is how many there must be for a verdict.
	minPoints = 4
	// minSeen is the share of the samples after the warm-up in which a process must have been seen, and minPlaced that of the
	// new orders that must have been taken.
	minSeen   = 0.8
	minPlaced = 0.8
	// maxFailures is how many are printed.
	maxFailures = 200
)

var (
	errGrows   = errors.New("memory grows, or calls failed")
	errNotMade = errors.New("too many requests were under way for another one")
)

// verdict is what is said of a process.
type verdict struct {
	*line
	resident, heap trend
	judged         int  // points
	ended          bool // before the others: it was started again
	grows          bool
}

// trend is a line through points: its level in the middle, and what it rises in the whole time that was judged.
type trend struct{ level, rise float64 }

func (t trend) grows(enough float64) bool { return t.rise > enough && t.rise > maxShare*t.level }

func judge(lines []*line, warm time.Duration) []verdict {
	var end time.Duration
	for _, l := range lines {
		for _, p := range l.points {
			end = max(end, p.at)
		}
	}
	var out []verdict
	for _, l := range lines {
		v := verdict{line: l, ended: len(l.points) == 0 || l.points[len(l.points)-1].at < end-3*sampleEvery}
		for _, p := range l.points {
			if p.at >= warm {
				v.judged++
			}
		}
		v.resident = through(l.points, warm, func(p point) float64 { return p.resident })
		v.heap = through(l.points, warm, func(p point) float64 { return p.heap })
		v.grows = v.resident.grows(maxResident) || v.heap.grows(maxHeap)
		out = append(out, v)
	}
	return out
}

// through returns the trend of the points after warm by the estimator of Theil and Sen: the median of the slopes of all
// pairs.
func through(points []point, warm time.Duration, of func(point) float64) trend {
	var at, values []float64
	for _, p := range points {
		if v := of(p); p.at >= warm && v > 0 {
			at, values = append(at, p.at.Seconds()), append(values, v)
		}
	}
	if len(values) < minPoints {
		return trend{}
	}
	var slopes []float64
	for i := range values {
		for j := range i {
			slopes = append(slopes, (values[i]-values[j])/(at[i]-at[j]))
		}
	}
	return trend{level: median(values), rise: median(slopes) * (at[len(at)-1] - at[0])}
}

func median(values []float64) float64 {
	values = slices.Clone(values)
	slices.Sort(values)
	return values[len(values)/2]
}

// unseen says of which services less is known than a verdict needs: fewer processes, or too few points of them.
func unseen(s settings, want map[string]int, verdicts []verdict) []string {
	enough := max(minPoints, int(minSeen*float64((s.length-s.warm)/sampleEvery)))
	seen := make(map[string]int)
	for _, v := range verdicts {
		if v.judged >= enough {
			seen[v.service]++
		}
	}
	var out []string
	for _, service := range slices.Sorted(maps.Keys(want)) {
		if n := seen[service]; n < want[service] {
			out = append(out, fmt.Sprintf("%s: %d of %d processes were seen %d times or more after the warm-up", service, n, want[service], enough))
		}
	}
	return out
}

// report prints what was found, and says whether something is wrong. want is how many processes there are of each service.
func report(out io.Writer, s settings, want map[string]int, calls load.Calls, verdicts []verdict) (failed bool) {
	bad, placed := 0, 0
	var failures []string
	for _, c := range calls {
		if c.Err != nil || c.Code != codes.OK { // without an error: it could not even be made
			if bad++; bad <= maxFailures {
				failures = append(failures, fmt.Sprintf("  %v, after %v: %v", c.Due.Round(time.Millisecond), c.Took.Round(time.Millisecond), cmp.Or(c.Err, errNotMade)))
			}
		}
		if c.Class == order && c.Err == nil && c.Code == codes.OK {
			placed++
		}
	}
	intended := s.orders * s.length.Seconds()
	fmt.Fprintf(out, "\n%d requests, among them %d new orders that were taken, of %.0f intended; %d failed\n", len(calls), placed, intended, bad)
	if float64(placed) < minPlaced*intended {
		failed = true
		fmt.Fprintln(out, "too few orders were taken for this to say anything")
	}
	if bad > 0 {
		fmt.Fprintf(out, "what failed, by when it was due (the first %d at most):\n%s\n", maxFailures, strings.Join(failures, "\n"))
	}
	fmt.Fprintf(out, "\nMiB, and what they rise by in the %v after the warm-up:\n\n", s.length-s.warm)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tresident\trise\treachable\trise\t")
	for _, v := range verdicts {
		heap := "\t\t"
		if v.heap.level > 0 {
			heap = fmt.Sprintf("%.1f\t%+.1f\t", v.heap.level, v.heap.rise)
		}
		word := ""
		switch {
		case v.grows:
			word, failed = "GROWS", true
		case v.ended:
			word, failed = "ended", true
		}
		fmt.Fprintf(w, "%s\t%.1f\t%+.1f\t%s%s\n", v.name, v.resident.level, v.resident.rise, heap, word)
	}
	_ = w.Flush()
	for _, missing := range unseen(s, want, verdicts) {
		failed = true
		fmt.Fprintln(out, missing)
	}
	if bad > 0 {
		failed = true
	}
	word := "flat"
	if failed {
		word = "NOT FLAT, or something failed"
	}
	fmt.Fprintf(out, "\nmemory: %s\n", word)
	return failed
}
