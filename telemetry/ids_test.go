package telemetry

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/resilience"
)

func TestTraceparentIsReadAsItWasWritten(t *testing.T) {
	seen := make(map[string]bool)
	for i := range 1000 {
		id, span := newTraceID(), newSpanID()
		s := traceparent(id, span, i%2 == 0)
		got, ok := parse(resilience.Along{Traceparent: s})
		if !ok || got.TraceID() != id || got.SpanID() != span || got.IsSampled() != (i%2 == 0) || !got.IsRemote() || seen[s] {
			t.Fatalf("%q: %v %v", s, got, ok)
		}
		seen[s] = true
	}
}

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for s, want := range map[string]bool{
		good:                               true,
		"01" + good[2:]:                    true,
		"01" + good[2:] + "-more":          true,
		good + "-more":                     false,
		"01" + good[2:] + "more":           false,
		"ff" + good[2:]:                    false,
		"":                                 false,
		good[1:]:                           false,
		strings.ToUpper(good):              false,
		strings.Replace(good, "-", "_", 1): false,
		"00-" + strings.Repeat("0", 32) + good[35:]: false,
		good[:36] + strings.Repeat("0", 16) + "-01": false,
	} {
		if _, ok := parse(resilience.Along{Traceparent: s}); ok != want {
			t.Errorf("%q: %v", s, ok)
		}
	}
	sc, _ := parse(resilience.Along{Traceparent: good, Tracestate: "a=1"})
	if sc.TraceState().Get("a") != "1" {
		t.Error(sc.TraceState())
	}
	for _, bad := range []string{"=", strings.Repeat("a=1,", 400)} {
		if sc, ok := parse(resilience.Along{Traceparent: good, Tracestate: bad}); !ok || sc.TraceState().Len() != 0 {
			t.Errorf("%.20q: %v %v", bad, sc, ok)
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, parent, state string) {
		sc, ok := parse(resilience.Along{Traceparent: parent, Tracestate: state})
		if ok != sc.IsValid() {
			t.Fatalf("%v %v", sc, ok)
		}
		if !ok {
			return
		}
		again, ok := parse(resilience.Along{Traceparent: traceparent(sc.TraceID(), sc.SpanID(), sc.IsSampled()), Tracestate: sc.TraceState().String()})
		if !ok || !again.Equal(sc) {
			t.Fatalf("%v, %v", sc, again)
		}
	})
}

// Ids are drawn for every call, and must not be drawn twice.
func TestIDsDiffer(t *testing.T) {
	traces, spans := make(map[trace.TraceID]bool), make(map[trace.SpanID]bool)
	for range 10_000 {
		traces[newTraceID()], spans[newSpanID()] = true, true
	}
	if len(traces) != 10_000 || len(spans) != 10_000 {
		t.Error(len(traces), len(spans))
	}
}
