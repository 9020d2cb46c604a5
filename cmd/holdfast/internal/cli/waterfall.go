//go:build unix

package cli

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// plainWidth is how wide a waterfall is where there is no terminal, barLeast the least that its bars may have.
	plainWidth = 120
	barLeast   = 12
	// shownSpans bounds what is drawn: a trace of thousands of messages is read in JSON.
	shownSpans = 400
)

// A bar is a line of a waterfall: a span, and what is said of it.
type bar struct {
	indent string
	label  string
	after  string // how long, and what came of it
	style  terminal.Style
	start  time.Time
	took   time.Duration
	lost   bool // an attempt whose answer was not the one that counted
}

// printTrace shows a trace as a waterfall.
func (a *app) printTrace(t control.Trace) {
	a.printf("%s  %s of %s  %s", a.out.Paint(terminal.Dim, "trace "+terminal.Clean(t.ID)),
		a.out.Paint(terminal.Bold, terminal.Clean(t.Root)), terminal.Clean(t.Service), a.paintStatus(t.Status))
	facts := []string{t.Start.Local().Format("2006-01-02 15:04:05.000"), "took " + latency(t.Duration), plural(t.Spans, "span"), plural(t.Attempts, "attempt")}
	if t.Keep != "" {
		facts = append(facts, "kept because "+terminal.Clean(t.Keep))
	}
	a.printf("%s", a.out.Paint(terminal.Dim, strings.Join(facts, ", ")+"; through "+terminal.Clean(strings.Join(t.Services, ", "))))
	if t.Error != "" {
		a.printf("%s", a.out.Paint(terminal.Red, terminal.Clean(t.Error)))
	}
	if t.Incomplete != "" {
		a.printf("%s", a.out.Paint(terminal.Yellow, "not all of it is here: "+terminal.Clean(t.Incomplete)))
	}
	a.printf("")
	spans := t.Tree
	if len(spans) > shownSpans {
		defer a.note("and %s; all of them: holdfast trace --json %s", plural(len(spans)-shownSpans, "span"), short12(t.ID))
		spans = spans[:shownSpans]
	}
	columns := plainWidth
	if a.out.Redraw {
		columns, _ = terminal.Size(a.Out)
	}
	for _, line := range a.waterfall(a.bars(spans), columns) {
		a.printf("%s", line)
	}
	a.printTraceLogs(t)
	if t.Status != control.TraceOK {
		a.printf("\n%s", a.out.Paint(terminal.Dim, "in words: "+a.name+" explain "+short12(t.ID)))
	}
}

func (a *app) printTraceLogs(t control.Trace) {
	if len(t.Logs) == 0 {
		return
	}
	a.printf("\n%s", a.out.Paint(terminal.Dim, "what was written meanwhile:"))
	widest := 0
	for _, l := range t.Logs {
		widest = max(widest, len(l.Instance))
	}
	for _, l := range t.Logs {
		l.Text = terminal.Clean(l.Text)
		a.printf("%s", a.logLine(l, widest, true))
	}
}

// node is a span with those below it.
type node struct {
	control.Span
	below []*node
}

// forest makes trees of spans that are listed depth first.
func forest(spans []control.Span) []*node {
	var roots, path []*node
	for _, s := range spans {
		n := &node{Span: s}
		depth := min(max(0, s.Depth), len(path))
		path = append(path[:depth], n)
		if depth == 0 {
			roots = append(roots, n)
			continue
		}
		above := path[depth-1]
		above.below = append(above.below, n)
	}
	return roots
}

// bars are the lines of a waterfall, in their order: the attempts of a call side by side, and then what each of them set off,
// which follows at once where there is but one.
func (a *app) bars(spans []control.Span) []bar {
	var out []bar
	var walk func(n *node, indent, prefix string)
	walk = func(n *node, indent, prefix string) {
		b := a.bar(n.Span, indent, prefix)
		out = append(out, b)
		var attempts, others []*node
		for _, c := range n.below {
			if attemptOf(c.Span) > 0 {
				attempts = append(attempts, c)
			} else {
				others = append(others, c)
			}
		}
		inner := indent + "  "
		if len(attempts) > 1 {
			for _, c := range attempts {
				out = append(out, a.bar(c.Span, inner, ""))
			}
			for _, c := range attempts {
				for _, d := range c.below {
					walk(d, inner+"  ", "["+strconv.Itoa(attemptOf(c.Span))+"] ")
				}
			}
		} else {
			for _, c := range attempts {
				walk(c, inner, "")
			}
		}
		for _, c := range others {
			walk(c, inner, "")
		}
	}
	for _, n := range forest(spans) {
		walk(n, "", "")
	}
	return out
}

// attemptOf is which attempt of a call a span is, 0 if it is none: what serves one has its number, too.
func attemptOf(s control.Span) int {
	if s.Kind != control.SpanClient {
		return 0
	}
	return intOf(s.Attributes["holdfast.attempt"])
}

func intOf(v any) int {
	switch n := v.(type) {
	case int64:
		return int(n)
	case int:
		return n
	case float64:
		if n > 0 && n < math.MaxInt32 {
			return int(n)
		}
	}
	return 0
}

func boolOf(v any) bool { b, _ := v.(bool); return b }

func textOf(v any) string { s, _ := v.(string); return s }

// bar says of a span what is worth a line.
func (a *app) bar(s control.Span, indent, prefix string) bar {
	b := bar{indent: indent, start: s.Start, took: s.Duration, style: terminal.Green}
	failed := s.Code != "" && s.Code != "OK" || s.Error != ""
	after := []string{latency(s.Duration)}
	at := s.Attributes
	if n := attemptOf(s); n > 0 {
		to := terminal.Clean(textOf(at["holdfast.peer.instance"]))
		if to == "" {
			to = terminal.Clean(textOf(at["network.peer.address"]))
		}
		if to == "" {
			to = "nobody"
		}
		b.label = prefix + strconv.Itoa(n) + " " + a.out.Glyph("→", "->") + " " + to
		if boolOf(at["holdfast.attempt.hedge"]) {
			b.label += " (hedge)"
		}
		if boolOf(at["holdfast.attempt.lost"]) {
			b.lost, b.style = true, terminal.Dim
			after = append(after, "not waited for")
			failed = false
		}
	} else {
		who := s.Instance
		if who == "" {
			who = s.Service
		}
		b.label = prefix + terminal.Clean(who+" "+s.Name)
		if n := intOf(at["holdfast.call.attempts"]); n > 1 {
			after = append(after, plural(n, "attempt"))
		}
		if by := textOf(at["holdfast.call.refused_by"]); by != "" {
			after = append(after, "refused by "+by)
		}
		switch verdict := textOf(at["holdfast.admission"]); verdict {
		case "", "admitted":
		default:
			after = append(after, verdict)
		}
		if ms := intOf(at["holdfast.waited_ms"]); ms > 0 {
			after = append(after, fmt.Sprintf("waited %dms", ms))
		}
	}
	if verdict := textOf(at["holdfast.message.verdict"]); verdict != "" {
		after = append(after, verdict)
	}
	if failed {
		b.style = terminal.Red
		after = append(after, s.Code, s.Error)
	}
	for _, e := range s.Events {
		if e.Name != "exception" {
			after = append(after, e.Name)
		}
	}
	after = slices.DeleteFunc(after, func(s string) bool { return s == "" })
	b.after = terminal.Clean(strings.Join(after, "  "))
	return b
}

// waterfall draws bars on one scale: what it is, when, and what came of it.
func (a *app) waterfall(bars []bar, columns int) []string {
	if len(bars) == 0 {
		return nil
	}
	first, last, widest := bars[0].start, bars[0].start, 0
	for _, b := range bars {
		if b.start.Before(first) {
			first = b.start
		}
		if end := b.start.Add(b.took); end.After(last) {
			last = end
		}
		widest = max(widest, terminal.Width(b.indent+b.label))
	}
	names := min(widest, max(16, columns*2/5))
	room := min(60, max(barLeast, (columns-names-4)*3/5))
	total := max(last.Sub(first), 1)
	lines := []string{a.out.Paint(terminal.Dim, scaleLine(names, room, total))}
	for _, b := range bars {
		name := terminal.Truncate(b.indent+b.label, names)
		from := int(int64(b.start.Sub(first)) * int64(room) / int64(total))
		from = min(max(0, from), room-1)
		length := int(math.Round(float64(b.took) * float64(room) / float64(total)))
		length = min(max(1, length), room-from)
		glyph := a.out.Glyph("█", "#")
		if b.lost {
			glyph = a.out.Glyph("░", ".")
		}
		line := name + strings.Repeat(" ", names-terminal.Width(name)) + "  " + strings.Repeat(" ", from) +
			a.out.Paint(b.style, strings.Repeat(glyph, length)) + strings.Repeat(" ", room-from-length) + "  "
		if b.style == terminal.Red {
			line += a.out.Paint(terminal.Red, b.after)
		} else {
			line += b.after
		}
		if a.out.Redraw {
			line = terminal.Truncate(line, columns)
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

// scaleLine is the line above the bars: from 0 to the whole.
func scaleLine(names, room int, total time.Duration) string {
	end := latency(total)
	return strings.Repeat(" ", names+2) + "0" + strings.Repeat(" ", max(1, room-1-len(end))) + end
}
