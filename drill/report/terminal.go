package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Screen is what a report is written to for people to read. The zero value is 80 columns, 40 rows, no colours.
type Screen struct {
	Width  int  // columns; 0 is 80; what is narrower than 40 is taken for 40, what is wider than 120 for 120
	Height int  // rows that the report should fit into, lists are shortened for it; 0 is 40
	Color  bool // only for terminals whose user has not said NO_COLOR
	ASCII  bool // nothing beyond ASCII of the report's own; names and messages are written as they are
}

// Terminal writes one report so that it fits on a screen: the verdict, why, the timeline, what was expected, what was
// broken on purpose, why calls failed, what to change, and how to do it again. Errors are those of w.
func Terminal(w io.Writer, r *Report, s Screen) error {
	p := newPrinter(s)
	p.head(r)
	p.chart(r)
	p.promises(r)
	// What is left of the screen is shared by what may be long.
	p.room = max(12, p.height-len(p.lines)-2)
	p.why(r)
	p.advice(r)
	p.room = max(4, min(p.room, p.height-len(p.lines)-2-2*len(r.disturbed()))) // lines were wrapped
	p.broken(r)
	p.tail(r)
	_, err := io.WriteString(w, p.String())
	return err
}

// Summary writes one line for each of several reports, and what they come to. Errors are those of w.
func Summary(w io.Writer, s Screen, reports ...*Report) error {
	p := newPrinter(s)
	name := 5
	for _, r := range reports {
		name = max(name, runes(clean(r.Drill, 256)))
	}
	name = min(name, p.width/3)
	counts := map[Verdict]int{}
	for _, r := range reports {
		v := r.Verdict()
		counts[v]++
		said := percent(r.Figures.Success) + " of " + counted(r.Figures.Calls, "call")
		if reasons := r.Reasons(); len(reasons) > 0 {
			said = reasons[0]
		}
		p.line(p.mark(v.mark()) + " " + pad(clean(r.Drill, 256), name) + "  " + p.fit(said, p.width-name-5))
	}
	p.line("")
	worst := Worst(reports...)
	text := strings.ToUpper(worst.String())
	var parts []string
	for _, v := range []Verdict{NobodyNoticed, UsersNoticed, CouldNotRun} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	if len(parts) == 0 {
		parts = []string{"no drill was run"}
	}
	p.line(p.paint(colors[worst.mark()]+";1", text) + "  " + p.fit(counted(len(reports), "drill")+": "+strings.Join(parts, ", "), p.width-len(text)-3))
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *printer) head(r *Report) {
	v := r.Verdict()
	text := strings.ToUpper(v.String())
	p.line("")
	title := p.fit(r.System+": "+r.Drill, max(0, p.width-runes(text)-5))
	p.line(p.paint(colors[v.mark()]+";7;1", " "+text+" ") + "  " + p.paint(bold, title))
	if r.About != "" {
		p.wrap("", r.About, 2)
	}
	p.wrap("", r.sentence(), 3)
	reasons := r.Reasons()
	if len(reasons) == 0 {
		return
	}
	// What was missed stands below, one by one; here is what would not be seen otherwise.
	if v == CouldNotRun {
		for _, reason := range reasons[:min(3, len(reasons))] {
			p.wrap(p.mark(unknown)+" ", reason, 2)
		}
		if len(reasons) > 3 {
			p.line(fmt.Sprintf("  and %d more reasons", len(reasons)-3))
		}
	}
}

func (p *printer) promises(r *Report) {
	all := r.promises()
	if len(all) == 0 {
		return
	}
	p.line("")
	// What was not kept comes first: it is what the reader is here for, and what must not be cut.
	slices.SortStableFunc(all, func(a, b promise) int { return rank(a.Mark) - rank(b.Mark) })
	name, goal := 0, 0
	for _, e := range all {
		name, goal = max(name, runes(clean(e.Name, 256))), max(goal, runes(clean(e.Goal, 256)))
	}
	name, goal = min(name, p.width/3), min(goal, p.width/3)
	for i, e := range all {
		if left := len(all) - i; i >= max(6, p.height/3) && left > 1 {
			p.line(fmt.Sprintf("  and %d more", left))
			break
		}
		line := p.mark(e.Mark) + " " + pad(p.fit(e.Name, name), name) + "  "
		switch {
		case e.Goal != "" && e.Mark == unknown:
			p.line(line + p.fit(e.Value, p.width-name-4))
		case e.Goal != "":
			p.line(line + p.paint(dim, pad(p.fit(e.Goal, goal), goal)) + "  " + p.fit(e.Value, p.width-name-goal-6))
		case e.Mark == kept: // an invariant speaks a sentence
			p.line(line + p.fit(e.Value, p.width-name-4))
		default:
			p.wrap(line, e.Value, 3)
			p.wrap(strings.Repeat(" ", name+4), e.Detail, 3)
		}
	}
}

// rank is the order in which promises are shown.
func rank(m mark) int { return [...]int{kept: 2, missed: 0, unknown: 1}[m] }

// take is how many of n lines may be written, with one for the heading and one for the rest.
func (p *printer) take(n, most int) int {
	k := min(n, most, max(1, p.room-2))
	p.room -= k + 2
	return k
}

func (p *printer) why(r *Report) {
	groups := r.reasonsOfCalls()
	if len(groups) == 0 {
		return
	}
	p.line("")
	p.line(p.paint(bold, "why calls failed"))
	n := p.take(len(groups), 4)
	for _, g := range groups[:n] {
		p.wrap(fmt.Sprintf("%5s%s ", count(g.Calls), p.glyph("×", "x")), strings.Join(g.Kinds, ", ")+": "+g.Explain, 2)
	}
	var rest []string
	if more := len(groups) - n; more > 0 {
		rest = append(rest, counted(more, "other reason"))
	}
	if more := r.unshown(); more > 0 {
		rest = append(rest, counted(more, "call")+" not looked at one by one")
	}
	if len(rest) > 0 {
		p.line(p.fit("       and "+strings.Join(rest, ", "), p.width))
	}
}

func (p *printer) advice(r *Report) {
	if len(r.Advice) == 0 {
		return
	}
	p.line("")
	p.line(p.paint(bold, "what to change"))
	for i, a := range r.Advice[:p.take(len(r.Advice), 4)] {
		p.wrap(fmt.Sprintf("  %d. ", i+1), a, 3)
	}
}

// broken lists faults: those that users noticed or that took longest first, when there is no room for all.
func (p *printer) broken(r *Report) {
	if len(r.Faults) == 0 {
		return
	}
	n := p.take(len(r.Faults), 12)
	worst := slices.Clone(r.Faults)
	slices.SortStableFunc(worst, func(a, b Fault) int {
		return compareFaults(b, a)
	})
	worst = worst[:n]
	slices.SortStableFunc(worst, func(a, b Fault) int { return int(a.Begun/time.Millisecond) - int(b.Begun/time.Millisecond) })

	title := "broken on purpose"
	if n < len(r.Faults) {
		title += fmt.Sprintf(", the worst %d of %d", n, len(r.Faults))
	}
	when := 7
	what := p.width - when - 30
	p.line("")
	p.line(p.paint(bold, pad(p.fit(title, when+what+3), when+what+4)) + p.paint(dim, "failed  masked after"))
	for _, f := range worst {
		text := f.words()
		line := padLeft(moment(f.Begun, r.Length), when) + "  " + pad(p.fit(text, what), what)
		if f.Error != "" {
			p.line(line + " " + p.mark(unknown) + " " + p.fit(f.Error, 24))
			continue
		}
		failed, mask := padLeft("none", 8), ""
		if f.Failed > 0 {
			failed, mask = p.paint(colors[missed], padLeft(count(f.Failed), 8)), "  "+span(f.Mask)
		}
		p.line(line + failed + mask)
	}
}

// compareFaults orders by how much harm was done.
func compareFaults(a, b Fault) int {
	switch {
	case (a.Error != "") != (b.Error != ""):
		if a.Error != "" {
			return 1
		}
		return -1
	case a.Failed != b.Failed:
		return a.Failed - b.Failed
	case a.Mask != b.Mask:
		if a.Mask > b.Mask {
			return 1
		}
		return -1
	}
	return 0
}

func (p *printer) tail(r *Report) {
	p.line("")
	for i, l := range r.LeftOut {
		if i == 2 && len(r.LeftOut) > 3 {
			p.line(fmt.Sprintf("left out: %d more", len(r.LeftOut)-i))
			break
		}
		p.wrap("left out: ", l, 2)
	}
	for _, l := range r.disturbed() {
		p.wrap("", l, 2)
	}
	p.line(p.paint(dim, "again: ") + clean(r.Command, maxText)) // not cut: it is there to be copied
}

// disturbed is what the machine did to the drill itself, in two lines at most each.
func (r *Report) disturbed() (out []string) {
	if r.HeldUp > 100*time.Millisecond {
		out = append(out, fmt.Sprintf("This machine held up the drill itself for up to %s; times have that in them.", span(r.HeldUp)))
	}
	if r.Host != nil {
		out = append(out, r.Host.says())
	}
	return out
}
