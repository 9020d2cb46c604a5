package terminal_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
)

func TestKeys(t *testing.T) {
	for sent, want := range map[string][]terminal.Key{
		"q":                {'q'},
		"re":               {'r', 'e'},
		"\x03":             {terminal.KeyInterrupt},
		"\x1b[A\x1b[B":     {terminal.KeyUp, terminal.KeyDown},
		"\x1bOA":           {terminal.KeyUp},
		"\x1b[5~x\x1b[6~":  {terminal.KeyPageUp, 'x', terminal.KeyPageDown},
		"\x1b[1;5Cs":       {'s'}, // ctrl and an arrow: none of ours
		"\x1b":             nil,
		"\x1b[":            nil,
		"é":                {'é'},
		"\xc3":             nil,
		"\x1b[200~q\x1b[Z": {'q'},
	} {
		if got, _ := terminal.ParseKeys(sent); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", sent, got, want)
		}
	}
}

// FuzzParseKeys: it is the same keys wherever a read ends.
func FuzzParseKeys(f *testing.F) {
	f.Add("\x1b[5~x", uint8(3))
	f.Add("\x1b[A", uint8(1))
	f.Add("\x1bOA\x1b[B", uint8(2))
	f.Add("a\xc3\xa9", uint8(2))
	f.Add("\x1b["+strings.Repeat("1", 40)+"q", uint8(9))
	f.Fuzz(func(t *testing.T, s string, at uint8) {
		want, left := terminal.ParseKeys(s)
		if len(want) > len(s) || len(left) >= 32 {
			t.Errorf("%q: %d keys, and %q is left", s, len(want), left)
		}
		cut := min(int(at), len(s))
		got, rest := terminal.ParseKeys(s[:cut])
		more, rest := terminal.ParseKeys(rest + s[cut:])
		if got = append(got, more...); !slices.Equal(got, want) || rest != left {
			t.Errorf("%q, read in two at %d: %v and %q, want %v and %q", s, cut, got, rest, want, left)
		}
	})
}

func TestFullScreenIsGivenBack(t *testing.T) {
	var out bytes.Buffer
	f, err := terminal.OpenFull(&out, strings.NewReader("q"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Keys() != nil {
		t.Error("keys of what is no terminal")
	}
	f.Draw([]string{"a long line", "b", "c"}, 6, 2)
	f.Close()
	f.Close()
	if got, want := out.String(), "\x1b[?1049h\x1b[?25l\x1b[Ha lon…\x1b[K\r\nb\x1b[K\x1b[J\x1b[?25h\x1b[?1049l"; got != want {
		t.Errorf("written %q, want %q", got, want)
	}
}
