package report

import (
	"encoding/json"
	"io"
	"slices"
)

// judged is a report with what follows from it, for programs that read JSON.
type judged struct {
	Verdict  string   `json:"verdict"`
	ExitCode int      `json:"exit_code"`
	Reasons  []string `json:"reasons,omitempty"`
	*Report
}

// JSON writes {"verdict", "exit_code", "drills": [...]}, in which each is a Report with its own verdict, exit_code and
// reasons. The lists of a Report are never null. Errors are those of w.
func JSON(w io.Writer, reports ...*Report) error {
	all := struct {
		Verdict  string   `json:"verdict"`
		ExitCode int      `json:"exit_code"`
		Drills   []judged `json:"drills"`
	}{Drills: []judged{}}
	worst := Worst(reports...)
	all.Verdict, all.ExitCode = worst.String(), worst.ExitCode()
	for _, r := range reports {
		v, reasons := r.judge()
		all.Drills = append(all.Drills, judged{Verdict: v.String(), ExitCode: v.ExitCode(), Reasons: reasons, Report: r.plain()})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(all)
}

// plain is a copy that JSON can hold: no shares that are no numbers, no lists that are null.
func (r *Report) plain() *Report {
	c := *r
	c.Figures = c.Figures.plain()
	c.Calls = slices.Clone(c.Calls)
	for i := range c.Calls {
		c.Calls[i].Figures = c.Calls[i].Figures.plain()
	}
	notNil(&c.Calls)
	notNil(&c.Faults)
	notNil(&c.Expectations)
	notNil(&c.Invariants)
	notNil(&c.Timeline)
	notNil(&c.Instances)
	notNil(&c.Failed)
	if c.Host != nil {
		host := *c.Host
		notNil(&host.Spans)
		c.Host = &host
	}
	return &c
}

func notNil[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}

func (f Figures) plain() Figures {
	f.Success, f.Amplification = finite(f.Success), finite(f.Amplification)
	return f
}
