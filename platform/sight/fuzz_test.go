package sight_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

// Whatever comes in, the store keeps its bounds, and answers everything that it may be asked then.
func FuzzReceive(f *testing.F) {
	for _, tc := range stories {
		w := &world{trace: 7}
		tc.tell(w)
		f.Add(uint8(0), marshal(f, w))
	}
	f.Add(uint8(1), []byte(`{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"n","kind":2,"startTimeUnixNano":"1544712660000000000","status":{"code":2}}]}]}]}`))
	f.Add(uint8(3), []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","histogram":{"dataPoints":[{"count":"3","bucketCounts":["1","2"],"explicitBounds":[1.5],"startTimeUnixNano":"1"}],"aggregationTemporality":2}},{"name":"s","sum":{"isMonotonic":true,"dataPoints":[{"asDouble":2}]}},{"name":"g","gauge":{"dataPoints":[{"asInt":"5"}]}}]}]}]}`))
	f.Add(uint8(5), []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","severityText":"INFO","body":{"stringValue":"x"},"traceId":"5b8efff798038103d269b633813fc60c"}]}]}]}`))
	f.Fuzz(func(t *testing.T, how uint8, body []byte) {
		s := sight.New(sight.Config{TraceBytes: 1 << 20, MetricBytes: 1 << 20, LogBytes: 1 << 16})
		r, err := sight.Listen(s, sight.ReceiverConfig{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		path, kind := []string{"/v1/traces", "/v1/metrics", "/v1/logs"}[how/2%3], "application/x-protobuf"
		if how%2 == 1 {
			kind = "application/json"
		}
		req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, bytes.NewReader(body))
		req.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		if r.Handler().ServeHTTP(w, req); w.Code >= 500 {
			t.Errorf("answered %d", w.Code)
		}
		for _, sum := range s.Traces(control.TraceQuery{Limit: 10}) {
			trace, err := s.Trace(sum.ID)
			if err != nil || len(trace.Tree) == 0 {
				t.Fatalf("%+v, %v", trace, err)
			}
			for _, lang := range []string{"en", "zh"} {
				e, err := s.Explain(sum.ID, lang)
				if err != nil || e.Title == "" || e.Verdict == "" || !utf8.ValidString(e.Verdict) {
					t.Fatalf("%+v, %v", e, err)
				}
			}
		}
		_ = s.Graph()
		_ = s.Rates()
		_ = s.Series(control.SeriesQuery{Name: "*"})
		traces, metrics, logs := s.Bytes()
		if traces > 1<<20 || metrics > 2<<20 || logs > 1<<16 {
			t.Errorf("%d, %d, %d bytes", traces, metrics, logs)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	f.Add("level=INFO trace_id=5b8efff798038103d269b633813fc60c")
	f.Add(`{"level":"INFO","trace_id":"5b8efff798038103d269b633813fc60c"}`)
	f.Fuzz(func(t *testing.T, line string) {
		trace, span, level := sight.ParseLine(line)
		if trace != "" && len(trace) != 32 || span != "" && len(span) != 16 || len(level) > 5 {
			t.Errorf("%q: %q, %q, %q", line, trace, span, level)
		}
	})
}
