package telemetry

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"
)

// wire is a client that keeps what it is given as a receiver would read it.
type wire struct{ got *tracepb.TracesData }

func (*wire) Start(context.Context) error { return nil }
func (*wire) Stop(context.Context) error  { return nil }
func (w *wire) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	raw, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	w.got = new(tracepb.TracesData)
	return proto.Unmarshal(raw, w.got)
}

// What is written is what OpenTelemetry's own exporter writes.
func TestOTLPIsThatOfOpenTelemetry(t *testing.T) {
	state, err := trace.ParseTraceState("a=1,b=2")
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: newTraceID(), SpanID: newSpanID(), TraceFlags: 1, TraceState: state})
	up := sc.WithSpanID(newSpanID()).WithRemote(true)
	begun := time.Unix(1_700_000_000, 123)
	spans := tracetest.SpanStubs{{
		Name: "all\xffthere is", SpanContext: sc, Parent: up, SpanKind: trace.SpanKindServer, StartTime: begun, EndTime: begun.Add(time.Second),
		Attributes: []attribute.KeyValue{
			attribute.String("s", "x"), attribute.String("empty", ""), attribute.Bool("t", true), attribute.Bool("f", false),
			attribute.Int("i", -7), attribute.Int("zero", 0), attribute.Float64("d", 1.5), attribute.StringSlice("ss", []string{"a", "", "b"}),
			attribute.IntSlice("is", []int{1, 0, -1}), attribute.BoolSlice("bs", []bool{true, false}), attribute.Float64Slice("ds", []float64{0, 2}),
		},
		Events: []sdktrace.Event{{Name: "e", Time: begun, Attributes: []attribute.KeyValue{attribute.Int("n", 1)}, DroppedAttributeCount: 2}},
		Links:  []sdktrace.Link{{SpanContext: up.WithTraceState(trace.TraceState{}), Attributes: []attribute.KeyValue{attribute.Int("n", 1)}}},
		Status: sdktrace.Status{Code: codes.Error, Description: "broken"}, DroppedAttributes: 3, DroppedEvents: 4, DroppedLinks: 5,
		Resource:             resource.NewWithAttributes("https://example.org", attribute.String("service.name", "x")),
		InstrumentationScope: instrumentation.Scope{Name: "n", Version: "1", SchemaURL: "u"},
	}, {
		Name: "little", SpanContext: sc.WithSpanID(newSpanID()), SpanKind: trace.SpanKindInternal, StartTime: begun, EndTime: begun,
		Status:               sdktrace.Status{Code: codes.Ok},
		Resource:             resource.NewWithAttributes("https://example.org", attribute.String("service.name", "x")),
		InstrumentationScope: instrumentation.Scope{Name: "n", Version: "1", SchemaURL: "u"},
	}}.Snapshots()

	var theirs, ours wire
	exporter, err := otlptrace.New(t.Context(), &theirs)
	if err != nil {
		t.Fatal(err)
	}
	stub := spans[0]
	if err := exporter.ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{renamed{stub, "all�there is"}, spans[1]}); err != nil {
		t.Fatal(err)
	}
	o, err := newOTLP(t.Context(), &ours)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // its memory is used again
		if err := o.ExportSpans(t.Context(), spans); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(theirs.got, ours.got, protocmp.Transform()); diff != "" {
			t.Errorf("-theirs +ours\n%s", diff)
		}
	}
}

// renamed is for protobuf, which does not take what is not UTF-8.
type renamed struct {
	sdktrace.ReadOnlySpan
	name string
}

func (r renamed) Name() string { return r.name }
