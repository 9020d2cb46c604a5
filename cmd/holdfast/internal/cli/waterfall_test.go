//go:build unix

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

// traceSample is a checkout whose order was tried on one instance, then on another, with a hedge on its way.
func traceSample() control.Trace {
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	span := func(id string, depth int, service, instance, kind, name string, start, took int, attributes map[string]any) control.Span {
		return control.Span{
			ID: id, Depth: depth, Service: service, Instance: instance, Kind: kind, Name: name, Start: t0.Add(ms(start)), Duration: ms(took), Attributes: attributes,
		}
	}
	attempt := func(n int, peer string, more ...any) map[string]any {
		at := map[string]any{"holdfast.attempt": float64(n), "holdfast.peer.instance": peer}
		for i := 0; i < len(more); i += 2 {
			at[more[i].(string)] = more[i+1]
		}
		return at
	}
	one := span("04", 3, "gateway", "gateway-1", control.SpanClient, "orders.v1.Orders/Place", 2, 250, attempt(1, "orders-1"))
	one.Code, one.Error = "DEADLINE_EXCEEDED", "no answer within 250ms"
	return control.Trace{
		TraceSummary: control.TraceSummary{
			ID: "4bf92f3577b34da6a3ce929d0e0e4736", Root: "POST /api/orders", Service: "edge", Status: control.TraceRetried, Keep: "retried", Start: t0,
			Duration: ms(620), Spans: 9, Attempts: 4, Services: []string{"edge", "gateway", "orders", "payment"},
		},
		Incomplete: "1 span has a parent that is not here: payment-1 was killed",
		Tree: []control.Span{
			span("01", 0, "edge", "", control.SpanInternal, "POST /api/orders", 0, 620, map[string]any{"holdfast.call": true, "holdfast.call.attempts": 1.0}),
			span("02", 1, "gateway", "gateway-1", control.SpanServer, "POST /api/orders", 1, 618, map[string]any{"holdfast.admission": "admitted", "holdfast.waited_ms": 0.0}),
			span("03", 2, "gateway", "gateway-1", control.SpanInternal, "orders.v1.Orders/Place", 2, 610, map[string]any{"holdfast.call": true, "holdfast.call.attempts": 3.0}),
			one,
			span("05", 3, "gateway", "gateway-1", control.SpanClient, "orders.v1.Orders/Place", 270, 330, attempt(2, "orders-2", "holdfast.attempt.lost", true)),
			span("06", 4, "orders", "orders-2", control.SpanServer, "orders.v1.Orders/Place", 272, 300, map[string]any{"holdfast.attempt": 2.0, "holdfast.admission": "admitted", "holdfast.waited_ms": 120.0}),
			span("07", 3, "gateway", "gateway-1", control.SpanClient, "orders.v1.Orders/Place", 400, 205, attempt(3, "orders-3", "holdfast.attempt.hedge", true)),
			span("08", 4, "orders", "orders-3", control.SpanServer, "orders.v1.Orders/Place", 402, 200, map[string]any{"holdfast.admission": "admitted"}),
			span("09", 5, "orders", "orders-3", control.SpanInternal, "payment.v1.Payment/Charge", 410, 150, map[string]any{"holdfast.call": true, "holdfast.call.attempts": 1.0}),
		},
		Logs: []control.LogLine{
			{Time: t0.Add(ms(415)), Service: "orders", Instance: "orders-3", Text: "charging\x1b[2J o-17"},
		},
	}
}

func TestWaterfall(t *testing.T) {
	var out strings.Builder
	for _, out2 := range []terminal.Features{{}, {ASCII: true}} {
		a := &app{name: "holdfast", out: out2, Process: Process{Out: &out, Err: &out}}
		a.printTrace(traceSample())
		out.WriteString("\n")
	}
	compare(t, "trace.golden", out.String())
}

// Whatever spans say, they are drawn on one scale in the room there is.
func TestWaterfallOfOddSpans(t *testing.T) {
	t0 := time.Unix(0, 0)
	a := &app{}
	for name, spans := range map[string][]control.Span{
		"none":          nil,
		"no time":       {{Name: "a", Start: t0}, {Name: "b", Start: t0}},
		"a child alone": {{Name: "a", Depth: 7, Start: t0, Duration: time.Hour}},
		"negative":      {{Name: "a", Depth: -1, Start: t0, Duration: -time.Second}, {Name: "b", Start: t0.Add(-time.Hour), Duration: time.Minute}},
		"odd values":    {{Name: "a", Attributes: map[string]any{"holdfast.attempt": "1", "holdfast.call.attempts": -1.5, "holdfast.waited_ms": 1e300}}},
	} {
		bars := a.bars(spans)
		if len(bars) != len(spans) {
			t.Errorf("%s: %d lines of %d spans", name, len(bars), len(spans))
		}
		for _, line := range a.waterfall(bars, 80) {
			if terminal.Width(line) > 120 || terminal.Clean(line) != line {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}

func TestExplanation(t *testing.T) {
	e := control.Explanation{
		Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Lang: "en", Status: control.TraceError,
		Title:   "POST /api/orders of the edge: failed after 2.1 s",
		Verdict: "orders had nobody left to ask: both of its instances refused or were ejected, and the retry budget was empty.",
		Lines: []control.ExplainLine{
			{At: 0, Text: "gateway-1 calls orders.v1.Orders/Place with 2 s left"},
			{At: 1200 * time.Microsecond, Level: 1, Text: "attempt 1 goes to orders-1, the less busy of two", Span: "04"},
			{At: 251 * time.Millisecond, Level: 1, Text: "no answer within 250 ms; the attempt is given up, and it is not known whether orders-1 has done it", Bad: true},
		},
		Advice: []string{"Look at orders-1: it has been frozen since 12:00:01, on purpose (drill leaders-die)."},
	}
	zh := e
	zh.Lang, zh.Title = "zh", "edge 的 POST /api/orders：2.1 秒后失败"
	zh.Verdict = "orders 已经没有可用的实例：两个实例都拒绝了请求或者被摘除，重试预算也已经用完。所以网关只好放弃，并把错误交给了用户。"
	var out strings.Builder
	a := &app{name: "holdfast"}
	for _, columns := range []int{noLimit, 60} {
		for _, e := range []control.Explanation{e, zh} {
			out.WriteString(strings.Join(a.explanation(e, columns), "\n") + "\n\n")
		}
	}
	compare(t, "explain.golden", out.String())
}
