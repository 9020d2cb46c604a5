package trial

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Unit is what a figure is measured in. It decides how the figure is printed.
type Unit string

// The units.
const (
	Share   Unit = "%" // of 1
	Millis  Unit = "ms"
	Seconds Unit = "s"
	Times   Unit = "x"
	Count   Unit = ""
	PerSec  Unit = "/s"
)

func (u Unit) format(v float64) string {
	switch u {
	case Share:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", 100*v), "0"), ".") + " %"
	case Millis:
		return fmt.Sprintf("%.1f ms", v)
	case Seconds:
		return fmt.Sprintf("%.1f s", v)
	case Times:
		return fmt.Sprintf("%.3f", v)
	case PerSec:
		return fmt.Sprintf("%.0f/s", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// Promise is what is promised of a figure. The zero value promises nothing: the figure is only shown.
type Promise struct {
	sign  string
	limit float64
	worst bool
}

// AtMost promises that the median over the seeds does not exceed limit.
func AtMost(limit float64) Promise { return Promise{sign: "≤", limit: limit} }

// AtLeast promises that the median over the seeds does not fall below limit.
func AtLeast(limit float64) Promise { return Promise{sign: "≥", limit: limit} }

// Below promises that the median over the seeds is less than limit.
func Below(limit float64) Promise { return Promise{sign: "<", limit: limit} }

// Always makes the promise one of every seed: the worst counts instead of the median.
func (p Promise) Always() Promise {
	p.worst = true
	return p
}

func (p Promise) kept(v float64) bool {
	switch p.sign {
	case "≤":
		return v <= p.limit
	case "≥":
		return v >= p.limit
	case "<":
		return v < p.limit
	default:
		return true
	}
}

// Line is one figure of a report.
type Line struct {
	Case     string    `json:"case"`
	Name     string    `json:"name"`
	Unit     Unit      `json:"unit"`
	Promised string    `json:"promised,omitempty"`
	Measured float64   `json:"measured"`
	Seeds    []float64 `json:"seeds"`
	Kept     *bool     `json:"kept,omitempty"`

	promise Promise
}

// Report collects figures over cases and seeds.
type Report struct{ list []*Line }

func (r *Report) add(c, name string, v float64, unit Unit, p Promise) {
	for _, l := range r.list {
		if l.Case == c && l.Name == name {
			l.Seeds = append(l.Seeds, v)
			return
		}
	}
	r.list = append(r.list, &Line{Case: c, Name: name, Unit: unit, Seeds: []float64{v}, promise: p})
}

// lines returns the lines, with what was measured and, if they are to be judged, whether it was kept.
func (r *Report) lines(judge bool) []*Line {
	for _, l := range r.list {
		sorted := slices.Sorted(slices.Values(l.Seeds))
		l.Measured = sorted[len(sorted)/2]
		if l.promise.sign == "" {
			continue
		}
		l.Promised = l.promise.sign + " " + l.Unit.format(l.promise.limit)
		if l.promise.worst {
			l.Promised += " (worst)"
			l.Measured = sorted[len(sorted)-1]
			if l.promise.sign == "≥" {
				l.Measured = sorted[0]
			}
		}
		if judge {
			kept := l.promise.kept(l.Measured)
			l.Kept = &kept
		}
	}
	return r.list
}

func (r *Report) broken() bool {
	return slices.ContainsFunc(r.lines(true), func(l *Line) bool { return l.Kept != nil && !*l.Kept })
}

func (r *Report) print(out io.Writer, judge bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\tfigure\tpromised\tmeasured\tby seed\t")
	last := ""
	for _, l := range r.lines(judge) {
		name, verdict := l.Case, ""
		if name == last {
			name = ""
		}
		last = l.Case
		if l.Kept != nil {
			verdict = "ok"
			if !*l.Kept {
				verdict = "BROKEN"
			}
		}
		seeds := make([]string, len(l.Seeds))
		for i, v := range l.Seeds {
			seeds[i] = l.Unit.format(v)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, l.Name, l.Promised, l.Unit.format(l.Measured), strings.Join(seeds, "  "), verdict)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
