package fault

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxMessage bounds a message between a process and its platform, in bytes, without its newline.
const MaxMessage = 1 << 20

// Message is what a process and the agent of its platform say to each other, one JSON object a line. The process begins
// with Hello, the platform answers with a Plan at once, and again whenever it changes; the process answers each with Ack when it is in
// force, and sends Stats about twice a second, and its State when that has changed. The agent sends an empty line every SignOfLife, so that one that hangs is told from one
// that has nothing to say. A Plan ends with the connection it came on.
type Message struct {
	Hello *Hello `json:"hello,omitempty"`
	// Plan and Seq, which grows with every Plan of a connection and begins with 1, are the platform's.
	Plan *Plan  `json:"plan,omitempty"`
	Seq  uint64 `json:"seq,omitempty"`
	// Ack is the Seq of a Plan that is in force in the process.
	Ack   uint64 `json:"ack,omitempty"`
	Stats *Stats `json:"stats,omitempty"`
	State *State `json:"state,omitempty"`
}

// Hello says who a process is.
type Hello struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
	PID      int    `json:"pid"`
}

// Reader reads messages. The source is not trusted: a message is bounded, and one that cannot be read ends the connection.
type Reader struct{ lines *bufio.Scanner }

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), MaxMessage+1)
	return &Reader{s}
}

// Read returns the next message: io.EOF after the last. A Plan in it is valid. Unknown fields are left out, so that the two ends
// may be of different versions.
func (r *Reader) Read() (Message, error) {
	var m Message
	for r.lines.Scan() {
		line := bytes.TrimSpace(r.lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return Message{}, fmt.Errorf("read message: %w", err)
		}
		if m.State != nil && len(line) > MaxState {
			return Message{}, fmt.Errorf("read message: a state of %d bytes", len(line))
		}
		if m.Plan != nil {
			if err := m.Plan.Validate(); err != nil {
				return Message{}, fmt.Errorf("read message: %w", err)
			}
		}
		return m, nil
	}
	if err := r.lines.Err(); err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	return Message{}, io.EOF
}

// WriteSign writes a sign of life, which a Reader passes over.
func WriteSign(w io.Writer) error {
	if _, err := w.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("write sign of life: %w", err)
	}
	return nil
}

// Write writes a message in a single call of w.Write.
func Write(w io.Writer, m Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if len(b) > MaxMessage {
		return errors.New("write message: larger than 1 MiB")
	}
	if _, err = w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}
