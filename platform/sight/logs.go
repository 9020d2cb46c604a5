package sight

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	maxLine  = 16 << 10
	lineSize = 200 // of a line beside its text
	maxLines = 1000
)

// logs are lines, oldest first, until they take limit bytes.
type logs struct {
	limit int

	logMu   sync.Mutex
	lines   []control.LogLine // a queue: from head on
	own     []bool            // of each: it came by OTLP, and is in no output
	head    int
	size    int
	refused uint64
	tails   map[*Tail]bool
}

// tailWaiting bounds the lines that wait for one Tail.
const tailWaiting = 1000

// Tail are the lines that come by OTLP from when it was made on, of those that were asked for.
type Tail struct {
	// Lines has them. Where lines are missing, since nobody has read it for long, there is one with Dropped set.
	Lines <-chan control.LogLine

	l       *logs
	send    chan control.LogLine
	fits    func(control.LogLine) bool
	dropped int // guarded by logMu
}

// Stop ends it. Nothing comes from then on.
func (t *Tail) Stop() {
	t.l.logMu.Lock()
	defer t.l.logMu.Unlock()
	delete(t.l.tails, t)
}

// add is called with logMu held.
func (t *Tail) add(line control.LogLine) {
	if !t.fits(line) {
		return
	}
	if t.dropped > 0 {
		select {
		case t.send <- control.LogLine{Time: line.Time, Dropped: t.dropped}:
			t.dropped = 0
		default:
		}
	}
	if t.dropped == 0 {
		select {
		case t.send <- line:
			return
		default:
		}
	}
	t.dropped++
}

// AddLine takes a line that a process has written. What it says of its trace, its span and its level is found in it.
func (s *Store) AddLine(l control.LogLine) {
	if l.Trace == "" {
		l.Trace, l.Span, l.Level = ParseLine(l.Text)
	}
	s.logs.add(l, false)
}

// AddLogs takes an ExportLogsServiceRequest of OTLP, as protobuf, as AddTraces does with traces.
func (s *Store) AddLogs(body []byte) (records int, err error) {
	now := time.Now()
	err = perResource(body, func(src source, b []byte) error {
		l := control.LogLine{Time: now, Service: clean(string(src.service)), Instance: clean(string(src.instance))}
		var thrown, stack []byte
		err := fields(b, func(num protowire.Number, b []byte, n uint64) error {
			switch {
			case num == 1 && n > 0:
				l.Time = time.Unix(0, nanos(n)).UTC()
			case num == 11 && n > 0 && l.Time.Equal(now): // when it was seen, where nobody knows when it was said
				l.Time = time.Unix(0, nanos(n)).UTC()
			case num == 2 && l.Level == "" && n > 0:
				l.Level = severity(n)
			case num == 3 && len(b) > 0:
				l.Level = clean(string(cut(b, maxKey)))
			case num == 5 && b != nil:
				l.Text = string(appendBody(nil, b, 0))
				return new(wireValue).parse(b, 0)
			case num == 6 && b != nil:
				name, value := attribute(b)
				switch string(name) {
				case "exception.message":
					thrown = value
				case "exception.stacktrace":
					stack = value
				}
			case num == 9 && len(b) == len(traceID{}):
				l.Trace = hex.EncodeToString(b)
			case num == 10 && len(b) == len(spanID{}):
				l.Span = hex.EncodeToString(b)
			}
			return nil
		})
		if err != nil {
			return err
		}
		records++
		for _, more := range [][]byte{thrown, stack} {
			if len(more) > 0 && !strings.Contains(l.Text, string(more)) {
				l.Text = strings.TrimPrefix(l.Text+"\n"+string(more), "\n")
			}
		}
		l.Text = clean(string(cut([]byte(l.Text), maxLine)))
		s.logs.add(l, true)
		return nil
	})
	return records, refuse(err)
}

// severity is the level of a number, as OpenTelemetry has them: four of each.
func severity(n uint64) string {
	return [...]string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}[min((n-1)/4, 5)]
}

// attribute is one with its value as text.
func attribute(b []byte) (name, value []byte) {
	_ = fields(b, func(num protowire.Number, b []byte, _ uint64) error {
		switch {
		case num == 1:
			name = b
		case num == 2 && b != nil:
			value = appendBody(nil, b, 0)
		}
		return nil
	}) // what cannot be read is left out
	return name, value
}

// appendBody appends what was said, of any kind, as text: at most maxLine bytes.
func appendBody(to, b []byte, depth int) []byte {
	if depth > maxNesting || len(to) >= maxLine {
		return to
	}
	_ = fields(b, func(num protowire.Number, b []byte, n uint64) error {
		switch int(num) {
		case 1, 7: // a string, or bytes
			to = append(to, cut(b, maxLine-min(len(to), maxLine))...)
		case 2, 3, 4:
			v := wireValue{typ: [...]byte{2: typeBool, 3: typeInt, 4: typeFloat}[num], num: n}
			to = v.appendText(to)
		case 5, 6: // a list, or what has names
			first := true
			return fields(b, func(item protowire.Number, b []byte, _ uint64) error {
				if item != 1 || b == nil || len(to) >= maxLine {
					return nil
				}
				if !first {
					to = append(to, ' ')
				}
				if first = false; num == 5 {
					to = appendBody(to, b, depth+1)
					return nil
				}
				return fields(b, func(part protowire.Number, b []byte, _ uint64) error {
					switch {
					case part == 1:
						to = append(append(to, cut(b, maxKey)...), '=')
					case part == 2 && b != nil:
						to = appendBody(to, b, depth+1)
					}
					return nil
				})
			})
		}
		return nil
	}) // what cannot be read is left out
	return to
}

func (l *logs) add(line control.LogLine, own bool) {
	if len(line.Text) > maxLine {
		line.Text = string(cut([]byte(line.Text), maxLine))
	}
	size := lineSize + len(line.Text)
	l.logMu.Lock()
	defer l.logMu.Unlock()
	if size > l.limit {
		l.refused++
		return
	}
	if own {
		for t := range l.tails {
			t.add(line)
		}
	}
	l.lines, l.own = append(l.lines, line), append(l.own, own)
	l.size += size
	for l.size > l.limit {
		l.size -= lineSize + len(l.lines[l.head].Text)
		l.lines[l.head] = control.LogLine{}
		l.head++
	}
	if l.head > len(l.lines)/2 {
		l.lines = append(l.lines[:0], l.lines[l.head:]...)
		l.own = append(l.own[:0], l.own[l.head:]...)
		clear(l.lines[len(l.lines):cap(l.lines)])
		l.head = 0
	}
}

func (l *logs) bytes() int {
	l.logMu.Lock()
	defer l.logMu.Unlock()
	return l.size
}

func (l *logs) droppedLines() uint64 {
	l.logMu.Lock()
	defer l.logMu.Unlock()
	return l.refused
}

// of are the lines about a trace, at most maxLines.
func (l *logs) of(id traceID) []control.LogLine {
	key := hex.EncodeToString(id[:])
	l.logMu.Lock()
	defer l.logMu.Unlock()
	var out []control.LogLine
	for _, line := range l.lines[l.head:] {
		if line.Trace == key && len(out) < maxLines {
			out = append(out, line)
		}
	}
	return out
}

// Sent are the lines that came by OTLP and that q fits, oldest first: those that no process has written. With q.Follow it also returns
// what comes after them, without gap or overlap; the caller must Stop it.
func (s *Store) Sent(q control.LogQuery) ([]control.LogLine, *Tail) {
	l := &s.logs
	text := Filter(q)
	fits := func(line control.LogLine) bool {
		return (q.Service == "" || q.Service == line.Service || q.Service == line.Instance) && text(line)
	}
	l.logMu.Lock()
	defer l.logMu.Unlock()
	var out []control.LogLine
	for i, line := range l.lines[l.head:] {
		if l.own[l.head+i] && fits(line) {
			out = append(out, line)
		}
	}
	out = out[max(0, len(out)-max(q.Lines, 0)):]
	if !q.Follow {
		return out, nil
	}
	t := &Tail{l: l, fits: fits, send: make(chan control.LogLine, tailWaiting)}
	t.Lines = t.send
	if l.tails == nil {
		l.tails = make(map[*Tail]bool)
	}
	l.tails[t] = true
	return out, t
}

// Filter returns what says whether a line has what q asks for in its text and its trace; who wrote it does not matter.
func Filter(q control.LogQuery) func(control.LogLine) bool {
	word, trace := strings.ToLower(q.Text), strings.ToLower(q.Trace)
	return func(l control.LogLine) bool {
		return (word == "" || strings.Contains(strings.ToLower(l.Text), word)) && (trace == "" || strings.HasPrefix(l.Trace, trace))
	}
}

// ParseLine finds what a line of output says of its trace, its span and its level, as slog's handlers write it: JSON, or
// key=value. What it does not say is empty.
func ParseLine(line string) (trace, span, level string) {
	if len(line) > maxLine {
		return "", "", ""
	}
	if strings.HasPrefix(line, "{") {
		var fields struct {
			Trace string `json:"trace_id"`
			Span  string `json:"span_id"`
			Level string `json:"level"`
		}
		if json.Unmarshal([]byte(line), &fields) == nil {
			return checkID(fields.Trace, 2*len(traceID{})), checkID(fields.Span, 2*len(spanID{})), levelOf(fields.Level)
		}
	}
	return checkID(field(line, "trace_id="), 2*len(traceID{})), checkID(field(line, "span_id="), 2*len(spanID{})), levelOf(field(line, "level="))
}

// field is the word after key, if key stands at the beginning of a word.
func field(line, key string) string {
	for from := 0; ; {
		i := strings.Index(line[from:], key)
		if i < 0 {
			return ""
		}
		i += from
		if from = i + len(key); i == 0 || line[i-1] == ' ' {
			word := strings.TrimPrefix(line[from:], `"`)
			if end := strings.IndexAny(word, " \t\""); end >= 0 {
				word = word[:end]
			}
			return word
		}
	}
}

func checkID(id string, length int) string {
	if id = strings.ToLower(id); len(id) == length && isHex(id) {
		return id
	}
	return ""
}

func levelOf(word string) string {
	if len(word) > 16 {
		return ""
	}
	name, _, _ := strings.Cut(strings.ToUpper(word), "+")
	switch name {
	case "DEBUG", "INFO", "WARN", "ERROR":
		return name
	case "WARNING":
		return "WARN"
	case "FATAL", "PANIC":
		return "ERROR"
	}
	return ""
}
