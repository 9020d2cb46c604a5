package drill

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

const (
	// slack is within which faults begin, or end, at the same time.
	slack = 100 * time.Millisecond
	// window is what p99 is taken over to see when it is back, slot by slot.
	window = 2
	slot   = 500 * time.Millisecond
	// noise is a p99 that nobody waits for: what is below it is back.
	noise = 50 * time.Millisecond
	// fewest is how many calls it takes to speak of a p99.
	fewest = 5
	// warm is how long connections may take to be made: not what a calm system is like.
	warm = 2 * time.Second
	// tooLong is for how long the drill's own process may be held up before its times are not the system's any more.
	tooLong = time.Second
	// atTheEnd is how long no call may have failed at the end, for the others to have been masked.
	atTheEnd = 2 * time.Second
	// maxSlices bounds a timeline.
	maxSlices = 2000
)

// report makes a report of all that is known.
func (s *session) report() *report.Report {
	r := &report.Report{
		System: s.info.System, Drill: s.sc.Name, About: s.sc.About, Seed: s.cfg.Seed, Command: s.cfg.Command, Version: s.cfg.Version,
		Machine: machine(), LeftOut: s.sc.LeftOut, Invariants: s.verdicts, Instances: s.lanes.list(), Length: s.length,
	}
	if !s.began {
		return r
	}
	r.Began = s.rec.Began()
	s.mu.Lock()
	r.Faults = slices.Clone(s.happened)
	s.mu.Unlock()
	tally := s.rec.Tally()
	r.HeldUp = tally.HeldUp
	judge(r, s.sc, s.world, s.named(s.rec.Samples()), s.attempts.amplification())
	if tally.Dropped > 0 {
		r.LeftOut = append(slices.Clone(r.LeftOut), fmt.Sprintf("%d calls beyond %d, which were made and are in no figure", tally.Dropped, load.MaxSamples))
	}
	return r
}

// named replaces addresses of instances that answered by their names.
func (s *session) named(samples []load.Sample) []load.Sample {
	for i := range samples {
		if id := s.lanes.at(samples[i].Instance); id != "" {
			samples[i].Instance = id
		}
	}
	return samples
}

// judge fills in what follows from the samples and the faults. It is pure, but for r.
func judge(r *report.Report, sc Scenario, w inject.World, samples []load.Sample, amplification float64) {
	turns := turnsOf(r.Faults)
	calm := calmOf(samples, r.Faults)
	limit := threshold(sc.Expect, calm.P99)
	mask(r.Faults, turns, samples, limit)
	r.Figures = figures(samples)
	r.Figures.Amplification = amplification
	if amplification == 0 {
		r.Figures.Amplification = attemptsOf(samples)
	}
	r.Figures.CalmP50, r.Figures.CalmP99 = calm.P50, calm.P99
	for _, f := range r.Faults {
		r.Figures.Mask = max(r.Figures.Mask, f.Mask)
	}
	r.Figures.Recover = recovery(turns, samples, limit)
	for _, c := range sc.Load.Calls {
		of := slices.Clone(samples)
		of = slices.DeleteFunc(of, func(s load.Sample) bool { return s.Call != c.Name })
		r.Calls = append(r.Calls, report.Call{Name: c.Name, Figures: figures(of)})
	}
	r.Timeline = timeline(samples, r.Length)
	r.Expectations = expectations(sc.Expect, r.Figures, len(turns) > 0, r.HeldUp)
	if last := lastFailed(samples, turns, limit); last > r.Length-atTheEnd {
		for i := range r.Expectations {
			if x := &r.Expectations[i]; x.Name == "mask" {
				x.Value, x.Kept, x.Unknown = "never: calls failed until the end", false, ""
			}
		}
	}
	r.Failed, r.MoreFailed = failures(r, samples, newExplainer(r, sc, w))
	r.Advice = advise(r, sc, w, samples)
}

// lastFailed is when the last call failed that something was to blame for; 0 if none did.
func lastFailed(samples []load.Sample, turns []turn, limit time.Duration) (last time.Duration) {
	for _, s := range samples {
		if s.Outcome == load.Failed && turnOf(turns, s, limit) >= 0 {
			last = max(last, s.Due+s.Took)
		}
	}
	return last
}

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
// the last of them had failed.
func mask(faults []report.Fault, turns []turn, samples []load.Sample, limit time.Duration) {
	for _, s := range samples {
		if s.Outcome != load.Failed {
			continue
		}
		i := turnOf(turns, s, limit)
		if i < 0 {
			continue
		}
		for _, f := range turns[i].faults {
			faults[f].Failed++
			faults[f].Mask = max(faults[f].Mask, s.Due+s.Took-turns[i].at)
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

// recovery is the longest time after a turn until p99 was back, within what was left until the next one.
func recovery(turns []turn, samples []load.Sample, limit time.Duration) (longest time.Duration) {
	slots := make([]map[int][]time.Duration, len(turns))
	for _, s := range samples {
		i := turnOf(turns, s, limit)
		if i < 0 || s.Outcome == load.Failed {
			continue
		}
		if slots[i] == nil {
			slots[i] = make(map[int][]time.Duration)
		}
		// A call that was under way at the turn is one of its first.
		n := int(max(0, s.Due-turns[i].at) / slot)
		slots[i][n] = append(slots[i][n], s.Took)
	}
	for _, of := range slots {
		for n, took := range of {
			for k := 1; k < window; k++ {
				took = append(took[:len(took):len(took)], of[n+k]...)
			}
			if len(took) < fewest {
				continue
			}
			slices.Sort(took)
			// With few calls the slowest one is no p99: it takes two.
			p99 := took[int(0.99*float64(len(took)-1))]
			if p99 > limit {
				longest = max(longest, time.Duration(n+1)*slot)
			}
		}
	}
	return longest
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

// expectations hold the figures against what was promised.
func expectations(e Expect, f report.Figures, broken bool, heldUp time.Duration) (out []report.Expectation) {
	unknown := ""
	if heldUp > tooLong {
		unknown = fmt.Sprintf("the drill itself did not get to run for %v, so its times are this machine's, not the system's", heldUp.Round(10*time.Millisecond))
	}
	if e.Success > 0 {
		x := report.Expectation{Name: "success", Goal: "at least " + percent(e.Success), Value: percent(f.Success), Kept: f.Success >= e.Success}
		if f.OK+f.Failed == 0 {
			x.Unknown = "no call was made"
		}
		out = append(out, x)
	}
	for _, d := range []struct {
		name        string
		goal, value time.Duration
		fault       bool // it is about faults
	}{
		{"p50", e.P50, f.P50, false},
		{"p99", e.P99, f.P99, false},
		{"p99.9", e.P999, f.P999, false},
		{"mask", e.Mask, f.Mask, true},
		{"recover", e.Recover, f.Recover, true},
	} {
		if d.goal == 0 {
			continue
		}
		x := report.Expectation{Name: d.name, Goal: "at most " + brief(d.goal), Value: brief(d.value), Kept: d.value <= d.goal}
		switch {
		case d.fault && !broken:
			x.Unknown = "nothing was broken"
		case f.OK+f.Refused+f.Failed == 0:
			x.Unknown = "no call was made"
		case !d.fault && f.OK+f.Refused == 0:
			x.Value, x.Kept = "no call was answered", false
		case !x.Kept:
			x.Unknown = unknown // what was kept even so is kept
		}
		out = append(out, x)
	}
	if e.Amplification > 0 {
		x := report.Expectation{
			Name: "amplification", Goal: fmt.Sprintf("at most %.2f attempts a call", e.Amplification), Value: fmt.Sprintf("%.2f", f.Amplification),
			Kept: f.Amplification <= e.Amplification,
		}
		if f.Amplification == 0 {
			x.Unknown = "nobody says how many attempts were made: the services are not Holdfast's"
		}
		out = append(out, x)
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
