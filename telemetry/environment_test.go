package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// A setting that cannot be used costs itself, and not what the others say.
func TestASettingThatIsNotKnownCostsItselfAlone(t *testing.T) {
	for setting, as := range map[string]string{
		"OTEL_PROPAGATORS=tracecontext,baggage,b3":     "",
		"OTEL_PROPAGATORS=tracecontext,b3":             "OTEL_PROPAGATORS=tracecontext",
		"OTEL_PROPAGATORS=b3,jaeger":                   "",
		"OTEL_TRACES_SAMPLER=jaeger_remote":            "",
		"OTEL_TRACES_SAMPLER_ARG=endpoint=x":           "",
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/json":        "",
		"OTEL_TRACES_EXPORTER=zipkin":                  "",
		"OTEL_TRACES_EXPORTER=zipkin,console":          "OTEL_TRACES_EXPORTER=console",
		"OTEL_METRICS_EXPORTER=statsd":                 "",
		"OTEL_METRIC_EXPORT_INTERVAL=1s":               "",
		"OTEL_METRIC_EXPORT_TIMEOUT=0":                 "",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json": "",
	} {
		name, value, _ := strings.Cut(setting, "=")
		known, other, _ := strings.Cut(as, "=")
		got := readEnvironment(func(k string) string { return map[string]string{name: value}[k] })
		want := readEnvironment(func(k string) string { return map[string]string{known: other}[k] })
		if len(got.wrong) == 0 || !strings.Contains(errors.Join(got.wrong...).Error(), name) || len(want.wrong) != 0 {
			t.Errorf("%s: told %v", setting, got.wrong)
		}
		if got.traces != want.traces || got.metrics != want.metrics || got.protocol != want.protocol || got.interval != want.interval ||
			got.timeout != want.timeout || got.sampler != want.sampler || got.ratioSet != want.ratioSet || got.trace != want.trace || got.baggage != want.baggage {
			t.Errorf("%s: %+v, want %+v", setting, got, want)
		}
		var log bytes.Buffer
		tm, err := Open(t.Context(), Config{
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Getenv: func(k string) string { return map[string]string{name: value}[k] },
		})
		if err != nil || tm.Observer() == nil {
			t.Errorf("%s: %v", setting, err)
		}
		if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), name) {
			t.Errorf("%s: the log says\n%s", setting, log.String())
		}
		_ = tm.Shutdown(context.Background())
	}
}

func TestExportersMayBeSeveral(t *testing.T) {
	for value, want := range map[string]destinations{
		"otlp": {otlp: true}, "otlp,console": {otlp: true, console: true}, "console , otlp": {otlp: true, console: true},
		"otlp,prometheus": {otlp: true}, "prometheus": {}, "none": {}, "": {},
	} {
		e := readEnvironment(func(k string) string {
			return map[string]string{"OTEL_TRACES_EXPORTER": value, "OTEL_METRICS_EXPORTER": value}[k]
		})
		if e.traces != want || e.metrics != want || len(e.wrong) != 0 {
			t.Errorf("%q: %+v, %+v, %v", value, e.traces, e.metrics, e.wrong)
		}
	}
	var log bytes.Buffer
	broken := brokenExporter{errors.New("broken")}
	all := exporters{broken, &console{log: slog.New(slog.NewTextHandler(&log, nil))}}
	if err := all.ExportSpans(t.Context(), nil); !errors.Is(err, broken.err) {
		t.Errorf("got %v", err)
	}
	if err := all.Shutdown(t.Context()); !errors.Is(err, broken.err) {
		t.Errorf("got %v", err)
	}
}

// Spans are written to the log as they are, though they are given back once they have been sent.
func TestSpansAreSentAndWritten(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	var log bytes.Buffer
	tm := &Telemetry{cfg: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	e := tm.spanExporter(t.Context(), environment{traces: destinations{otlp: true, console: true}})
	s := newSnapshot()
	s.name, s.resource = "checkout", resource.Empty()
	s.context = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0xab}, SpanID: trace.SpanID{0xcd}})
	if err := e.ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{s}); err != nil {
		t.Fatal(err)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := log.String(); !strings.Contains(got, "name=checkout") || !strings.Contains(got, "trace_id=ab0") {
		t.Errorf("written: %s", got)
	}
}

// Spans are sent as protobuf, also where the environment asks for what is not known here.
func TestSpansAreProtobuf(t *testing.T) {
	type request struct {
		kind string
		body []byte
	}
	got := make(chan request, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Header.Get("Content-Type"), body}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	tm := &Telemetry{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	e := tm.spanExporter(t.Context(), environment{traces: destinations{otlp: true}})
	s := newSnapshot()
	s.name, s.resource = "checkout", resource.Empty()
	if err := e.ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{s}); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.kind != "application/x-protobuf" || !bytes.Contains(r.body, []byte("checkout")) {
		t.Errorf("sent as %s: %q", r.kind, r.body)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

type brokenExporter struct{ err error }

func (b brokenExporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return b.err }

func (b brokenExporter) Shutdown(context.Context) error { return b.err }

// What is sent in plaintext to elsewhere is warned of, unless it is said to be meant.
func TestPlaintextBeyondLoopbackIsWarnedOf(t *testing.T) {
	for _, test := range []struct {
		env      map[string]string
		insecure bool
		want     bool
	}{
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.invalid:4318"}, want: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, want: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://192.0.2.1:4318/v1/metrics"}, want: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318"}, insecure: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318", "OTEL_EXPORTER_OTLP_INSECURE": "true"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://192.0.2.1:4318"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1]:4318"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}},
		{},
	} {
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		tm, err := Open(ctx, Config{
			Insecure: test.insecure, Logger: slog.New(slog.NewTextHandler(&log, nil)), Getenv: func(k string) string { return test.env[k] },
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(log.String(), "plaintext"); got != 1 && test.want || got != 0 && !test.want {
			t.Errorf("%v: the log says\n%s", test, log.String())
		}
		cancel()
		_ = tm.Shutdown(ctx) // sends nothing
	}
}
