package sight

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// What a trace may have.
const (
	maxSpans     = 4096
	maxTraceSize = 2 << 20
	maxPeers     = 256
	maxText      = 4 << 10
	errorText    = 1 << 10 // of it, for what failed: that comes last in a long trace
)

// traceSize and refSize are about what an empty trace and an entry of the index take, with what the store needs to find them.
const (
	traceSize = 512
	refSize   = 64
	idSize    = 24 // of an entry of ids
	manySpans = 64
)

// flags are what a span says that questions are asked about.
type flags uint16

const (
	flagFailed  flags = 1 << iota // its status is an error
	flagCall                      // a call by Holdfast
	flagAttempt                   // an attempt of one
	flagRetried                   // made more than one attempt, hedges not counted, or handled again
	flagHedged
	flagRefused
	flagSlow
	flagDead // a message that could not be handled, for good
)

// outlives is what makes a trace one that is kept for longer.
const outlives = flagFailed | flagRetried | flagHedged | flagRefused | flagSlow | flagDead

// others stands for those who took part beyond maxPeers.
const others = "(others)"

// peer is who took part.
type peer struct{ service, instance string }

// ref is the place of a span in the index of its trace.
type ref struct {
	id, parent spanID
	start, end int64
	off        uint32 // of its record
	peer       uint16
	kind       byte
	flags      flags
}

// trace is one trace. It has no lock of its own.
type trace struct {
	id      traceID
	begun   int64 // of its first span
	last    int64 // when the last span came, by the store's clock
	records []byte
	index   []ref
	ids     map[spanID]struct{} // of the index, once that is long
	peers   []peer
	text    []byte // in lower case: each word that occurs in it, once, with a line break at its end
	keep    string // why it is kept
	flags   flags  // of all spans
	dropped int    // spans for which there was no room
	partly  bool   // what came before this was dropped by the store

	size       int
	kept       bool // which of the store's two lists it is in
	prev, next *trace
	summary    *control.TraceSummary // nil: not up to date
}

// add takes a span that came at now.
func (t *trace) add(src source, s *wireSpan, now int64) {
	t.summary, t.last = nil, now
	if len(t.index) >= maxSpans || len(t.records) > maxTraceSize {
		t.dropped++
		return
	}
	if t.known(s.id) { // sent twice, because an answer was lost
		return
	}
	r := ref{id: s.id, parent: s.parent, start: s.start, end: max(s.start, s.end), off: uint32(len(t.records)), kind: s.kind, peer: t.peer(src)}
	r.flags = t.look(s)
	if t.begun == 0 || r.start < t.begun {
		t.begun = r.start
	}
	t.flags |= r.flags
	t.records = appendRecord(t.records, s)
	t.index = append(t.index, r)
	if t.ids != nil {
		t.ids[r.id] = struct{}{}
	}
	t.word(s.name, maxText-errorText)
	t.word(src.service, maxText-errorText)
	t.word(src.instance, maxText-errorText)
	t.word(s.message, maxText)
	for _, a := range s.attrs {
		if a.typ == typeString && len(a.str) <= maxName {
			t.word(a.str, maxText-errorText)
		}
	}
}

// known reports whether the trace has a span with the ID.
func (t *trace) known(id spanID) bool {
	if len(t.index) < manySpans {
		return slices.ContainsFunc(t.index, func(r ref) bool { return r.id == id })
	}
	if t.ids == nil {
		t.ids = make(map[spanID]struct{}, 2*manySpans)
		for i := range t.index {
			t.ids[t.index[i].id] = struct{}{}
		}
	}
	_, ok := t.ids[id]
	return ok
}

// look reads what a span says of itself.
func (t *trace) look(s *wireSpan) flags {
	var f flags
	if s.failed {
		f |= flagFailed
	}
	var attempts uint64
	for _, a := range s.attrs {
		switch string(a.key) {
		case keyCall:
			f |= when(a.num == 1, flagCall)
		case keyAttempts:
			attempts = a.num
		case keyHedged:
			f |= when(a.num == 1, flagHedged)
		case keyRefusedBy:
			f |= when(len(a.str) > 0, flagRefused)
		case keyAdmission:
			f |= when(len(a.str) > 0 && string(a.str) != "admitted", flagRefused)
		case keyAttempt:
			f |= when(s.kind == 3, flagAttempt)
		case keyMessageAttempt:
			f |= when(a.num > 1, flagRetried)
		case keyVerdict:
			f |= when(isDead(string(a.str)), flagDead)
		case keyKeep:
			if k := string(a.str); keepRank[k] > keepRank[t.keep] {
				t.keep = clean(k)
			}
			f |= when(string(a.str) == "slow", flagSlow)
			f |= when(string(a.str) == "retried", flagRetried)
		}
	}
	if f&flagHedged != 0 && attempts > 0 { // one of the attempts was made beside another one
		attempts--
	}
	f |= when(attempts > 1, flagRetried)
	return f
}

var keepRank = map[string]int{"sampled": 1, "slow": 2, "hedged": 3, "retried": 4, "refused": 5, "error": 6}

func isDead(verdict string) bool {
	return verdict == "dead" || verdict == "dead-letter" || verdict == "dead letter"
}

func when(is bool, f flags) flags {
	if is {
		return f
	}
	return 0
}

func (t *trace) peer(src source) uint16 {
	for i := range t.peers {
		if t.peers[i].service == string(src.service) && t.peers[i].instance == string(src.instance) {
			return uint16(i)
		}
	}
	if len(t.peers) >= maxPeers-1 { // the last place is that of all for whom there is none
		if len(t.peers) < maxPeers {
			t.peers = append(t.peers, peer{others, ""})
		}
		return maxPeers - 1
	}
	t.peers = append(t.peers, peer{clean(string(src.service)), clean(string(src.instance))})
	return uint16(len(t.peers) - 1)
}

// word adds to what the trace is searched by.
func (t *trace) word(w []byte, limit int) {
	if len(w) == 0 || len(t.text)+len(w)+1 > limit {
		return
	}
	var room [maxName]byte
	lower := append(room[:0], w...)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	if !bytes.Contains(t.text, lower) {
		t.text = append(append(t.text, lower...), '\n')
	}
}

// measure is what the trace takes in memory.
func (t *trace) measure() int {
	n := traceSize + cap(t.records) + refSize*cap(t.index) + cap(t.text) + idSize*len(t.ids)
	for _, p := range t.peers {
		n += 32 + len(p.service) + len(p.instance)
	}
	return n
}

// root is the place in the index of the span that all others are below of, as far as is known: one without a parent, or else
// the earliest whose parent is unknown.
func (t *trace) root() int {
	best := -1
	for i := range t.index {
		if t.index[i].parent == (spanID{}) && (best < 0 || t.index[i].start < t.index[best].start) {
			best = i
		}
	}
	if best >= 0 || len(t.index) == 0 {
		return best
	}
	known := make(map[spanID]struct{}, len(t.index))
	for i := range t.index {
		known[t.index[i].id] = struct{}{}
	}
	for i := range t.index {
		if _, ok := known[t.index[i].parent]; !ok && (best < 0 || t.index[i].start < t.index[best].start) {
			best = i
		}
	}
	return max(best, 0) // a circle, which only a liar sends
}

func (t *trace) record(r *ref) []byte { return t.records[r.off:] }

// sum is the trace in a line.
func (t *trace) sum() *control.TraceSummary {
	if t.summary != nil {
		return t.summary
	}
	s := &control.TraceSummary{ID: hex.EncodeToString(t.id[:]), Keep: t.keep, Spans: len(t.index) + t.dropped, Services: []string{}}
	t.summary = s
	i := t.root()
	if i < 0 {
		return s
	}
	root := &t.index[i]
	s.Root, s.Service = readName(t.record(root)), t.peers[root.peer].service
	s.Start, s.Duration = time.Unix(0, root.start).UTC(), time.Duration(root.end-root.start)
	first := make(map[string]int64, 8)
	var dead *ref
	var last map[again]int64
	for i := range t.index {
		r := &t.index[i]
		if r.flags&flagAttempt != 0 {
			s.Attempts++
		}
		if r.flags&flagDead != 0 {
			if last == nil {
				last = t.handledLast()
			}
			if !t.replayed(r, last) {
				dead = r
			}
		}
		service := t.peers[r.peer].service
		if at, ok := first[service]; !ok || r.start < at {
			first[service] = r.start
		}
	}
	for service := range first {
		s.Services = append(s.Services, service)
	}
	slices.SortFunc(s.Services, func(a, b string) int { return cmp.Or(cmp.Compare(first[a], first[b]), cmp.Compare(a, b)) })
	switch {
	case root.flags&flagFailed != 0:
		s.Status = control.TraceError
		s.Error = t.why(root)
	case dead != nil:
		s.Status = control.TraceError
		s.Error = t.why(dead)
	case t.flags&flagRetried != 0:
		s.Status = control.TraceRetried
	case t.flags&flagHedged != 0:
		s.Status = control.TraceHedged
	case t.flags&flagSlow != 0:
		s.Status = control.TraceSlow
	default:
		s.Status = control.TraceOK
	}
	return s
}

// again is what a message is known by that comes to a service again.
type again struct {
	parent            spanID
	service, name, id string
}

func (t *trace) again(r *ref, span *control.Span) again {
	return again{r.parent, t.peers[r.peer].service, span.Name, text(span, keyMessageID)}
}

// handledLast is when each message was handled last, as far as it was.
func (t *trace) handledLast() map[again]int64 {
	out := make(map[again]int64)
	for i := range t.index {
		r := &t.index[i]
		if r.kind != 5 || r.flags&(flagFailed|flagDead) != 0 {
			continue
		}
		span := readRecord(t.record(r), r, t.peers[r.peer])
		if k := t.again(r, &span); handled(&span) {
			out[k] = max(out[k], r.start)
		}
	}
	return out
}

// replayed reports whether a message that was a dead letter was handled when it came again.
func (t *trace) replayed(dead *ref, last map[again]int64) bool {
	span := readRecord(t.record(dead), dead, t.peers[dead.peer])
	return last[t.again(dead, &span)] > dead.start
}

// why is the error of a span that failed. Where that is a status alone, a call below it knows more.
func (t *trace) why(r *ref) string {
	span := readRecord(t.record(r), r, t.peers[r.peer])
	if span.Error == span.Code || strings.HasPrefix(span.Error, "HTTP ") {
		root, same := span, false
		var last *ref
		for i := range t.index {
			k := &t.index[i]
			if k.flags&flagFailed == 0 || k.kind == 5 {
				continue
			}
			below := readRecord(t.record(k), k, t.peers[k.peer])
			is := sameCode(below.Code, root.Code) // rather than one that was coped with
			if ownWords(&below) && (last == nil || is && !same || is == same && k.start >= last.start) {
				last, span, same = k, below, is
			}
		}
	}
	if span.Error == "" || span.Error == span.Code {
		return span.Code
	}
	return span.Code + ": " + span.Error
}

// fits reports whether the trace is one that q asks for; text is q's in lower case.
func (t *trace) fits(q *control.TraceQuery, text []byte) bool {
	if !q.Since.IsZero() && t.begun < q.Since.UnixNano() {
		return false
	}
	if q.Service != "" && !slices.ContainsFunc(t.peers, func(p peer) bool { return p.service == q.Service }) {
		return false
	}
	switch q.Status {
	case control.TraceRetried:
		if t.flags&flagRetried == 0 {
			return false
		}
	case control.TraceHedged:
		if t.flags&flagHedged == 0 {
			return false
		}
	case control.TraceSlow:
		if t.flags&flagSlow == 0 {
			return false
		}
	case control.TraceError, control.TraceOK:
		if t.sum().Status != q.Status {
			return false
		}
	}
	if q.Min > 0 && t.sum().Duration < q.Min {
		return false
	}
	if len(text) > 0 && !bytes.Contains(t.text, text) && !bytes.HasPrefix([]byte(hex.EncodeToString(t.id[:])), text) {
		return false
	}
	return true
}
