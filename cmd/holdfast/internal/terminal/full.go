package terminal

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Full is the whole of a terminal, for a program that is looked at until it is left. What was on the terminal before comes back
// at the end. Draw and Close are called by one goroutine.
type Full struct {
	w     io.Writer
	in    *os.File
	state *term.State // of in, before; nil if there are no keys
	keys  chan Key
}

// Key is a key that was pressed: a character, or one of the constants.
type Key rune

// Keys that are not characters. Ctrl-C and Ctrl-D are keys here, not signals.
const (
	KeyInterrupt Key = 3
	KeyEnd       Key = 4
	KeyUp        Key = -1 - iota
	KeyDown
	KeyPageUp
	KeyPageDown
)

// OpenFull takes over the terminal that w is. If in is one as well, its keys are in Keys, one by one and unseen. It must be
// closed, whatever happens: until then the terminal is of no use for anything else.
func OpenFull(w io.Writer, in io.Reader) (*Full, error) {
	f := &Full{w: w}
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		state, err := term.MakeRaw(int(file.Fd()))
		if err != nil {
			return nil, err
		}
		f.in, f.state, f.keys = file, state, make(chan Key, 64)
		go f.read()
	}
	_, _ = io.WriteString(w, "\x1b[?1049h\x1b[?25l")
	return f, nil
}

// Keys are the keys that are pressed; nil, and so for ever silent, where there are none.
func (f *Full) Keys() <-chan Key { return f.keys }

// read ends with the input. A terminal cannot be made to end a read, so that this goroutine may outlive Close, until the next
// key or the end of the program. Keys that nobody takes are dropped.
func (f *Full) read() {
	b := make([]byte, 64)
	rest := "" // of a key that has come in part
	for {
		n, err := f.in.Read(b)
		var keys []Key
		keys, rest = ParseKeys(rest + string(b[:n]))
		for _, k := range keys {
			select {
			case f.keys <- k:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// maxSequence is how long an escape sequence may be, in bytes. What is longer is none.
const maxSequence = 32

// ParseKeys reads what a terminal has sent. Sequences that are none of the Key constants are left out. The rest, shorter than
// maxSequence, is the beginning of a key whose end has not come yet: it goes before what comes next.
func ParseKeys(s string) (keys []Key, rest string) {
	sequences := map[string]Key{
		"\x1b[A": KeyUp, "\x1b[B": KeyDown, "\x1bOA": KeyUp, "\x1bOB": KeyDown, "\x1b[5~": KeyPageUp, "\x1b[6~": KeyPageDown,
	}
	for len(s) > 0 {
		if s[0] != 0x1b {
			if !utf8.FullRuneInString(s) {
				return keys, s
			}
			r, size := utf8.DecodeRuneInString(s)
			if r != utf8.RuneError {
				keys = append(keys, Key(r))
			}
			s = s[size:]
			continue
		}
		end := sequenceEnd(s)
		if end == 0 {
			return keys, s
		}
		if k, ok := sequences[s[:end]]; ok {
			keys = append(keys, k)
		}
		s = s[end:]
	}
	return keys, ""
}

// sequenceEnd is the length of the escape sequence at the start of s; 0 if its end is missing.
func sequenceEnd(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != '[' && s[1] != 'O' {
		return 1
	}
	for i := 2; i < min(len(s), maxSequence); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
	}
	if len(s) >= maxSequence {
		return maxSequence
	}
	return 0
}

// Draw shows lines from the top, each cut to columns, and nothing else; lines beyond rows are left out.
func (f *Full) Draw(lines []string, columns, rows int) {
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines[:min(len(lines), max(1, rows))] {
		if i > 0 {
			b.WriteString("\r\n") // a raw terminal returns by nobody's leave
		}
		b.WriteString(Truncate(line, columns) + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, _ = io.WriteString(f.w, b.String())
}

// Close gives the terminal back as it was. It may be called twice.
func (f *Full) Close() {
	if f.w == nil {
		return
	}
	_, _ = io.WriteString(f.w, "\x1b[?25h\x1b[?1049l")
	if f.state != nil {
		_ = term.Restore(int(f.in.Fd()), f.state)
	}
	f.w = nil
}
