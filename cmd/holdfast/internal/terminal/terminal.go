// Package terminal draws on a terminal what changes in place, and knows when there is none.
//
// A [Screen] keeps a block of lines at the bottom of the terminal and redraws it; what is printed for good scrolls
// away above it. It uses five escape sequences that every terminal of the last thirty years understands.
package terminal

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Features says what an output can do.
type Features struct {
	Redraw bool // it is a terminal that understands cursor movement
	Color  bool // and colours are wanted
	ASCII  bool // it shows nothing beyond ASCII
}

// Detect finds out what w can do: nothing, unless it is a terminal. NO_COLOR (no-color.org), TERM=dumb and a locale
// that is not UTF-8 are honoured.
func Detect(w io.Writer, getenv func(string) string) Features {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || getenv("TERM") == "dumb" {
		return Features{}
	}
	return Features{Redraw: true, Color: getenv("NO_COLOR") == "", ASCII: !utf8Locale(getenv)}
}

// utf8Locale takes a locale that is not set at all, as in most containers, for UTF-8: the terminal in front of it is.
func utf8Locale(getenv func(string) string) bool {
	for _, key := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // the order is POSIX's
		if v := strings.ToLower(getenv(key)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

// Size is the size of the terminal that w is, in columns and rows; 80 by 24 if it is none or does not say.
func Size(w io.Writer) (columns, rows int) {
	if f, ok := w.(*os.File); ok {
		if c, r, err := term.GetSize(int(f.Fd())); err == nil && c > 0 && r > 0 {
			return c, r
		}
	}
	return 80, 24
}

// Style is a set of SGR attributes. The zero value changes nothing.
type Style string

// The styles in use: few, and only of the eight basic colours, which every theme makes readable.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
	Violet Style = "35"
	Cyan   Style = "36"
)

// Paint wraps text in the style if colours are wanted.
func (f Features) Paint(s Style, text string) string {
	if !f.Color || s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// Glyph is text, or its replacement where only ASCII can be shown.
func (f Features) Glyph(text, ascii string) string {
	if f.ASCII {
		return ascii
	}
	return text
}

// Width is the number of columns that text takes, escape sequences not counted. Every rune counts as one: names and
// messages of ours have no wide ones, and Clean makes control characters visible.
func Width(text string) int {
	n := 0
	for i := 0; i < len(text); {
		if skip := escape(text[i:]); skip > 0 {
			i += skip
			continue
		}
		i++
		for i < len(text) && text[i]&0xC0 == 0x80 {
			i++
		}
		n++
	}
	return n
}

// Truncate cuts text to at most columns, and ends it in a reset if something was cut from styled text.
func Truncate(text string, columns int) string {
	if Width(text) <= columns {
		return text
	}
	if columns <= 0 {
		return ""
	}
	var b strings.Builder
	styled, n := false, 0
	for i := 0; i < len(text) && n < columns-1; {
		if skip := escape(text[i:]); skip > 0 {
			b.WriteString(text[i : i+skip])
			styled = true
			i += skip
			continue
		}
		j := i + 1
		for j < len(text) && text[j]&0xC0 == 0x80 {
			j++
		}
		b.WriteString(text[i:j])
		i = j
		n++
	}
	b.WriteString("…")
	if styled {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// escape returns the length of the SGR sequence that text starts with, or 0.
func escape(text string) int {
	if !strings.HasPrefix(text, "\x1b[") {
		return 0
	}
	if end := strings.IndexByte(text, 'm'); end > 0 {
		return end + 1
	}
	return 0
}

// Clean replaces control characters, so that what a process wrote cannot move the cursor, and what a user typed
// cannot break a line.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return '\uFFFD'
		}
		return r
	}, text)
}
