package terminal

import (
	"fmt"
	"io"
	"strings"
)

// Screen keeps a block of lines at the bottom of a terminal. It is used by one goroutine. Errors of writing are
// dropped: a terminal that went away must not end what it showed.
type Screen struct {
	w    io.Writer
	size func() (columns, rows int)

	block   []string // as drawn last, each cut to what was the width then
	columns int      // that width
	hidden  bool     // the cursor
}

// NewScreen returns a Screen on w. size is asked before every drawing, so that a terminal may be resized at any time.
func NewScreen(w io.Writer, size func() (columns, rows int)) *Screen {
	return &Screen{w: w, size: size}
}

// Draw replaces the block. Lines that are too long are cut; of too many lines the last ones are replaced by their number.
func (s *Screen) Draw(lines []string) {
	columns, rows := s.size()
	var b strings.Builder
	if !s.hidden {
		b.WriteString("\x1b[?25l")
		s.hidden = true
	}
	s.up(&b, columns)
	s.put(&b, lines, columns, rows)
	_, _ = io.WriteString(s.w, b.String())
}

// Print writes a line for good, above the block.
func (s *Screen) Print(line string) {
	columns, rows := s.size()
	block := s.block
	var b strings.Builder
	s.up(&b, columns)
	b.WriteString(line + "\x1b[K\n")
	s.put(&b, block, columns, rows)
	_, _ = io.WriteString(s.w, b.String())
}

// Clear takes the block away and gives the cursor back. Draw may be called again.
func (s *Screen) Clear() {
	columns, _ := s.size()
	var b strings.Builder
	s.up(&b, columns)
	b.WriteString("\x1b[J")
	s.show(&b)
	_, _ = io.WriteString(s.w, b.String())
	s.block = nil
}

// Keep leaves the block where it is, for good, and gives the cursor back.
func (s *Screen) Keep() {
	var b strings.Builder
	s.show(&b)
	_, _ = io.WriteString(s.w, b.String())
	s.block = nil
}

func (s *Screen) show(b *strings.Builder) {
	if s.hidden {
		b.WriteString("\x1b[?25h")
		s.hidden = false
	}
}

// up moves the cursor to the start of the block. If the terminal has become narrower since it was drawn, its lines
// have been wrapped, and take more rows.
func (s *Screen) up(b *strings.Builder, columns int) {
	rows := 0
	for _, line := range s.block {
		rows++
		if columns < s.columns && columns > 0 {
			rows += max(0, Width(line)-1) / columns
		}
	}
	b.WriteByte('\r')
	if rows > 0 {
		fmt.Fprintf(b, "\x1b[%dA", rows)
	}
}

// put writes the block below the cursor and remembers it. The cursor ends in the line after it, so a block may have one
// row less than the terminal.
func (s *Screen) put(b *strings.Builder, lines []string, columns, rows int) {
	if fit := max(1, rows-1); len(lines) > fit {
		cut := len(lines) - fit + 1
		lines = append(lines[:fit-1:fit-1], fmt.Sprintf("… and %d more", cut))
	}
	s.block = make([]string, 0, len(lines))
	for _, line := range lines {
		line = Truncate(line, columns-1) // the last column is left free: writing into it wraps on some terminals
		b.WriteString(line + "\x1b[K\n")
		s.block = append(s.block, line)
	}
	b.WriteString("\x1b[J")
	s.columns = columns
}
