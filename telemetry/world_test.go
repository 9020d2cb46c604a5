package telemetry_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// sink keeps the spans that it is sent.
type sink struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

func (s *sink) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, spans...)
	return nil
}

func (*sink) Shutdown(context.Context) error { return nil }

// process is the telemetry of one process.
type process struct {
	*telemetry.Telemetry
	sink   *sink
	reader *sdkmetric.ManualReader
}

// open opens the telemetry of a process that keeps nothing but what ends in a way worth it, unless cfg says otherwise.
func open(t testing.TB, service string, cfg telemetry.Config) *process {
	t.Helper()
	p := &process{sink: new(sink)}
	cfg.Service, cfg.Instance, cfg.Logger, cfg.Exporter = service, service+"-1", quiet, p.sink
	cfg.Reader = func(calls sdkmetric.Producer) sdkmetric.Reader {
		p.reader = sdkmetric.NewManualReader(sdkmetric.WithProducer(calls))
		return p.reader
	}
	if cfg.Ratio == 0 {
		cfg.Ratio = -1
	}
	if cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	var err error
	if p.Telemetry, err = telemetry.Open(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	return p
}

// spans returns what was sent so far.
func (p *process) spans(t testing.TB) spans {
	t.Helper()
	if err := p.TracerProvider().(*sdktrace.TracerProvider).ForceFlush(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.sink.mu.Lock()
	defer p.sink.mu.Unlock()
	return slices.Clone(p.sink.spans)
}

// forget forgets what was sent so far.
func (p *process) forget(t testing.TB) {
	t.Helper()
	p.spans(t)
	p.sink.mu.Lock()
	defer p.sink.mu.Unlock()
	p.sink.spans = nil
}

type spans []sdktrace.ReadOnlySpan

// of returns those of a kind, in the order of their beginning.
func (s spans) of(kind trace.SpanKind) spans {
	out := slices.DeleteFunc(slices.Clone(s), func(x sdktrace.ReadOnlySpan) bool { return x.SpanKind() != kind })
	slices.SortStableFunc(out, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return out
}

func (s spans) names() []string {
	var out []string
	for _, x := range s {
		out = append(out, x.SpanKind().String()+" "+x.Name())
	}
	slices.Sort(out)
	return out
}

// attributes returns those of a span, by key.
func attributes(s sdktrace.ReadOnlySpan) map[string]any {
	out := make(map[string]any)
	for _, kv := range s.Attributes() {
		out[string(kv.Key)] = kv.Value.AsInterface()
	}
	return out
}

// want reports what of want s does not have.
func want(t testing.TB, s sdktrace.ReadOnlySpan, want map[string]any) {
	t.Helper()
	got := attributes(s)
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			t.Errorf("span %s %s: %s is %v (%T), not %v (%T)", s.SpanKind(), s.Name(), k, got[k], got[k], want[k], want[k])
		}
	}
}

// below reports whether child is a child of parent.
func below(t testing.TB, child, parent sdktrace.ReadOnlySpan) {
	t.Helper()
	if child.Parent().SpanID() != parent.SpanContext().SpanID() || child.SpanContext().TraceID() != parent.SpanContext().TraceID() {
		t.Errorf("%s %s is not below %s %s", child.SpanKind(), child.Name(), parent.SpanKind(), parent.Name())
	}
}
