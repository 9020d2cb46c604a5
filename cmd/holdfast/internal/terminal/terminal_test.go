package terminal_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
)

// vt is a terminal that understands what Screen writes. When it is made narrower, it wraps lines that are longer, as
// terminals do, and puts them together again when it is made wider. What has scrolled out at the top is kept.
type vt struct {
	t        interface{ Fatalf(string, ...any) }
	columns  int
	lines    [][]rune // before they are wrapped
	row, col int
	cursor   bool
}

func (v *vt) Write(p []byte) (int, error) {
	text := []rune(string(p))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\r':
			v.col = 0
		case '\n':
			v.row++
			v.col = 0
		case 0x1b:
			end := i + 2
			for strings.ContainsRune("0123456789?;", text[end]) {
				end++
			}
			v.sequence(string(text[i+2 : end+1]))
			i = end
		default:
			if c < ' ' {
				v.t.Fatalf("control character %q written", c)
			}
			v.grow()
			for len(v.lines[v.row]) <= v.col {
				v.lines[v.row] = append(v.lines[v.row], ' ')
			}
			v.lines[v.row][v.col] = c
			v.col++
			if v.col > v.columns {
				v.t.Fatalf("a line of the block is wider than %d columns: %q", v.columns, string(v.lines[v.row]))
			}
		}
	}
	return len(p), nil
}

func (v *vt) grow() {
	for len(v.lines) <= v.row {
		v.lines = append(v.lines, nil)
	}
}

func (v *vt) sequence(s string) {
	v.grow()
	switch {
	case s == "K":
		v.lines[v.row] = v.lines[v.row][:min(v.col, len(v.lines[v.row]))]
	case s == "J":
		v.lines[v.row] = v.lines[v.row][:min(v.col, len(v.lines[v.row]))]
		v.lines = v.lines[:v.row+1]
	case s == "?25l":
		v.cursor = false
	case s == "?25h":
		v.cursor = true
	case strings.HasSuffix(s, "A"):
		var n int
		_, err := fmt.Sscanf(s, "%dA", &n)
		for n > 0 && v.row > 0 {
			v.row--
			n -= 1 + max(0, len(v.lines[v.row])-1)/v.columns
		}
		if err != nil || n != 0 {
			v.t.Fatalf("moved up by %s to the middle of a line, or beyond the top", s)
		}
	case strings.HasSuffix(s, "m"):
	default:
		v.t.Fatalf("unknown sequence %q", s)
	}
}

func (v *vt) text() string {
	var b strings.Builder
	for _, l := range v.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func TestScreenShowsTheBlockBelowWhatWasPrinted(t *testing.T) {
	v := &vt{t: t, columns: 40, cursor: true}
	s := terminal.NewScreen(v, func() (int, int) { return v.columns, 10 })
	s.Draw([]string{"building", "control 0/3"})
	s.Print("orders-1 died")
	s.Draw([]string{"control 3/3"})
	s.Print("orders-1 ready again")
	if got, want := v.text(), "orders-1 died\norders-1 ready again\ncontrol 3/3"; got != want {
		t.Errorf("screen:\n%s\nwant:\n%s", got, want)
	}
	if v.cursor {
		t.Error("the cursor blinks in the block")
	}
	s.Clear()
	s.Print("done")
	if got, want := v.text(), "orders-1 died\norders-1 ready again\ndone"; got != want {
		t.Errorf("screen:\n%s\nwant:\n%s", got, want)
	}
	if !v.cursor {
		t.Error("the cursor was not given back")
	}
}

func TestScreenCutsWhatDoesNotFit(t *testing.T) {
	v := &vt{t: t, columns: 10}
	s := terminal.NewScreen(v, func() (int, int) { return v.columns, 4 })
	s.Draw([]string{"1234567890123", "b", "c", "d", "e"})
	if got, want := v.text(), "12345678…\nb\n… and 3 …"; got != want {
		t.Errorf("screen:\n%s\nwant:\n%s", got, want)
	}
}

// Whatever is drawn and however the terminal is resized in between: nothing of an old block stays, nothing printed is lost.
func TestScreenSurvivesResizing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := &vt{t: t, columns: 80}
		s := terminal.NewScreen(v, func() (int, int) { return v.columns, 50 })
		word := rapid.StringMatching(`[a-z]{1,70}`)
		var block []string
		var printed []string
		for i := range rapid.IntRange(1, 10).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				block = rapid.SliceOfN(word, 1, 5).Draw(t, "block")
				s.Draw(block)
			case 1:
				line := fmt.Sprintf("event %d", i)
				printed = append(printed, line)
				s.Print(line)
			case 2:
				v.columns = rapid.IntRange(20, 100).Draw(t, "columns")
			}
		}
		s.Draw(block)
		want := strings.Join(printed, "\n")
		for _, line := range block {
			want = strings.TrimPrefix(want+"\n"+terminal.Truncate(line, v.columns-1), "\n")
		}
		if got := v.text(); got != want {
			t.Fatalf("screen:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestTruncateAndWidth(t *testing.T) {
	color := terminal.Features{Color: true}
	for _, tc := range []struct {
		text    string
		columns int
		want    string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"äöü", 3, "äöü"},
		{"äöüß", 3, "äö…"},
		{"abc", 0, ""},
		{color.Paint(terminal.Green, "abcd"), 3, "\x1b[32mab…\x1b[0m"},
		{color.Paint(terminal.Green, "abc"), 3, "\x1b[32mabc\x1b[0m"},
	} {
		if got := terminal.Truncate(tc.text, tc.columns); got != tc.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", tc.text, tc.columns, got, tc.want)
		}
	}
}

// FuzzTruncate: never wider than asked for, whatever the text.
func FuzzTruncate(f *testing.F) {
	f.Add("abc", 2)
	f.Add("\x1b[32mabc\x1b[0m", 2)
	f.Add("\x1b[", 1)
	f.Add("\xff\xfe", 1)
	f.Fuzz(func(t *testing.T, text string, columns int) {
		if got := terminal.Width(terminal.Truncate(text, columns)); got > max(columns, 0) {
			t.Errorf("Truncate(%q, %d) is %d wide", text, columns, got)
		}
	})
}

func TestCleanLeavesNoControlCharacters(t *testing.T) {
	if got, want := terminal.Clean("a\x1b[2Jb\tc\r\n"), "a\uFFFD[2Jb c\uFFFD\uFFFD"; got != want {
		t.Errorf("Clean = %q, want %q", got, want)
	}
}

func TestDetect(t *testing.T) {
	none := func(string) string { return "" }
	if got := terminal.Detect(&bytes.Buffer{}, none); got != (terminal.Features{}) {
		t.Errorf("Detect of a buffer = %+v, want nothing", got)
	}
	if c, r := terminal.Size(&bytes.Buffer{}); c != 80 || r != 24 {
		t.Errorf("Size of a buffer = %d×%d", c, r)
	}
}
