package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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

// printer collects lines of at most width columns.
type printer struct {
	Screen

	width, height int
	room          int // lines that are left for lists
	lines         []string
}

// colors are of the eight that every theme makes readable.
var colors = [...]string{kept: "32", missed: "31", unknown: "33"}

const dim, bold = "2", "1"

func newPrinter(s Screen) *printer {
	p := &printer{Screen: s, width: 80, height: 40}
	if s.Width > 0 {
		p.width = min(120, max(40, s.Width))
	}
	if s.Height > 0 {
		p.height = s.Height
	}
	return p
}

func (p *printer) String() string { return strings.Join(p.lines, "\n") + "\n" }

func (p *printer) line(text string) { p.lines = append(p.lines, strings.TrimRight(text, " ")) }

func (p *printer) paint(style, text string) string {
	if !p.Color || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *printer) mark(m mark) string {
	sign := m.Sign()
	if p.ASCII {
		sign = [...]string{"+", "x", "?"}[m]
	}
	return p.paint(colors[m], sign)
}

// fit makes text from outside one line of at most columns.
func (p *printer) fit(text string, columns int) string {
	text = clean(text, maxText)
	if runes(text) <= columns {
		return text
	}
	end := "…"
	if p.ASCII {
		end = "..."
	}
	cut := max(0, columns-runes(end))
	for i := range text {
		if cut == 0 {
			return text[:i] + end
		}
		cut--
	}
	return text
}

// wrap writes text over lines, the first of which begins with lead and the others with as many blanks.
func (p *printer) wrap(lead, text string, most int) {
	indent := strings.Repeat(" ", columnsOf(lead))
	columns := max(20, p.width-len(indent))
	words := strings.Fields(clean(text, maxText))
	for n := 0; len(words) > 0 && n < most; n++ {
		line := p.fit(words[0], columns)
		used := 1
		for used < len(words) && runes(line)+1+runes(words[used]) <= columns {
			line += " " + words[used]
			used++
		}
		if n == most-1 && used < len(words) {
			line = p.fit(strings.Join(words, " "), columns)
		}
		p.line(lead + line)
		lead, words = indent, words[used:]
	}
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

var (
	sparks      = []rune("▁▂▃▄▅▆▇█")
	sparksASCII = []rune("_.-=+*#@")
)

// spark is one character for v of most.
func (p *printer) spark(v, most float64) string {
	set := sparks
	if p.ASCII {
		set = sparksASCII
	}
	if v <= 0 || most <= 0 {
		return " "
	}
	return string(set[min(len(set)-1, int(v/most*float64(len(set))))])
}

// chart draws the timeline in four lines.
func (p *printer) chart(r *Report) {
	const left, right = 10, 12
	if len(r.Timeline) == 0 || r.Figures.Calls == 0 {
		return
	}
	t := newTimeline(r, p.width-left-right)
	var calls, failed, slow, broken strings.Builder
	most, peak, failures := 0.0, time.Duration(0), 0
	low := time.Duration(math.MaxInt64)
	for i, b := range t.bins {
		most = max(most, t.rate(i, b.OK+b.Failed+b.Refused))
		peak = max(peak, b.P99)
		if b.P99 > 0 {
			low = min(low, b.P99)
		}
		failures += b.Failed
	}
	during := t.during(r.Faults)
	for i, b := range t.bins {
		calls.WriteString(p.spark(t.rate(i, b.OK+b.Failed+b.Refused), most))
		switch {
		case b.Failed == 0:
			failed.WriteString(p.glyph("·", "."))
		case b.Failed < 10:
			failed.WriteString(strconv.Itoa(b.Failed))
		default:
			failed.WriteString(p.glyph("█", "#"))
		}
		// A logarithm: a peak of seconds would hide what is a hundred milliseconds.
		slow.WriteString(p.spark(logShare(b.P99, low, peak), 1))
		switch during[i] {
		case 0:
			broken.WriteString(" ")
		case 1:
			broken.WriteString(p.glyph("▒", "-"))
		default:
			broken.WriteString(p.glyph("▓", "="))
		}
	}
	row := func(name, style string, b *strings.Builder, said string) {
		p.line(pad(name, left) + p.paint(style, b.String()) + "  " + p.paint(dim, p.fit(said, right-2)))
	}
	p.line("")
	row("calls/s", "36", &calls, "≤ "+digits(most))
	if failures > 0 {
		row("failed", colors[missed], &failed, count(failures))
	}
	row("p99", "34", &slow, "≤ "+span(peak))
	if len(r.Faults) > 0 {
		row("broken", "33", &broken, counted(len(r.Faults), "fault"))
	}
	axis := []rune(strings.Repeat(" ", len(t.bins)+right))
	free := 0
	for _, k := range t.ticks(max(2, len(t.bins)/10)) {
		at := int(t.share(k.At) * float64(len(t.bins)))
		if at < free || at+runes(k.Label) > len(axis) {
			continue
		}
		copy(axis[at:], []rune(k.Label))
		free = at + runes(k.Label) + 1
	}
	p.line(strings.Repeat(" ", left) + p.paint(dim, strings.TrimRight(string(axis), " ")))
}

// during counts the faults that are in force in each bin.
func (t timeline) during(faults []Fault) []int {
	out := make([]int, len(t.bins))
	for _, f := range faults {
		first := int(max(0, f.Begun) / t.step)
		last := first
		if f.lasting() {
			last = int((f.Ended - 1) / t.step)
		}
		for i := first; i <= last && i < len(out); i++ {
			out[i]++
		}
	}
	return out
}

// logShare is where d is between low and high by order of magnitude, more than 0 for what is more than nothing.
func logShare(d, low, high time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	if high <= low {
		return 0.05
	}
	return max(0.05, math.Log(float64(d)/float64(low))/math.Log(float64(high)/float64(low)))
}

func (p *printer) glyph(text, ascii string) string {
	if p.ASCII {
		return ascii
	}
	return text
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
		p.wrap(fmt.Sprintf("%5s× ", count(g.Calls)), strings.Join(g.Kinds, ", ")+": "+g.Explain, 2)
	}
	if len(groups) > n || r.unshown() > 0 {
		p.line(p.fit(fmt.Sprintf("       and %s, %s not looked at one by one", counted(len(groups)-n, "other reason"), counted(r.unshown(), "call")), p.width))
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
		text := f.What
		if f.lasting() {
			text += " for " + span(f.Ended-f.Begun)
		}
		line := padLeft(moment(f.Begun, r.Length), when) + "  " + pad(p.fit(text, what), what)
		if f.Error != "" {
			p.line(line + " " + p.mark(unknown) + " " + p.fit(f.Error, 24))
			continue
		}
		failed, mask := padLeft(count(f.Failed), 8), "none failed"
		if f.Failed > 0 {
			failed, mask = p.paint(colors[missed], failed), span(f.Mask)
		}
		p.line(line + failed + "  " + mask)
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
	if r.HeldUp > 100*time.Millisecond {
		p.wrap("", fmt.Sprintf("This machine held up the drill itself for up to %s; times have that in them.", span(r.HeldUp)), 2)
	}
	p.line(p.paint(dim, "again: ") + clean(r.Command, maxText)) // not cut: it is there to be copied
}

// columnsOf counts the runes of text that was painted.
func columnsOf(text string) int {
	n := 0
	for i := 0; i < len(text); i++ {
		if text[i] == 0x1b {
			if end := strings.IndexByte(text[i:], 'm'); end > 0 {
				i += end
				continue
			}
		}
		if text[i]&0xC0 != 0x80 {
			n++
		}
	}
	return n
}

func runes(text string) int { return utf8.RuneCountInString(text) }

func pad(text string, columns int) string {
	return text + strings.Repeat(" ", max(0, columns-runes(text)))
}

func padLeft(text string, columns int) string {
	return strings.Repeat(" ", max(0, columns-runes(text))) + text
}
