package drill

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

const (
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
	r.HeldUp, r.Host = tally.HeldUp, s.host.report()
	judge(r, s.sc, s.world, s.named(s.rec.Samples()), s.attempts.amplification())
	if tally.Dropped > 0 {
		beyond(r, s.sc, tally)
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

// measured is what follows from the samples and the faults.
type measured struct {
	figures report.Figures
	broken  bool          // there were faults that could be felt
	last    time.Duration // when the last call failed that a fault made fail
	back    recovered
}

// measure also notes in faults how long each was felt. What a calm system is like is not taken from times that are left out.
func measure(e Expect, faults []report.Fault, samples []load.Sample, leftOut []report.Span) (m measured) {
	turns := turnsOf(faults)
	calm := calmOf(without(samples, leftOut), faults)
	limit := threshold(e, calm.P99)
	mask(faults, turns, samples, limit)
	m.figures = figures(samples)
	m.figures.CalmP50, m.figures.CalmP99 = calm.P50, calm.P99
	for _, f := range faults {
		m.figures.Mask = max(m.figures.Mask, f.Mask)
	}
	m.back = recovery(turns, samples, limit)
	m.figures.Recover = m.back.longest
	m.broken, m.last = len(turns) > 0, lastFailed(samples, turns, limit)
	return m
}

// judge holds it against what was promised.
func (m measured) judge(r *report.Report, e Expect, f report.Figures) []report.Expectation {
	out := expectations(e, f, m.broken, r.HeldUp)
	if r.HeldUp <= tooLong {
		unending(out, m.last > r.Length-atTheEnd, m.back)
	}
	return out
}

// robbedOf returns when the host took so much that what was measured is its doing.
func robbedOf(r *report.Report) []report.Span {
	if r.Host == nil {
		return nil
	}
	return r.Host.Spans
}

// without returns the calls that were not under way in those times, which are in their order and do not overlap.
func without(samples []load.Sample, during []report.Span) []load.Sample {
	if len(during) == 0 {
		return samples
	}
	return slices.DeleteFunc(slices.Clone(samples), func(s load.Sample) bool { return underWay(s, during) })
}

// underWay reports whether a call was under way in one of those times.
func underWay(s load.Sample, during []report.Span) bool {
	i, _ := slices.BinarySearchFunc(during, s.Due, func(d report.Span, due time.Duration) int { return cmp.Compare(d.To, due) })
	return i < len(during) && during[i].From <= s.Due+s.Took
}

// judge fills in what follows from the samples and the faults. It is pure, but for r.
func judge(r *report.Report, sc Scenario, w inject.World, samples []load.Sample, amplification float64) {
	m := measure(sc.Expect, r.Faults, samples, robbedOf(r))
	r.Figures = m.figures
	r.Figures.Amplification = amplification
	if amplification == 0 {
		r.Figures.Amplification = attemptsOf(samples)
	}
	for _, c := range sc.Load.Calls {
		of := slices.Clone(samples)
		of = slices.DeleteFunc(of, func(s load.Sample) bool { return s.Call != c.Name })
		r.Calls = append(r.Calls, report.Call{Name: c.Name, Figures: figures(of)})
	}
	r.Timeline = timeline(samples, r.Length)
	r.Expectations = m.judge(r, sc.Expect, r.Figures)
	excuse(r, sc.Expect, samples)
	r.Failed, r.MoreFailed = failures(r, samples, newExplainer(r, sc, w))
	r.Advice = advise(r, sc, w, samples)
}

// unending says of promises about how long something takes that it did not come to an end, or was not seen to.
func unending(expectations []report.Expectation, failing bool, back recovered) {
	for i := range expectations {
		switch x := &expectations[i]; {
		case x.Name == "mask" && failing:
			x.Value, x.Kept, x.Unknown = "never: calls failed until the end", false, ""
		case x.Name == "recover" && back.never:
			x.Value, x.Kept, x.Unknown = "never: p99 was not back at the end", false, ""
		case x.Name == "recover" && back.unknown && x.Kept && x.Unknown == "":
			x.Unknown = "after the last fault there were too few calls to see whether p99 is back"
		}
	}
}

// excuseTimes does so for the promises about times: they would have been kept by the other calls. How many attempts were made at
// which time is not known.
func excuseTimes(r *report.Report, e Expect, others []load.Sample, why string) {
	faults := slices.Clone(r.Faults)
	for i := range faults {
		faults[i].Mask, faults[i].Failed = 0, 0
	}
	m := measure(e, faults, others, nil)
	m.figures.Amplification = e.Amplification
	kept := make(map[string]bool)
	for _, x := range m.judge(r, e, m.figures) {
		kept[x.Name] = x.Kept
	}
	for i := range r.Expectations {
		x := &r.Expectations[i]
		if x.Name != "success" && !x.Kept && x.Unknown == "" && kept[x.Name] {
			x.Unknown, x.Machine = why, true
		}
	}
}

// merged returns the same times, in their order and none twice.
func merged(spans []report.Span) (out []report.Span) {
	slices.SortFunc(spans, func(a, b report.Span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range spans {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
			continue
		}
		out = append(out, s)
	}
	return out
}

// held returns when the drill itself did not get to run, by the calls that were late then.
func held(samples []load.Sample) (held []report.Span) {
	for _, s := range samples { // in the order in which they were due
		if s.Late <= tooLong {
			continue
		}
		if n := len(held); n > 0 && s.Due <= held[n-1].To {
			held[n-1].To = max(held[n-1].To, s.Due+s.Late)
			continue
		}
		held = append(held, report.Span{From: s.Due, To: s.Due + s.Late})
	}
	return held
}

// excuse says of what was missed that it is this machine's doing, if it is, not the system's; nothing is known then of what
// would have been. Of calls that failed that is said only if it is of all that are too many, and by when they were under way.
func excuse(r *report.Report, e Expect, samples []load.Sample) {
	var during []report.Span
	why := "the drill itself did not get to run"
	if r.HeldUp > tooLong {
		during = held(samples)
	}
	if spans := robbedOf(r); len(spans) > 0 {
		during = merged(append(during, spans...))
		why = fmt.Sprintf("the host gave up to %.0f %% of this machine's processors to others", 100*r.Host.Most)
		excuseTimes(r, e, without(samples, during), why)
	}
	if len(during) == 0 {
		return
	}
	excused := 0
	for _, s := range samples {
		if s.Outcome == load.Failed && underWay(s, during) {
			excused++
		}
	}
	for i := range r.Expectations {
		x := &r.Expectations[i]
		if x.Name == "success" && !x.Kept && x.Unknown == "" && success(r.Figures.OK, r.Figures.Failed-excused) >= e.Success {
			x.Unknown, x.Machine = fmt.Sprintf("%d of the %d calls that failed were under way while %s", excused, r.Figures.Failed, why), true
		}
	}
}

// beyond takes the calls into account that were made and not kept: they count for success, and nothing is known of their times.
func beyond(r *report.Report, sc Scenario, tally load.Tally) {
	f := &r.Figures
	f.OK, f.Failed, f.Refused = tally.OK, tally.Failed, tally.Refused
	f.Calls, f.Success = f.OK+f.Failed+f.Refused, success(f.OK, f.Failed)
	lost := fmt.Sprintf("%d calls beyond %d were counted, and nothing else of them is known", tally.Dropped, load.MaxSamples)
	r.LeftOut = append(slices.Clone(r.LeftOut), lost)
	for i := range r.Expectations {
		switch x := &r.Expectations[i]; x.Name {
		case "success":
			*x = successOf(sc.Expect, *f)
		case "mask", "recover": // what was too long already is
			if x.Kept {
				x.Unknown = lost
			}
		case "amplification", "load":
		default:
			x.Unknown = lost
		}
	}
	r.Invariants = slices.Clone(r.Invariants)
	for i := range r.Invariants {
		// Those with calls of their own have seen all of them; a command is given the record.
		of := sc.Invariants[i]
		if v := &r.Invariants[i]; v.Answer == check.Holds && (of.Acknowledged != nil || of.Once != nil || of.Command != nil || of.Func != nil) {
			v.Answer = check.Unknown
			v.Says += "; " + lost
		}
	}
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
	heldBack := ""
	if heldUp > tooLong {
		heldBack = fmt.Sprintf("the drill itself did not get to run for %s, so its times are this machine's, not the system's", brief(heldUp))
		out = append(out, report.Expectation{Name: "load", Goal: "offered when it is due", Value: brief(heldUp) + " late", Unknown: heldBack, Machine: true})
	}
	if e.Success > 0 {
		out = append(out, successOf(e, f))
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
		default:
			x.Unknown, x.Machine = heldBack, heldBack != ""
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

func successOf(e Expect, f report.Figures) report.Expectation {
	x := report.Expectation{Name: "success", Goal: "at least " + percent(e.Success), Value: percent(f.Success), Kept: f.Success >= e.Success}
	if f.OK+f.Failed == 0 {
		x.Unknown = "no call was made"
	}
	return x
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
