package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
)

// Bounds of what a page shows; what is beyond is counted.
const (
	maxFaults   = 1000
	maxLanes    = 200
	maxOverview = 200
	maxReasons  = 12
)

// page is what page.tmpl shows. All text in it is as it came; the template escapes.
type page struct {
	Title  string
	Style  template.CSS
	Script template.JS
	Policy string

	System   string
	Mark     mark
	Verdict  string
	Sentence string
	Overview []overview // with several drills
	Drills   []article
}

// overview is a line of the table that several drills begin with.
type overview struct {
	ID, Name, Says string
	Mark           mark
	Verdict        string
	Success        string
	P99            string
}

// article is one drill.
type article struct {
	*Report

	ID        string
	Open      bool // not folded
	Mark      mark
	Title     string
	Heading   string // the verdict
	Sentence  string
	Reasons   []string
	Tiles     []tile
	Promises  []promise
	Checks    []invariant
	Notes     []string
	Chart     *chart
	FaultRows []faultRow
	MoreFault int
	CallRows  []callRow
	Groups    []reason
	MoreGroup int
	Failures  []failureRow
	Unshown   int
	Kinds     []string // of the failed calls
	When      string
}

// tile is one figure.
type tile struct {
	Name, Value, Note string
	Bad               bool
}

// invariant is one that has more to say than a line.
type invariant struct {
	Name, Says string
	Mark       mark
	At         string
	Findings   []string
	More       int
	History    *history
}

type faultRow struct {
	At, What, For, Failed, Mask, Error string
	Bad                                bool
}

type callRow struct {
	Name                                                 string
	Calls, Failed, Refused, Success, P50, P99, P999, Max string
	Bad                                                  bool
}

type failureRow struct {
	At, Call, Status, Took, Instance, Attempts, During, Explain, Error, Vars string
}

func newPage(reports []*Report) page {
	worst := Worst(reports...)
	p := page{Mark: worst.mark(), Verdict: capital(worst.String())}
	var systems []string
	for i, r := range reports {
		a := newArticle(r)
		a.ID = fmt.Sprintf("drill-%d", i+1)
		a.Open = len(reports) == 1 || a.Mark != kept
		p.Drills = append(p.Drills, a)
		if s := clean(r.System, 128); !slices.Contains(systems, s) {
			systems = append(systems, s)
		}
		if len(reports) > 1 && i < maxOverview {
			o := overview{
				ID: a.ID, Name: clean(r.Drill, 256), Mark: a.Mark, Verdict: r.Verdict().String(), Says: "",
				Success: percent(r.Figures.Success), P99: span(r.Figures.P99),
			}
			if r.Figures.Calls == 0 {
				o.Success, o.P99 = "–", "–"
			}
			if len(a.Reasons) > 0 {
				o.Says = a.Reasons[0]
			}
			p.Overview = append(p.Overview, o)
		}
	}
	p.System = strings.Join(systems, ", ")
	p.Title = fmt.Sprintf("%s: %s", p.System, worst)
	if len(reports) == 1 {
		p.Title = fmt.Sprintf("%s %s: %s", p.System, clean(reports[0].Drill, 128), worst)
	}
	p.Sentence = overall(reports)
	return p
}

// overall is the sentence above an overview.
func overall(reports []*Report) string {
	calls, failed, noticed, not := 0, 0, 0, 0
	for _, r := range reports {
		calls, failed = calls+r.Figures.Calls, failed+r.Figures.Failed
		switch r.Verdict() {
		case UsersNoticed:
			noticed++
		case CouldNotRun:
			not++
		case NobodyNoticed:
		}
	}
	text := fmt.Sprintf("%s, %s, %s failed.", counted(len(reports), "drill"), counted(calls, "call"), count(failed))
	if noticed > 0 {
		text += fmt.Sprintf(" Users noticed in %d.", noticed)
	}
	if not > 0 {
		text += fmt.Sprintf(" %d could not be run or judged.", not)
	}
	if noticed+not == 0 && len(reports) > 0 {
		text += " Nobody noticed in any of them."
	}
	return text
}

func newArticle(r *Report) article {
	v := r.Verdict()
	a := article{
		Report: r, Mark: v.mark(), Title: clean(r.Drill, 256), Heading: capital(v.String()), Sentence: r.sentence(), Reasons: r.Reasons(), Tiles: r.tiles(),
		Promises: r.promises(), Groups: r.reasonsOfCalls(), Unshown: r.unshown(), Chart: newChart(r),
		When: r.Began.UTC().Format("2 January 2006, 15:04:05 UTC"),
	}
	for _, inv := range r.Invariants {
		if inv.Answer == check.Holds && len(inv.Findings) == 0 && len(inv.History) == 0 {
			continue
		}
		row := invariant{Name: inv.Name, Says: inv.Says, Mark: answerMark(inv.Answer), More: inv.More}
		if inv.At > 0 {
			row.At = moment(inv.At, r.Length)
		}
		for i, f := range inv.Findings {
			if i >= check.MaxFindings {
				row.More += len(inv.Findings) - i
				break
			}
			row.Findings = append(row.Findings, clean(f, maxText))
		}
		if len(inv.History) > 0 {
			h := newHistory(inv.History)
			row.History = &h
		}
		if row.Mark != kept || len(row.Findings) > 0 || row.History != nil {
			a.Checks = append(a.Checks, row)
		}
	}
	if more := len(a.Groups) - maxReasons; more > 0 {
		a.Groups, a.MoreGroup = a.Groups[:maxReasons], more
	}
	for _, l := range r.LeftOut {
		a.Notes = append(a.Notes, "Left out: "+clean(l, maxText))
	}
	if r.HeldUp > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("The machine held up the drill itself for at most %s at a time; what was measured then has that in it.", span(r.HeldUp)))
	}
	if r.Host != nil {
		a.Notes = append(a.Notes, r.Host.says())
	}
	for i, f := range r.Faults {
		if i >= maxFaults {
			a.MoreFault = len(r.Faults) - i
			break
		}
		a.FaultRows = append(a.FaultRows, r.faultRow(f))
	}
	for _, c := range r.Calls {
		a.CallRows = append(a.CallRows, callRow{
			Name: clean(c.Name, 256), Calls: count(c.Calls), Failed: count(c.Failed), Refused: count(c.Refused), Success: percent(c.Success),
			P50: span(c.P50), P99: span(c.P99), P999: span(c.P999), Max: span(c.Slowest), Bad: c.Failed > 0,
		})
	}
	for _, f := range r.shown() {
		a.Failures = append(a.Failures, r.failureRow(f))
		if kind := clean(f.Call, 256); !slices.Contains(a.Kinds, kind) {
			a.Kinds = append(a.Kinds, kind)
		}
	}
	return a
}

func (r *Report) faultRow(f Fault) faultRow {
	row := faultRow{At: moment(f.Begun, r.Length), What: clean(f.What, maxText), Error: clean(f.Error, maxText), Failed: count(f.Failed), Mask: "–", Bad: f.Failed > 0}
	if f.lasting() {
		row.For = span(f.Ended - f.Begun)
	}
	if f.Failed > 0 {
		row.Mask = span(f.Mask)
	}
	return row
}

func (r *Report) failureRow(f Failure) failureRow {
	row := failureRow{
		At: moment(f.Due, r.Length), Call: clean(f.Call, 256), Status: status(f.Sample), Took: span(f.Took), Instance: clean(f.Instance, 128),
		Explain: explained(f), Error: clean(f.Error, maxText),
	}
	if f.Attempts > 0 {
		row.Attempts = fmt.Sprint(f.Attempts)
	}
	var during []string
	for _, d := range f.During {
		during = append(during, clean(d, 256))
	}
	row.During = clean(strings.Join(during, "; "), maxText)
	row.Vars = clean(pairs(f.Vars), maxText)
	return row
}

// pairs are the variables of a call in the order of their names.
func pairs(vars map[string]string) string {
	names := make([]string, 0, len(vars))
	for name := range vars {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = name + "=" + vars[name]
	}
	return strings.Join(names, ", ")
}

// capital is for text that stands alone.
func capital(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// tiles are the figures that stand first.
func (r *Report) tiles() []tile {
	f := r.Figures
	if f.Calls == 0 {
		return nil
	}
	missed := func(name string) bool {
		return slices.ContainsFunc(r.Expectations, func(e Expectation) bool { return e.Name == name && expectationMark(e) == missed })
	}
	lasted := "at most, from a fault on"
	if r.stillFailing() {
		lasted = "and had not ended"
	}
	out := []tile{
		{Name: "Calls succeeded", Value: percent(f.Success), Note: fmt.Sprintf("%s of %s", count(f.OK), count(f.OK+f.Failed)), Bad: f.Failed > 0 && missed("success")},
		{Name: "Half took at most", Value: span(f.P50), Note: calm(f.CalmP50), Bad: missed("p50")},
		{Name: "99 % took at most", Value: span(f.P99), Note: calm(f.CalmP99), Bad: missed("p99")},
		{Name: "The slowest took", Value: span(f.Slowest), Note: "99.9 %: " + span(f.P999), Bad: missed("p99.9")},
		{Name: "Failures lasted", Value: span(f.Mask), Note: lasted, Bad: missed("mask")},
		{Name: "Slowness lasted", Value: span(f.Recover), Note: "at most, from a fault on", Bad: missed("recover")},
	}
	if a := finite(f.Amplification); a > 0 {
		out = append(out, tile{Name: "Attempts a call", Value: digits(a), Note: "1: nothing is repeated", Bad: missed("amplification")})
	}
	return out
}

func calm(before time.Duration) string {
	if before <= 0 {
		return ""
	}
	return span(before) + " before the faults"
}
