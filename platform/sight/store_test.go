package sight_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

var _ control.Sight = (*sight.Store)(nil)

func TestTraces(t *testing.T) {
	s := sight.New(sight.Config{})
	ok := &world{trace: 1}
	begun(ok, 14)
	ok.add(t, s)
	bad := &world{trace: 2}
	begun(bad, 2000)
	broken(bad, "UNAVAILABLE", "UNAVAILABLE: UNAVAILABLE: Orders cannot be reached")
	bad.add(t, s)
	retried := &world{trace: 3}
	begun(retried, 60)
	retried.call(5, 4, "gateway-1", "orders", place, 1, 58, attrs{"holdfast.call.attempts", 3, "holdfast.call.hedged", true, "holdfast.keep", "retried"})
	retried.serve(6, 5, "orders-2", place, 2, 50, nil)
	retried.add(t, s)

	for _, tc := range []struct {
		name string
		q    control.TraceQuery
		want []byte
	}{
		{"all", control.TraceQuery{}, []byte{3, 2, 1}},
		{"one", control.TraceQuery{Limit: 1}, []byte{3}},
		{"of a service", control.TraceQuery{Service: "orders"}, []byte{3}},
		{"failed", control.TraceQuery{Status: control.TraceError}, []byte{2}},
		{"retried", control.TraceQuery{Status: control.TraceRetried}, []byte{3}},
		{"hedged as well", control.TraceQuery{Status: control.TraceHedged}, []byte{3}},
		{"well", control.TraceQuery{Status: control.TraceOK}, []byte{1}},
		{"slow", control.TraceQuery{Status: control.TraceSlow}, nil},
		{"long", control.TraceQuery{Min: time.Second}, []byte{2}},
		{"a word of an error", control.TraceQuery{Text: "CANNOT be"}, []byte{2}},
		{"an instance", control.TraceQuery{Text: "orders-2"}, []byte{3}},
		{"its ID", control.TraceQuery{Text: "0100000"}, []byte{1}},
		{"since later", control.TraceQuery{Since: epoch.Add(time.Hour)}, nil},
		{"nothing", control.TraceQuery{Text: "nowhere"}, nil},
	} {
		var got []byte
		for _, sum := range s.Traces(tc.q) {
			for id := range byte(4) {
				if sum.ID == hexID(id) {
					got = append(got, id)
				}
			}
		}
		slices.Sort(got)
		slices.Reverse(got) // they begin at the same time
		if tc.q.Limit == 1 {
			got = got[:min(len(got), 1)]
			tc.want = got
		}
		if string(got) != string(tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	sum := s.Traces(control.TraceQuery{Status: control.TraceError})[0]
	if sum.Root != "POST /api/orders" || sum.Service != "edge" || sum.Error != "UNAVAILABLE: Orders cannot be reached" || sum.Duration != 2*time.Second ||
		!slices.Equal(sum.Services, []string{"edge", "gateway"}) || sum.Spans != 4 || sum.Attempts != 1 {
		t.Errorf("%+v", sum)
	}
}

func TestFindByTheBeginningOfAnID(t *testing.T) {
	s := sight.New(sight.Config{})
	for id := range byte(3) {
		w := &world{trace: 16 + id}
		w.serve(int(id)+1, 0, "edge", "GET /", 0, 1, nil)
		w.add(t, s)
	}
	for id, want := range map[string]string{
		hexID(16): hexID(16), "10000000": hexID(16), "110000": hexID(17), "1200000": hexID(18), strings.ToUpper("0000000300"): hexID(18), "00000002": hexID(17),
	} {
		if got, err := s.Trace(id); err != nil || got.ID != want {
			t.Errorf("%s: %s, %v; want %s", id, got.ID, err, want)
		}
	}
	for id, want := range map[string]failure.Code{
		"000000": failure.InvalidArgument, "10000": failure.InvalidArgument, "nothex": failure.InvalidArgument, "": failure.InvalidArgument,
		"123456": failure.NotFound, strings.Repeat("a", 33): failure.InvalidArgument, strings.Repeat("a", 32): failure.NotFound,
	} {
		if _, err := s.Trace(id); failure.CodeOf(err) != want {
			t.Errorf("%q: %v, want %v", id, err, want)
		}
		if _, err := s.Explain(id, "en"); failure.CodeOf(err) != want {
			t.Errorf("explain %q: %v, want %v", id, err, want)
		}
	}
}

// What comes in other orders than it happened in is the same tree.
func TestSpansThatComeLate(t *testing.T) {
	w := &world{trace: 1}
	begun(w, 14)
	w.call(5, 4, "gateway-1", "orders", place, 1, 12, nil)
	w.try(6, 5, "gateway-1", "orders", 1, "orders-2", 1.2, 11.5, nil)
	w.serve(7, 6, "orders-2", place, 1.5, 11, nil)
	for name, order := range map[string][]int{"as it was": {0, 1, 2, 3, 4, 5, 6}, "backward": {6, 5, 4, 3, 2, 1, 0}, "twice": {3, 3, 0, 1, 6, 2, 5, 4, 0}} {
		s := sight.New(sight.Config{})
		for _, i := range order {
			addAll(t, s, w.spans[i:i+1])
		}
		got, err := s.Trace(hexID(1))
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for i, span := range got.Tree {
			ids = append(ids, span.ID[7:8])
			if span.Depth != i {
				t.Errorf("%s: %s is at depth %d", name, span.ID, span.Depth)
			}
		}
		if strings.Join(ids, "") != "1234567" || got.Incomplete != "" {
			t.Errorf("%s: %v, %q", name, ids, got.Incomplete)
		}
	}
}

func TestMissingParents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		w := &world{trace: 1}
		w.serve(1, 0, "edge", "GET /", 0, 10, nil)
		w.serve(9, 8, "orders-1", place, 2, 3, nil)
		w.add(t, s)
		got, _ := s.Trace(hexID(1))
		if len(got.Tree) != 2 || got.Tree[1].Depth != 0 || got.Incomplete != "1 spans above these are missing: "+place+" (orders-1); it may still come" {
			t.Errorf("%+v", got)
		}
		pass(time.Minute)
		if got, _ = s.Trace(hexID(1)); !strings.HasSuffix(got.Incomplete, "it may not have been sampled, or its process does not export") {
			t.Errorf("after a minute: %q", got.Incomplete)
		}
		// What somebody else has begun lacks nothing.
		other := &world{trace: 2}
		other.serve(9, 8, "edge", "GET /", 2, 3, nil)
		other.add(t, s)
		if got, _ := s.Trace(hexID(2)); got.Incomplete != "" {
			t.Errorf("begun elsewhere: %q", got.Incomplete)
		}
	})
}

func TestClocksThatContradictEachOther(t *testing.T) {
	s := sight.New(sight.Config{})
	w := &world{trace: 1}
	w.try(1, 0, "gateway-1", "orders", 1, "orders-1", 100, 50, nil)
	w.serve(2, 1, "orders-1", place, -5000, 40, nil) // its clock is 5 s behind
	w.call(3, 2, "orders-1", "stock", "Reserve", -4990, 20, nil)
	w.try(4, 3, "orders-1", "stock", 1, "stock-1", -4990, 20, nil)
	w.serve(5, 4, "stock-1", "Reserve", 115, 10, nil) // whose clock is right
	w.try(6, 0, "gateway-1", "orders", 2, "orders-2", 200, 20, attrs{"holdfast.attempt.lost", true})
	w.serve(7, 6, "orders-2", place, 215, 100, nil) // it went on after nobody wanted it any more: no fault of its clock
	w.add(t, s)
	got, _ := s.Trace(hexID(1))
	want := map[byte]float64{1: 100, 2: 105, 3: 115, 4: 115, 5: 115, 6: 200, 7: 215}
	for _, span := range got.Tree {
		id := span.ID[7] - '0'
		if diff := span.Start.Sub(at(want[id])).Abs(); diff > time.Millisecond {
			t.Errorf("span %d begins at %v, want %v; moved by %v", id, span.Start.Sub(epoch), want[id], span.Skew)
		}
	}
}

// A trace in which somebody lies: circles, IDs of their own parents, spans that end before they begin.
func TestLies(t *testing.T) {
	s := sight.New(sight.Config{})
	w := &world{trace: 1}
	w.serve(1, 2, "a-1", "x", 5, -10, nil)
	w.call(2, 1, "a-1", "b", "y", 4, 1, nil)
	w.try(3, 3, "a-1", "b", 1, "b-1", 4, 1, nil)
	w.span(4, 1, "b-1", "consumer", "", 0, 0, nil)
	w.add(t, s)
	got, err := s.Trace(hexID(1))
	if err != nil || len(got.Tree) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, id := range []string{hexID(1), hexOf(spanBytes(1)), hexOf(spanBytes(2)), hexOf(spanBytes(3)), hexOf(spanBytes(4))} {
		if e, err := s.Explain(id, "zh"); err != nil || e.Verdict == "" {
			t.Errorf("explain %s: %+v, %v", id, e, err)
		}
	}
	if sums := s.Traces(control.TraceQuery{}); len(sums) != 1 || sums[0].Duration < 0 {
		t.Errorf("%+v", sums)
	}
}

// A flood stays within its bound, and what failed is there for longer than what went well.
func TestBound(t *testing.T) {
	const bound = 1 << 20
	s := sight.New(sight.Config{TraceBytes: bound})
	long := strings.Repeat("x", 300)
	for i := range 6000 {
		w := &world{}
		span := w.serve(1, 0, "edge", "GET /"+long[:i%200], float64(i), 1, attrs{"n", i, "text", long})
		span.TraceId = []byte(fmt.Sprintf("trace-%010d", i))
		if i%100 == 0 {
			fails(span, "INTERNAL", "broken")
		}
		w.add(t, s)
		if got, _, _ := s.Bytes(); got > bound {
			t.Fatalf("%d bytes after %d traces", got, i)
		}
	}
	failed := s.Traces(control.TraceQuery{Status: control.TraceError, Limit: 1000})
	all := s.Traces(control.TraceQuery{Limit: 1000})
	if len(failed) != 60 || len(all) < 300 || all[0].Start != at(5999) {
		t.Errorf("%d failed ones of 60 are kept, %d of all, the last from %v", len(failed), len(all), all[0].Start)
	}
	if spans, _, _ := s.Dropped(); spans != 0 {
		t.Errorf("%d dropped", spans)
	}
	// What comes of one that was dropped says so.
	w := &world{}
	w.serve(2, 1, "orders-1", place, 2, 1, nil).TraceId = []byte(fmt.Sprintf("trace-%010d", 1))
	w.add(t, s)
	if got, err := s.Trace(hexOf([]byte(fmt.Sprintf("trace-%010d", 1)))); err != nil || !strings.Contains(got.Incomplete, "the store is full") {
		t.Errorf("%+v, %v", got, err)
	}
}

// Of one trace there is room for so many spans, and of one span for so much.
func TestBoundsOfOne(t *testing.T) {
	s := sight.New(sight.Config{})
	w := &world{trace: 1}
	for i := range 5000 {
		w.serve(i+1, i, "edge", "GET /", float64(i), 1, nil)
	}
	w.add(t, s)
	got, _ := s.Trace(hexID(1))
	if len(got.Tree) != 4096 || got.Spans != 5000 || !strings.Contains(got.Incomplete, "904 spans more") {
		t.Errorf("%d of %d spans; %q", len(got.Tree), got.Spans, got.Incomplete)
	}
	if spans, _, _ := s.Dropped(); spans != 904 {
		t.Errorf("%d dropped", spans)
	}
	w = &world{trace: 2}
	all := attrs{"large", strings.Repeat("ä", 1<<19)}
	for i := range 200 {
		all = append(all, fmt.Sprint("key", i), strings.Repeat("v", 5000))
	}
	w.serve(1, 0, "edge", strings.Repeat("n", 1000), 0, 1, all)
	b := marshal(t, w)
	if n, err := s.AddTraces(b); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	got, _ = s.Trace(hexID(2))
	if large := got.Tree[0].Attributes["large"].(string); len(large) != 1<<10 || len(got.Tree[0].Name) != 256 || len(got.Tree[0].Attributes) > 20 {
		t.Errorf("%d bytes of an attribute, %d of the name, %d attributes", len(large), len(got.Tree[0].Name), len(got.Tree[0].Attributes))
	}
	if traces, _, _ := s.Bytes(); traces > 1<<20 {
		t.Errorf("%d bytes", traces)
	}
}

func TestLogs(t *testing.T) {
	s := sight.New(sight.Config{LogBytes: 100_000})
	w := &world{trace: 1}
	begun(w, 14)
	w.add(t, s)
	s.AddLine(control.LogLine{Time: at(3), Service: "orders", Instance: "orders-1", Text: `time=x level=WARN msg="low on stock" trace_id=` + hexID(1) + ` span_id=` + hexOf(spanBytes(4))})
	s.AddLine(control.LogLine{Time: at(4), Service: "orders", Instance: "orders-1", Text: `{"level":"INFO","trace_id":"` + hexID(1) + `"}`})
	s.AddLine(control.LogLine{Time: at(5), Service: "orders", Instance: "orders-1", Text: "nothing of it"})
	got, _ := s.Trace(hexID(1))
	if len(got.Logs) != 2 || got.Logs[0].Level != "WARN" || got.Logs[0].Span != hexOf(spanBytes(4)) || got.Logs[1].Level != "INFO" {
		t.Errorf("%+v", got.Logs)
	}
	for range 10_000 {
		s.AddLine(control.LogLine{Text: strings.Repeat("x", 100)})
	}
	if _, _, logs := s.Bytes(); logs > 100_000 || logs < 90_000 {
		t.Errorf("%d bytes of logs", logs)
	}
}

func TestParseLine(t *testing.T) {
	id, span := hexID(9), hexOf(spanBytes(3))
	for line, want := range map[string][3]string{
		"level=INFO msg=x trace_id=" + id + " span_id=" + span:       {id, span, "INFO"},
		`{"level":"ERROR","trace_id":"` + strings.ToUpper(id) + `"}`: {id, "", "ERROR"},
		`msg="x" trace_id="` + id + `"`:                              {id, "", ""},
		"trace_id=short level=DEBUG+2":                               {"", "", "DEBUG"},
		"my_trace_id=" + id:                                          {"", "", ""},
		"{not json trace_id=" + id:                                   {id, "", ""},
		"plain text":                                                 {"", "", ""},
		"":                                                           {"", "", ""},
	} {
		trace, span, level := sight.ParseLine(line)
		if got := [3]string{trace, span, level}; got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// In a long trace what failed is found by its words, though those of all else would not fit.
func TestAnErrorIsFoundInALongTrace(t *testing.T) {
	s := sight.New(sight.Config{})
	w := &world{trace: 1}
	w.serve(1, 0, "gateway-1", "POST /bulk", 0, 30, nil)
	for i := range 120 {
		w.span(10+i, 1, "gateway-1", "client", "SELECT", 1, 2, attrs{"db.query.text", fmt.Sprintf("SELECT * FROM orders WHERE id = %036d", i)})
	}
	fails(w.serve(2, 1, "stock-1", "Stock/Get", 3, 4, nil), "INTERNAL", "disk quota exceeded on shard nine")
	w.add(t, s)
	if found := s.Traces(control.TraceQuery{Text: "quota exceeded"}); len(found) != 1 {
		t.Errorf("found %d", len(found))
	}
}

// A consumer that is not Holdfast's and fails says nothing of what becomes of the message, and neither do we; but not that all went well.
func TestAConsumerOfOthersThatFails(t *testing.T) {
	s := sight.New(sight.Config{})
	w := &world{trace: 1}
	w.serve(1, 0, "gateway-1", "POST /order", 0, 30, nil)
	w.span(2, 1, "gateway-1", "producer", "publish orders", 5, 2, attrs{"messaging.destination.name", "orders"})
	fails(w.span(3, 2, "mail-1", "consumer", "process orders", 10, 5, attrs{"messaging.destination.name", "orders"}), "INTERNAL", "smtp down")
	w.add(t, s)
	e, err := s.Explain(hexID(1), "en")
	if err != nil || !strings.Contains(e.Verdict, "smtp down") || strings.Contains(fmt.Sprint(e.Lines), "comes again") {
		t.Errorf("%v: %s %+v", err, e.Verdict, e.Lines)
	}
}
