package sight

import (
	"bytes"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	defaultTraceBytes  = 64 << 20
	defaultMetricBytes = 32 << 20
	defaultLogBytes    = 16 << 20
	maxForgotten       = 8192
	maxNotes           = 4096
)

// Config bounds a Store. Its zero value works.
type Config struct {
	// TraceBytes, MetricBytes and LogBytes bound what the store keeps of each, in bytes of memory. 0 means 64 MiB, 32 MiB
	// and 16 MiB.
	TraceBytes, MetricBytes, LogBytes int
}

// Store keeps traces, metrics, logs and events of a running system. It has no goroutines and implements [control.Sight]. All
// methods may be called at once.
type Store struct {
	cfg Config

	mu        sync.Mutex // of what follows; never held together with another one
	traces    map[traceID]*trace
	plain     list // those that went well
	kept      list // those that did not, which are there for longer
	forgotten map[traceID]struct{}
	order     []traceID // of forgotten; a ring
	at        int
	dropped   uint64

	notes notes
	metrics
	logs
}

// list is traces from the oldest to the newest, by when they were first heard of.
type list struct {
	first, last *trace
	size        int
}

func (l *list) push(t *trace) {
	t.prev, t.next = l.last, nil
	if l.last != nil {
		l.last.next = t
	} else {
		l.first = t
	}
	l.last = t
	l.size += t.size
}

func (l *list) remove(t *trace) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	t.prev, t.next = nil, nil
	l.size -= t.size
}

// New returns an empty Store.
func New(cfg Config) *Store {
	if cfg.TraceBytes <= 0 {
		cfg.TraceBytes = defaultTraceBytes
	}
	if cfg.MetricBytes <= 0 {
		cfg.MetricBytes = defaultMetricBytes
	}
	if cfg.LogBytes <= 0 {
		cfg.LogBytes = defaultLogBytes
	}
	s := &Store{cfg: cfg, traces: make(map[traceID]*trace), forgotten: make(map[traceID]struct{})}
	s.metrics.init(cfg.MetricBytes)
	s.logs.limit = cfg.LogBytes
	return s
}

// AddTraces takes an ExportTraceServiceRequest of OTLP, as protobuf, and returns how many spans it had. An error, a
// failure.InvalidArgument, means that it is not one; what stood before the place where that shows is kept. The bytes are the caller's.
func (s *Store) AddTraces(body []byte) (spans int, err error) {
	now := time.Now().UnixNano()
	var span wireSpan
	s.mu.Lock()
	defer s.mu.Unlock()
	err = perResource(body, func(src source, b []byte) error {
		if err := span.parse(b); err != nil {
			return err
		}
		if span.trace == (traceID{}) || span.id == (spanID{}) {
			s.dropped++
			return nil
		}
		spans++
		s.add(src, &span, now)
		return nil
	})
	return spans, refuse(err)
}

func refuse(err error) error {
	if err == nil {
		return nil
	}
	return failure.Wrap(err, failure.InvalidArgument, "the body is not OTLP")
}

// add takes one span; s.mu is held.
func (s *Store) add(src source, span *wireSpan, now int64) {
	t := s.traces[span.trace]
	if t == nil {
		t = &trace{id: span.trace}
		_, t.partly = s.forgotten[span.trace]
		s.traces[span.trace] = t
		s.plain.push(t)
	}
	l := &s.plain
	if t.kept {
		l = &s.kept
	}
	was := t.dropped
	t.add(src, span, now)
	s.dropped += uint64(t.dropped - was)
	size := t.measure()
	l.size += size - t.size
	t.size = size
	if !t.kept && t.flags&outlives != 0 {
		s.plain.remove(t)
		t.kept = true
		s.kept.push(t)
	}
	for s.plain.size+s.kept.size > s.cfg.TraceBytes {
		old := s.kept.first
		if s.plain.first != nil && (old == nil || s.plain.size > s.cfg.TraceBytes/4) {
			old = s.plain.first
		}
		s.forget(old)
	}
}

// forget drops a trace, and remembers that it did: what comes of it later is a part.
func (s *Store) forget(t *trace) {
	if t.kept {
		s.kept.remove(t)
	} else {
		s.plain.remove(t)
	}
	delete(s.traces, t.id)
	if _, ok := s.forgotten[t.id]; ok {
		return
	}
	if len(s.order) < maxForgotten {
		s.order = append(s.order, t.id)
	} else {
		delete(s.forgotten, s.order[s.at])
		s.order[s.at] = t.id
		s.at = (s.at + 1) % maxForgotten
	}
	s.forgotten[t.id] = struct{}{}
}

// Dropped is how many spans, points of metrics, and lines came that are not kept, for they were more than one trace, metric or
// process may have, or without what makes them one. What was kept and has become old is not counted.
func (s *Store) Dropped() (spans, points, lines uint64) {
	s.mu.Lock()
	spans = s.dropped
	s.mu.Unlock()
	return spans, s.metrics.droppedPoints(), s.logs.droppedLines()
}

// Bytes is what the store takes for traces, metrics and logs.
func (s *Store) Bytes() (traces, metrics, logs int) {
	s.mu.Lock()
	traces = s.plain.size + s.kept.size
	s.mu.Unlock()
	return traces, s.metrics.bytes(), s.logs.bytes()
}

// Traces implements control.Sight.
func (s *Store) Traces(q control.TraceQuery) []control.TraceSummary {
	limit := q.Limit
	if limit <= 0 {
		limit = control.DefaultTraces
	}
	limit = min(limit, control.MaxTraces)
	text := bytes.ToLower([]byte(q.Text))
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]control.TraceSummary, 0, min(limit, 64))
	// The lists are in the order in which traces were heard of: the two are merged from the end.
	for a, b := s.plain.last, s.kept.last; len(found) < limit && (a != nil || b != nil); {
		var t *trace
		if b == nil || a != nil && a.begun > b.begun {
			t, a = a, a.prev
		} else {
			t, b = b, b.prev
		}
		if t.fits(&q, text) {
			sum := *t.sum()
			sum.Services = slices.Clone(sum.Services)
			found = append(found, sum)
		}
	}
	slices.SortStableFunc(found, func(a, b control.TraceSummary) int { return b.Start.Compare(a.Start) })
	return found
}

const (
	// ReasonAmbiguousID: the beginning of an ID fits several traces.
	ReasonAmbiguousID = "AMBIGUOUS_ID"
	// ReasonUnknownTrace: no trace with the ID is kept (any more).
	ReasonUnknownTrace = "UNKNOWN_TRACE"

	minID = 6
)

// find returns the trace that id means, and the ID of the span if it is one's; s.mu is held.
func (s *Store) find(id string) (t *trace, span string, err error) {
	id = string(bytes.ToLower([]byte(id)))
	if len(id) > 2*len(traceID{}) || len(id) < minID || !isHex(id) {
		return nil, "", failure.New(failure.InvalidArgument, "%.40q is no ID of a trace or a span: those are %d to %d hex digits", id, minID, 2*len(traceID{}))
	}
	even := id[:len(id)&^1]
	begin, _ := hex.DecodeString(even)
	starts := func(b []byte) bool {
		return bytes.HasPrefix(b, begin) && (len(even) == len(id) || hex.EncodeToString(b[len(begin) : len(begin)+1])[0] == id[len(id)-1])
	}
	if len(begin) == len(traceID{}) {
		t = s.traces[traceID(begin)]
	}
	several := false
	if len(begin) < len(traceID{}) {
		for key, found := range s.traces {
			if starts(key[:]) {
				several = several || t != nil
				t = found
			}
		}
	}
	if len(id) <= 2*len(spanID{}) {
		for _, in := range s.traces {
			for i := range in.index {
				if in != t && starts(in.index[i].id[:]) { // what the trace's own ID fits means no span
					several = several || t != nil
					t, span = in, hex.EncodeToString(in.index[i].id[:])
				}
			}
		}
	}
	switch {
	case several:
		return nil, "", failure.New(failure.InvalidArgument, "%s fits several traces or spans; give more of the ID", id).
			WithReason(ReasonAmbiguousID, control.Domain)
	case t != nil:
		return t, span, nil
	}
	return nil, "", failure.New(failure.NotFound, "no trace or span %s is kept; it may have been too long ago, or was not sampled", id).
		WithReason(ReasonUnknownTrace, control.Domain)
}

func isHex(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Trace implements control.Sight.
func (s *Store) Trace(id string) (control.Trace, error) {
	t, _, err := s.trace(id)
	return t, err
}

// trace is a trace, and what Explain has to know of it.
func (s *Store) trace(id string) (control.Trace, Context, error) {
	s.mu.Lock()
	found, span, err := s.find(id)
	if err != nil {
		s.mu.Unlock()
		return control.Trace{}, Context{}, err
	}
	t := control.Trace{TraceSummary: *found.sum()}
	t.Services = slices.Clone(t.Services)
	spans := make([]control.Span, len(found.index))
	for i := range found.index {
		r := &found.index[i]
		spans[i] = readRecord(found.record(r), r, found.peers[r.peer])
	}
	key, dropped, partly, age := found.id, found.dropped, found.partly, time.Now().UnixNano()-found.last
	s.mu.Unlock()
	t.Tree = grow(spans)
	t.Logs = s.logs.of(key)
	ctx := Context{Span: span, Events: s.notes.around(&t)}
	ctx.gaps = gaps(&t, dropped, partly, time.Duration(age), ctx.Events)
	t.Incomplete = incomplete(ctx.gaps)
	return t, ctx, nil
}

// Explain implements control.Sight.
func (s *Store) Explain(id, lang string) (control.Explanation, error) {
	t, ctx, err := s.trace(id)
	if err != nil {
		return control.Explanation{}, err
	}
	ctx.Lang = lang
	return Explain(t, ctx), nil
}

// Note tells the store of something that happened to the system, such as a fault that begins: Explain says what happened to
// instances of a trace at its time.
func (s *Store) Note(e control.Event) { s.notes.add(e) }
