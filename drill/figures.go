package drill

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

// figures are those of some calls. Times are of calls that were answered: what failed has failed, however fast.
func figures(samples []load.Sample) report.Figures {
	f := report.Figures{Calls: len(samples)}
	took := make([]time.Duration, 0, len(samples))
	for _, s := range samples {
		switch s.Outcome {
		case load.OK:
			f.OK++
		case load.Refused:
			f.Refused++
		case load.Failed:
			f.Failed++
			continue
		}
		took = append(took, s.Took)
	}
	slices.Sort(took)
	f.P50, f.P99, f.P999 = quantile(took, 0.5), quantile(took, 0.99), quantile(took, 0.999)
	if n := len(took); n > 0 {
		f.Slowest = took[n-1]
	}
	f.Success = success(f.OK, f.Failed)
	return f
}

// success is the share of the calls that succeeded, of those that had to; all of none.
func success(ok, failed int) float64 {
	if ok+failed == 0 {
		return 1
	}
	return float64(ok) / float64(ok+failed)
}

// quantile is the smallest of the sorted values that at least a share q of them does not exceed (nearest rank).
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9))
	return sorted[max(1, min(rank, len(sorted)))-1]
}

// calmOf are the figures before anything was broken.
func calmOf(samples []load.Sample, faults []report.Fault) report.Figures {
	first := time.Duration(math.MaxInt64)
	for _, f := range faults {
		first = min(first, f.Begun)
	}
	from := min(warm, first/3)
	calm := make([]load.Sample, 0, len(samples))
	for _, s := range samples {
		if s.Due >= from && s.Due+s.Took < first {
			calm = append(calm, s)
		}
	}
	return figures(calm)
}

func attemptsOf(samples []load.Sample) float64 {
	var calls, attempts int
	for _, s := range samples {
		if s.Attempts > 0 {
			calls++
			attempts += s.Attempts
		}
	}
	if calls == 0 {
		return 0
	}
	return float64(attempts) / float64(calls)
}

// timeline cuts a drill into slices.
func timeline(samples []load.Sample, length time.Duration) []report.Slice {
	if length <= 0 {
		return nil
	}
	size := 250 * time.Millisecond
	for length/size >= maxSlices {
		size *= 2
	}
	out := make([]report.Slice, (length+size-1)/size)
	took := make([][]time.Duration, len(out))
	for i := range out {
		out[i].From = time.Duration(i) * size
	}
	for _, s := range samples {
		i := min(int(s.Due/size), len(out)-1)
		switch s.Outcome {
		case load.OK:
			out[i].OK++
		case load.Refused:
			out[i].Refused++
		case load.Failed:
			out[i].Failed++
			continue
		}
		took[i] = append(took[i], s.Took)
	}
	for i := range out {
		slices.Sort(took[i])
		out[i].P50, out[i].P99 = quantile(took[i], 0.5), quantile(took[i], 0.99)
	}
	return out
}

// percent has one digit after the nines, two at least, and never says more than it is.
func percent(share float64) string {
	if share >= 1 {
		return "100 %"
	}
	digits := 2
	for nines := 0.9999; digits < 5 && share >= nines; nines += (1 - nines) * 0.9 {
		digits++
	}
	power := math.Pow10(digits)
	floor := min(math.Floor(share*100*power+1e-6), 100*power-1)
	text := fmt.Sprintf("%.*f", digits, floor/power)
	for strings.HasSuffix(text, "0") && len(text)-strings.IndexByte(text, '.') > 3 {
		text = text[:len(text)-1]
	}
	return text + " %"
}

// brief is a duration in three digits.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= 10*time.Millisecond:
		d = d.Round(time.Millisecond)
	default:
		d = d.Round(10 * time.Microsecond)
	}
	return inject.Span(d)
}
