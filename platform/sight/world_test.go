package sight_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

// epoch is where clocks of package synctest begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// attrs are attributes: a key, its value, a key ...
type attrs []any

func (a attrs) proto() []*common.KeyValue {
	var out []*common.KeyValue
	for i := 0; i < len(a); i += 2 {
		v := &common.AnyValue{}
		switch x := a[i+1].(type) {
		case string:
			v.Value = &common.AnyValue_StringValue{StringValue: x}
		case bool:
			v.Value = &common.AnyValue_BoolValue{BoolValue: x}
		case int:
			v.Value = &common.AnyValue_IntValue{IntValue: int64(x)}
		case float64:
			v.Value = &common.AnyValue_DoubleValue{DoubleValue: x}
		case []string:
			list := &common.ArrayValue{}
			for _, s := range x {
				list.Values = append(list.Values, &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}})
			}
			v.Value = &common.AnyValue_ArrayValue{ArrayValue: list}
		}
		out = append(out, &common.KeyValue{Key: a[i].(string), Value: v})
	}
	return out
}

// world is spans of a trace in the making.
type world struct {
	trace byte
	spans []told
}

type told struct {
	by   string
	span *tracepb.Span
}

func traceBytes(n byte) []byte { return []byte{n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n} }

func spanBytes(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)<<32|uint64(n)) }

// span adds one: ids from 1, 0 for no parent; times in milliseconds since the epoch.
func (w *world) span(id, parent int, by, kind, name string, from, took float64, a attrs) *tracepb.Span {
	start := uint64(epoch.UnixNano()) + uint64(from*1e6)
	s := &tracepb.Span{
		TraceId: traceBytes(w.trace), SpanId: spanBytes(id), Name: name, Kind: tracepb.Span_SpanKind(tracepb.Span_SpanKind_value["SPAN_KIND_"+strings.ToUpper(kind)]),
		StartTimeUnixNano: start, EndTimeUnixNano: start + uint64(took*1e6), Attributes: a.proto(),
	}
	if parent > 0 {
		s.ParentSpanId = spanBytes(parent)
	}
	w.spans = append(w.spans, told{by, s})
	return s
}

// fails says that a span ended badly.
func fails(s *tracepb.Span, code, message string) {
	s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: message}
	s.Attributes = append(s.Attributes, attrs{"error.type", code}.proto()...)
}

// call, try and serve add what package telemetry says of each.
func (w *world) call(id, parent int, by, to, name string, from, took float64, a attrs) *tracepb.Span {
	return w.span(id, parent, by, "internal", name, from, took, append(attrs{"holdfast.call", true, "server.address", to, "holdfast.call.deadline_ms", 2000.0}, a...))
}

func (w *world) try(id, parent int, by, to string, n int, peer string, from, took float64, a attrs) *tracepb.Span {
	return w.span(id, parent, by, "client", "try", from, took, append(attrs{
		"server.address", to, "holdfast.attempt", n, "holdfast.peer.instance", peer, "holdfast.attempt.outcome", "ok",
		"holdfast.pick.candidates", 3, "holdfast.pick.why", "of two at random, the one with the lower latency × calls in flight",
	}, a...))
}

func (w *world) serve(id, parent int, by, name string, from, took float64, a attrs) *tracepb.Span {
	return w.span(id, parent, by, "server", name, from, took, append(attrs{"holdfast.admission", "admitted"}, a...))
}

// request is all spans, as services would send them: each instance by itself.
func request(spans []told) *collector.ExportTraceServiceRequest {
	req := &collector.ExportTraceServiceRequest{}
	for _, s := range spans {
		service, _, _ := strings.Cut(s.by, "-")
		req.ResourceSpans = append(req.ResourceSpans, &tracepb.ResourceSpans{
			Resource:   &resource.Resource{Attributes: attrs{"service.name", service, "service.instance.id", s.by}.proto()},
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{s.span}}},
		})
	}
	return req
}

// add hands the world's spans to a store.
func (w *world) add(t testing.TB, s *sight.Store) {
	t.Helper()
	addAll(t, s, w.spans)
}

func addAll(t testing.TB, s *sight.Store, spans []told) {
	t.Helper()
	b, err := proto.Marshal(request(spans))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.AddTraces(b); err != nil || n != len(spans) {
		t.Fatalf("AddTraces: %d, %v; want %d", n, err, len(spans))
	}
}

func hexID(n byte) string { return hexOf(traceBytes(n)) }

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func at(ms float64) time.Time { return epoch.Add(time.Duration(ms * 1e6)) }

func event(ms float64, instance, state, message string) control.Event {
	service, _, _ := strings.Cut(instance, "-")
	return control.Event{Time: at(ms), Service: service, Instance: instance, State: state, Message: message}
}

func marshal(t testing.TB, w *world) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(request(w.spans))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pass lets time go by, in virtual time.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // virtual
