//go:build unix

package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds a line. What is longer is cut, with a note of how much.
const maxText = 16 << 10

// splitter cuts a stream of bytes into clean lines. It never holds more than one line of maxText.
type splitter struct {
	emit  func(line string)
	buf   []byte
	extra int // bytes of the current line that did not fit
}

// write takes the next bytes of the stream.
func (s *splitter) write(b []byte) {
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		room := max(0, maxText-len(s.buf))
		if len(line) > room {
			s.extra += len(line) - room
			line = line[:room]
		}
		s.buf = append(s.buf, line...)
		if whole {
			s.flush()
		}
		b = rest
		if !whole {
			return
		}
	}
}

// flush emits what there is of a line.
func (s *splitter) flush() {
	text := clean(s.buf)
	if s.extra > 0 {
		text += fmt.Sprintf(" … (%d more bytes)", s.extra)
	}
	s.buf, s.extra = s.buf[:0], 0
	s.emit(text)
}

// close emits a last line without an end.
func (s *splitter) close() {
	if len(s.buf) > 0 || s.extra > 0 {
		s.flush()
	}
}

// copyLines reads r until its end and emits its lines. The error is nil at the end and after a deadline.
func copyLines(r io.Reader, emit func(line string)) error {
	s := &splitter{emit: emit}
	defer s.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		s.write(buf[:n])
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// clean makes bytes that anyone wrote fit for a terminal and for JSON: valid UTF-8, no escape sequences, no control
// characters other than tab.
func clean(b []byte) string {
	b = bytes.TrimRight(b, "\r")
	if plain(b) {
		return string(b)
	}
	var out strings.Builder
	out.Grow(len(b))
	for len(b) > 0 {
		if b[0] == 0x1b {
			b = b[escape(b):]
			continue
		}
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case r == '\t' || !unicode.IsControl(r):
			out.WriteRune(r) // an invalid byte is U+FFFD here
		case r == '\r':
			out.WriteByte(' ') // a progress bar
		}
	}
	return out.String()
}

func plain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// escape returns the length of the terminal escape sequence that b begins with (ECMA-48: CSI and OSC; of others the
// escape character alone).
func escape(b []byte) int {
	if len(b) < 2 {
		return len(b)
	}
	switch b[1] {
	case '[':
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x7e {
				return i
			}
		}
		return len(b)
	case ']':
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '\\' {
				return i + 2
			}
		}
		return len(b)
	}
	return 1
}
