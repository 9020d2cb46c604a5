//go:build unix

package supervise

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

func linesOf(t *testing.T, in string) []string {
	t.Helper()
	var lines []string
	if err := copyLines(iotest.OneByteReader(strings.NewReader(in)), func(l string) { lines = append(lines, l) }); err != nil {
		t.Fatal(err)
	}
	var atOnce []string
	if err := copyLines(strings.NewReader(in), func(l string) { atOnce = append(atOnce, l) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lines, atOnce) {
		t.Errorf("it depends on how it is read: %q, %q", lines, atOnce)
	}
	return lines
}

func TestCopyLines(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"a\nb\n", []string{"a", "b"}},
		{"no end", []string{"no end"}},
		{"\n\n", []string{"", ""}},
		{"dos\r\n", []string{"dos"}},
		{"10%\r20%\n", []string{"10% 20%"}},
		{"tab\there\n", []string{"tab\there"}},
		{"bad \xff\xfe bytes\n", []string{"bad \ufffd\ufffd bytes"}},
		{"好 é 🎉\n", []string{"好 é 🎉"}},
		{"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b]8;;u\x1b\\y\x1bM\n", []string{"red xyM"}},
		{"\x1b[", []string{""}},
		{"\x1b[1\x01a\n", []string{"a"}},
		{"\x1b]never ends\n", []string{""}},
		{"\x1b\n", []string{""}},
		{"nul \x00 bell \x07 c1 \u009b\n", []string{"nul  bell  c1 "}},
		{strings.Repeat("x", maxText) + "\nnext\n", []string{strings.Repeat("x", maxText), "next"}},
		{strings.Repeat("x", maxText+5) + "\nnext\n", []string{strings.Repeat("x", maxText) + " … (5 more bytes)", "next"}},
		{strings.Repeat("x", 10*maxText), []string{strings.Repeat("x", maxText) + " … (147456 more bytes)"}},
	} {
		if got := linesOf(t, c.in); !slices.Equal(got, c.want) {
			t.Errorf("%.60q: got %.60q, want %.60q", c.in, got, c.want)
		}
	}
}

func FuzzCopyLines(f *testing.F) {
	f.Add([]byte("plain\n\x1b[31mred\x1b[0m\r\n\xff\n"))
	f.Add([]byte("\x1b]8;;\x1b\\\x1b[\x1b"))
	f.Add(bytes.Repeat([]byte("é"), maxText))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		err := copyLines(bytes.NewReader(b), func(line string) {
			n++
			if !utf8.ValidString(line) || len(line) > 3*maxText+40 {
				t.Errorf("%.80q", line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
				t.Errorf("control character in %q", line)
			}
		})
		if want := bytes.Count(b, []byte{'\n'}); err != nil || n < want || n > want+1 {
			t.Errorf("%d lines of %d, %v", n, want, err)
		}
	})
}
