package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
)

// sentence says in plain words what came of it, for those who read nothing else.
func (r *Report) sentence() string {
	f := r.Figures
	if f.Calls == 0 {
		return fmt.Sprintf("No call was made; %s.", r.brokenWords())
	}
	what := fmt.Sprintf("%s were made in %s while %s", counted(f.Calls, "call"), span(r.Length), r.brokenWords())
	if f.Calls == 1 {
		what = strings.Replace(what, " were made", " was made", 1)
	}
	switch {
	case f.Failed > 0:
		what += fmt.Sprintf(". %s failed", count(f.Failed))
		if r.stillFailing() {
			what += ", and calls still failed at the end"
		}
	case f.Refused > 0:
		what += ". None failed"
	default:
		what += ". Every one succeeded"
	}
	if f.Refused > 0 {
		what += fmt.Sprintf("; %s refused as they should be", wasWere(f.Refused))
	}
	if f.Slowest > 0 {
		what += ". The slowest took " + span(f.Slowest)
	}
	return what + "."
}

// stillFailing reports whether calls failed in the last second in which there were any: then how long failures lasted is
// only how long it was looked.
func (r *Report) stillFailing() bool {
	last := time.Duration(-1)
	for _, s := range r.Timeline {
		if s.OK+s.Failed+s.Refused > 0 {
			last = max(last, s.From)
		}
	}
	return slices.ContainsFunc(r.Timeline, func(s Slice) bool { return s.Failed > 0 && s.From > last-time.Second })
}

func wasWere(n int) string {
	if n == 1 {
		return "1 was"
	}
	return count(n) + " were"
}

func (r *Report) brokenWords() string {
	done := 0
	for _, f := range r.Faults {
		if f.Error == "" {
			done++
		}
	}
	switch done {
	case 0:
		return "nothing was broken on purpose"
	case 1:
		return "one thing was broken on purpose"
	}
	return count(done) + " things were broken on purpose"
}

// promises are expectations and invariants alike, as they are shown.
type promise struct {
	Name, Goal, Value string
	Detail            string // more about what is broken, in a sentence
	Mark              mark
}

// mark is what came of a promise.
type mark int

const (
	kept mark = iota
	missed
	unknown
)

// Word is for those who do not see colours.
func (m mark) Word() string { return [...]string{"kept", "missed", "not judged"}[m] }

// Sign is one character.
func (m mark) Sign() string { return [...]string{"✓", "✗", "?"}[m] }

// Class is the name of its style on the page.
func (m mark) Class() string { return [...]string{"good", "bad", "open"}[m] }

func expectationMark(e Expectation) mark {
	switch {
	case e.Unknown != "":
		return unknown
	case e.Kept:
		return kept
	}
	return missed
}

func answerMark(a check.Answer) mark {
	switch a {
	case check.Holds:
		return kept
	case check.Broken:
		return missed
	case check.Unknown:
	}
	return unknown
}

func (v Verdict) mark() mark {
	switch v {
	case NobodyNoticed:
		return kept
	case UsersNoticed:
		return missed
	case CouldNotRun:
	}
	return unknown
}

func (r *Report) promises() []promise {
	out := make([]promise, 0, len(r.Expectations)+len(r.Invariants))
	for _, e := range r.Expectations {
		p := promise{Name: e.Name, Goal: e.Goal, Value: e.Value, Mark: expectationMark(e)}
		if e.Unknown != "" {
			p.Value = e.Unknown
		}
		out = append(out, p)
	}
	for _, v := range r.Invariants {
		p := promise{Name: v.Name, Value: v.Says, Mark: answerMark(v.Answer)}
		if p.Detail = newHistory(v.History).Says; p.Detail == "" && len(v.Findings) > 0 {
			p.Detail = v.Findings[0]
			if more := len(v.Findings) - 1 + v.More; more > 0 {
				p.Detail += fmt.Sprintf(" (and %d more)", more)
			}
		}
		out = append(out, p)
	}
	return out
}

// reason is why a number of calls failed, as far as one explanation goes.
type reason struct {
	Explain string
	Calls   int
	Kinds   []string // of calls, in the order of their first failure
	First   time.Duration
	Last    time.Duration
}

// took is a duration as it is written in explanations. That each call took another time is no other reason.
var took = regexp.MustCompile(`\b\d+(\.\d+)? ?(µs|ms|s|min)\b`)

// reasonsOfCalls groups the failed calls that are known one by one, most first. A group has the words of its first.
func (r *Report) reasonsOfCalls() []reason {
	byText := map[string]*reason{}
	var out []*reason
	for _, f := range r.Failed {
		text := explained(f)
		key := took.ReplaceAllString(text, "")
		g := byText[key]
		if g == nil {
			g = &reason{Explain: text, First: f.Due, Last: f.Due}
			byText[key] = g
			out = append(out, g)
		}
		g.Calls++
		g.First, g.Last = min(g.First, f.Due), max(g.Last, f.Due)
		if !slices.Contains(g.Kinds, f.Call) {
			g.Kinds = append(g.Kinds, f.Call)
		}
	}
	slices.SortStableFunc(out, func(a, b *reason) int { return cmp.Compare(b.Calls, a.Calls) })
	all := make([]reason, len(out))
	for i, g := range out {
		all[i] = *g
	}
	return all
}

// explained is why a call failed, or else what it answered.
func explained(f Failure) string {
	switch {
	case f.Explain != "":
		return clean(f.Explain, maxText)
	case f.Status != "" && f.Error != "":
		return clean(f.Status+": "+f.Error, maxText)
	case f.Status != "" || f.Error != "":
		return clean(f.Status+f.Error, maxText)
	}
	return "no reason is known"
}

// shown are the failures in the order in which they were due.
func (r *Report) shown() []Failure {
	out := slices.Clone(r.Failed)
	slices.SortStableFunc(out, func(a, b Failure) int { return cmp.Compare(a.Due, b.Due) })
	return out[:min(len(out), MaxFailures)]
}

// unshown is how many failed calls are not among those.
func (r *Report) unshown() int { return r.MoreFailed + max(0, len(r.Failed)-MaxFailures) }

// lasting reports whether a fault ended at another time than it began. What a restart takes is its own business.
func (f Fault) lasting() bool { return f.Ended > f.Begun && f.Kind != "restart" }

// words are what was done and for how long, which What may say already.
func (f Fault) words() string {
	if !f.lasting() || strings.Contains(f.What, " for ") {
		return f.What
	}
	return f.What + " for " + span(f.Ended-f.Begun)
}

// status is what a sample answered, in a word.
func status(s load.Sample) string {
	if s.Status == "" {
		return "no answer"
	}
	return clean(s.Status, 64)
}

// says is what the host took, in words.
func (h *Host) says() string {
	return fmt.Sprintf("The host took %.0f %% of this machine's processors, %.0f %% at worst; what was measured has that in it.", 100*h.Share, 100*h.Most)
}
