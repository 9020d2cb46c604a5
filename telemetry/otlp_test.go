package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// What waits to be sent is bounded, also where single spans are large; what was not sent is not sent again with what follows; and
// spans of this package and of others come as they were.
func TestWhatWaitsForOTLP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		w := &moody{wire: new(wire), mood: make(chan error)}
		o, err := newOTLP(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		b := newBatch(o, &dropped, slog.New(slog.DiscardHandler))
		about := resource.NewSchemaless(attribute.String("service.name", "x"))
		span := func(name string, bytes int) *snapshot {
			s := newSnapshot()
			s.name, s.resource, s.context = name, about, trace.NewSpanContext(trace.SpanContextConfig{TraceID: newTraceID(), SpanID: newSpanID()})
			s.attributes = append(s.room[:0], attribute.String("large", strings.Repeat("x", bytes)))
			return s
		}
		b.add(span("first", 1))
		b.add(tracetest.SpanStub{Name: "second", Resource: about, InstrumentationScope: instrumentation.Scope{Name: "theirs"}}.Snapshot())
		<-time.After(sendAfter)
		w.mood <- nil
		synctest.Wait()
		if got := w.names(); !slices.Equal(got, []string{"first", "theirs second"}) {
			t.Errorf("came: %q", got)
		}
		b.add(span("lost", 1))
		<-time.After(sendAfter)
		w.mood <- errors.New("nobody there")
		const n, large = 200, maxBatchBytes / 4
		for range n {
			b.add(span("large", large))
		}
		synctest.Wait()
		if got, most := n-dropped.Load()-1, uint64(5*(maxQueued/maxBatch+1)); got == 0 || got > most {
			t.Errorf("%d spans of %d bytes wait, of at most %d", got, large, most)
		}
		left := n + 1 - dropped.Load()
		for range (left + 3) / 4 {
			w.mood <- nil
			synctest.Wait()
			if got := w.names(); len(got) > 5 || slices.Contains(got, "lost") || slices.Contains(got, "first") {
				t.Errorf("came at once: %q", got)
			}
		}
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What comes while all there was is being sent waits for others: who flushes waits for no more than what there was.
func TestAFlushEndsThoughSpansKeepComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		var b *batch
		again := func() {
			s := newSnapshot()
			s.resource = resource.Empty()
			b.add(s)
		}
		w := &busy{wire: new(wire), meanwhile: again}
		o, err := newOTLP(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		b = newBatch(o, &dropped, slog.New(slog.DiscardHandler))
		again()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.ForceFlush(ctx); err != nil || w.requests != 1 {
			t.Errorf("%v, in %d requests", err, w.requests)
		}
		if err := b.Shutdown(t.Context()); err != nil || w.requests != 2 || dropped.Load() != 0 {
			t.Errorf("%v, in %d requests, %d dropped", err, w.requests, dropped.Load())
		}
	})
}

// busy is a client during whose requests spans come.
type busy struct {
	*wire
	meanwhile func()
	requests  int
}

func (c *busy) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	c.requests++
	c.meanwhile()
	<-time.After(time.Millisecond)
	return c.wire.UploadTraces(ctx, spans)
}

// moody is a client that waits to be told what becomes of each request.
type moody struct {
	*wire
	mood chan error
}

func (m *moody) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	if err := <-m.mood; err != nil {
		return err
	}
	return m.wire.UploadTraces(ctx, spans)
}

// names returns what came last.
func (w *wire) names() (out []string) {
	for _, of := range w.got.GetResourceSpans()[0].GetScopeSpans() {
		for _, s := range of.GetSpans() {
			out = append(out, strings.TrimSpace(strings.TrimPrefix(of.GetScope().GetName(), scope)+" "+s.GetName()))
		}
	}
	return out
}

// renamed is for protobuf, which does not take what is not UTF-8.
type renamed struct {
	sdktrace.ReadOnlySpan
	name string
}

func (r renamed) Name() string { return r.name }
