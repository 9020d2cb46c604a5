package report

import (
	"strings"
	"unicode/utf8"
)

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
