package drill

import (
	"cmp"
	"fmt"
	"slices"
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

// judge holds it against what was promised, unless it was another drill than was ordered.
func (m measured) judge(r *report.Report, e Expect, f report.Figures, another bool) []report.Expectation {
	heldUp := time.Duration(0)
	if another {
		heldUp = r.HeldUp
	}
	out := expectations(e, f, m.broken, heldUp)
	if !another {
		unending(out, m.last > r.Length-atTheEnd, m.back)
	}
	return out
}

// anotherDrill reports whether the drill itself did not get to run for so long that it was not the one that was ordered: more than
// one in a hundred of its calls were more than a second late, or those were that were due when something had just been broken.
func anotherDrill(r *report.Report, samples []load.Sample) bool {
	if r.HeldUp <= tooLong {
		return false
	}
	late := 0
	for _, s := range samples {
		if s.Late > tooLong {
			late++
		}
	}
	if late == 0 || late > len(samples)/100 {
		return true
	}
	return slices.ContainsFunc(held(samples), func(stood report.Span) bool {
		return slices.ContainsFunc(r.Faults, func(f report.Fault) bool { return stood.From-tooLong <= f.Begun && f.Begun <= stood.To })
	})
}

// robbedOf returns when the host took so much that what was measured is its doing, and what came of it.
func robbedOf(r *report.Report) []report.Span {
	if r.Host == nil {
		return nil
	}
	return felt(r.Host.Spans)
}

// felt returns those times with what came of them.
func felt(spans []report.Span) []report.Span {
	out := slices.Clone(spans)
	for i := range out {
		out[i].To += aftermath
	}
	return merged(out)
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
	r.Expectations = m.judge(r, sc.Expect, r.Figures, anotherDrill(r, samples))
	excuse(r, sc.Expect, samples)
	r.Failed, r.MoreFailed = failures(r, samples, newExplainer(r, sc, w))
	r.Advice = advise(r, sc, w, samples)
	if len(r.Advice) > 0 && r.Disturbed() {
		r.Advice = []string{"Nothing yet: this machine did not give the system its processors. Repeat the drill when it does, and look at what fails then."}
	}
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
	for _, x := range m.judge(r, e, m.figures, false) {
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
		during = felt(held(samples))
	}
	if spans := robbedOf(r); len(spans) > 0 {
		during = merged(append(during, spans...))
		why = fmt.Sprintf("the host gave up to %.0f %% of this machine's processors to others", 100*r.Host.Most)
	}
	if len(during) == 0 {
		return
	}
	excuseTimes(r, e, without(samples, during), why)
	excused := 0
	for _, s := range samples {
		if s.Outcome == load.Failed && underWay(s, during) {
			excused++
		}
	}
	for i := range r.Expectations {
		x := &r.Expectations[i]
		if x.Name == "success" && !x.Kept && x.Unknown == "" && success(r.Figures.OK, r.Figures.Failed-excused) >= e.Success {
			x.Unknown, x.Machine = fmt.Sprintf("%d of the %d calls that failed were under way while %s, or not long after", excused, r.Figures.Failed, why), true
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
	for i, of := range sc.Invariants[:min(len(sc.Invariants), len(r.Invariants))] { // whether it is well again comes after them
		// Those with calls of their own have seen all of them; a command is given the record.
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

// expectations hold the figures against what was promised. The times of a drill that was held up are not its system's.
func expectations(e Expect, f report.Figures, broken bool, heldUp time.Duration) (out []report.Expectation) {
	heldBack := ""
	if heldUp > 0 {
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
