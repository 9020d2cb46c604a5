//go:build unix

package supervise

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// ringBytes bounds the text kept per service beside Config.LogLines.
	ringBytes = 1 << 20
	// tailLines bounds what waits for one subscriber.
	tailLines = 1000
)

// logs keeps the last lines of each service and hands new ones to subscribers.
type logs struct {
	lines int // per service

	mu     sync.Mutex
	seq    uint64
	rings  map[string]*ring
	tails  map[*Tail]bool
	closed bool
}

// ring is the last lines of one service.
type ring struct {
	lines []numbered // oldest first
	bytes int
}

type numbered struct {
	seq uint64
	Line
}

func newLogs(lines int) *logs {
	return &logs{lines: lines, rings: make(map[string]*ring), tails: make(map[*Tail]bool)}
}

func (l *logs) add(line Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	r := l.rings[line.Service]
	if r == nil {
		r = &ring{}
		l.rings[line.Service] = r
	}
	r.lines = append(r.lines, numbered{l.seq, line})
	r.bytes += len(line.Text)
	drop := 0
	for len(r.lines)-drop > l.lines || r.bytes > ringBytes && len(r.lines)-drop > 1 {
		r.bytes -= len(r.lines[drop].Text)
		r.lines[drop] = numbered{}
		drop++
	}
	r.lines = r.lines[drop:] // append moves them to the front of a new array now and then
	for tail := range l.tails {
		if tail.matches(line) {
			tail.feed.push(line)
		}
	}
}

// last returns the last n lines of a service, an instance, or ("") of all.
func (l *logs) last(name string, n int) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastLocked(name, n)
}

func (l *logs) lastLocked(name string, n int) []Line {
	n = max(0, n)
	var found []numbered
	for _, r := range l.rings {
		for i, taken := len(r.lines)-1, 0; i >= 0 && taken < n; i-- {
			if matches(name, r.lines[i].Line) {
				found = append(found, r.lines[i])
				taken++
			}
		}
	}
	slices.SortFunc(found, func(a, b numbered) int { return cmp.Compare(a.seq, b.seq) })
	found = found[max(0, len(found)-n):]
	lines := make([]Line, len(found))
	for i, f := range found {
		lines[i] = f.Line
	}
	return lines
}

// follow is last, and a subscription to what comes after.
func (l *logs) follow(name string, n int) ([]Line, *Tail) {
	tail := &Tail{logs: l, name: name, feed: newFeed[Line](tailLines)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		tail.feed.close()
	} else {
		l.tails[tail] = true
	}
	return l.lastLocked(name, n), tail
}

// close ends all subscriptions after what they have yet to read.
func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for tail := range l.tails {
		tail.feed.close()
	}
	clear(l.tails)
}

func matches(name string, line Line) bool {
	return name == "" || name == line.Service || name == line.Instance
}

// Tail is a bounded subscription to log lines. Its methods are for one goroutine.
type Tail struct {
	logs *logs
	name string
	feed *feed[Line]
}

func (t *Tail) matches(line Line) bool { return matches(t.name, line) }

// Next blocks until there is a line or ctx ends. A reader that is too slow gets a Line with Dropped set where lines are
// missing. io.EOF means that the supervisor has ended.
func (t *Tail) Next(ctx context.Context) (Line, error) {
	line, dropped, err := t.feed.next(ctx)
	if dropped > 0 {
		return Line{Time: time.Now(), Dropped: dropped}, nil
	}
	return line, err
}

// Stop ends the subscription.
func (t *Tail) Stop() {
	t.logs.mu.Lock()
	defer t.logs.mu.Unlock()
	delete(t.logs.tails, t)
}
