// Command pictures turns a terminal's screen, as tmux's capture-pane -e prints it, into an SVG picture.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	cellWidth, cellHeight = 8.4, 18.0
	margin, bar           = 16.0, 34.0
)

// palette is the sixteen ANSI colours on a dark ground.
var palette = [16]string{
	"#3b4252", "#ff6b6b", "#7bd88f", "#ffd866", "#6cb6ff", "#d2a8ff", "#5ad4e6", "#e6edf3",
	"#7d8590", "#ff8f8f", "#9be9a8", "#ffe08a", "#9ccbff", "#e2c5ff", "#8be9f5", "#ffffff",
}

func main() {
	title := flag.String("title", "", "text of the window's title bar")
	flag.Parse()
	if err := render(os.Stdin, os.Stdout, *title); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

// render reads a screen from r and writes its picture to w.
func render(r io.Reader, w io.Writer, title string) error {
	var lines []string
	width := 40
	in := bufio.NewScanner(r)
	for in.Scan() {
		lines = append(lines, strings.TrimRight(in.Text(), " "))
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read screen: %w", err)
	}
	for len(lines) > 0 && plain(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	for _, line := range lines {
		width = max(width, utf8.RuneCountInString(plain(line)))
	}

	out := bufio.NewWriter(w)
	wide := float64(width)*cellWidth + 2*margin
	high := float64(len(lines))*cellHeight + bar + 2*margin
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">`+"\n",
		wide, high, wide, high, html.EscapeString(title))
	fmt.Fprintf(out, `<rect width="100%%" height="100%%" rx="10" fill="#0d1117"/>`+"\n")
	for i, c := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(out, `<circle cx="%d" cy="17" r="6" fill="%s"/>`+"\n", 20+i*20, c)
	}
	fmt.Fprintf(out, `<text x="50%%" y="22" text-anchor="middle" font-family="sans-serif" font-size="13" fill="#7d8590">%s</text>`+"\n", html.EscapeString(title))
	fmt.Fprintln(out, `<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14" fill="#e6edf3" style="white-space:pre">`)
	for i, line := range lines {
		writeLine(out, line, bar+margin+float64(i)*cellHeight)
	}
	fmt.Fprintln(out, "</g>\n</svg>")
	return out.Flush()
}

// style is what SGR sequences have set.
type style struct {
	fill      string
	bold, dim bool
}

func writeLine(w io.Writer, line string, y float64) {
	var st style
	column := 0
	for line != "" {
		if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
			if end < 0 {
				return
			}
			if rest[end] == 'm' {
				st = st.apply(rest[:end])
			}
			line = rest[end+1:]
			continue
		}
		text := line
		if i := strings.IndexByte(line[1:], '\x1b'); i >= 0 {
			text = line[:i+1]
		}
		line = line[len(text):]
		n := utf8.RuneCountInString(text)
		if strings.TrimSpace(text) != "" {
			fmt.Fprintf(w, `<text x="%.1f" y="%.1f" textLength="%.1f"%s>%s</text>`+"\n",
				margin+float64(column)*cellWidth, y+12, float64(n)*cellWidth, st.attributes(), html.EscapeString(strings.ReplaceAll(text, " ", "\u00a0")))
		}
		column += n
	}
}

func (s style) apply(params string) style {
	codes := strings.Split(params, ";")
	for i := 0; i < len(codes); i++ {
		n, _ := strconv.Atoi(codes[i]) // an empty parameter is 0: reset
		switch {
		case n == 0:
			s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 22:
			s.bold, s.dim = false, false
		case n == 39:
			s.fill = ""
		case n >= 30 && n <= 37:
			s.fill = palette[n-30]
		case n >= 90 && n <= 97:
			s.fill = palette[n-90+8]
		case n == 38 && i+2 < len(codes) && codes[i+1] == "5":
			if c, err := strconv.Atoi(codes[i+2]); err == nil && c >= 0 && c < len(palette) {
				s.fill = palette[c]
			}
			i += 2
		}
	}
	return s
}

func (s style) attributes() string {
	var b strings.Builder
	if s.fill != "" {
		fmt.Fprintf(&b, ` fill="%s"`, s.fill)
	}
	if s.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if s.dim {
		b.WriteString(` opacity="0.6"`)
	}
	return b.String()
}

// plain returns line without its escape sequences.
func plain(line string) string {
	var b strings.Builder
	for {
		i := strings.Index(line, "\x1b[")
		if i < 0 {
			b.WriteString(line)
			return strings.TrimRight(b.String(), " ")
		}
		b.WriteString(line[:i])
		rest := line[i+2:]
		end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
		if end < 0 {
			return b.String()
		}
		line = rest[end+1:]
	}
}
