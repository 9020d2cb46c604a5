package telemetry

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

var (
	noopTracers = tracenoop.NewTracerProvider()
	noopMeters  = metricnoop.NewMeterProvider()
)

// spanExporter returns where spans go, or nil. The exporters of OTLP read the rest of their settings themselves; one that
// cannot use them is left out, which the log says.
func (t *Telemetry) spanExporter(ctx context.Context, env environment) sdktrace.SpanExporter {
	if t.cfg.Exporter != nil {
		return t.cfg.Exporter
	}
	var all exporters
	// It only looks at the spans; who sends them gives them back, and so comes last.
	if env.traces.console {
		all = append(all, &console{log: t.cfg.Logger})
	}
	if env.traces.otlp {
		var client otlptrace.Client
		if env.protocol[signalTraces] == overGRPC {
			client = otlptracegrpc.NewClient()
		} else {
			// What is written here is protobuf, whatever the environment says: JSON would leave it out.
			client = otlptracehttp.NewClient(otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf))
		}
		if e, err := newOTLP(ctx, client); err != nil {
			t.cfg.Logger.Warn("telemetry: spans are not sent", "error", err)
		} else {
			all = append(all, e)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

// exporters are several, each of which gets all.
type exporters []sdktrace.SpanExporter

// ExportSpans implements sdktrace.SpanExporter.
func (all exporters) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, e.ExportSpans(ctx, spans))
	}
	return errors.Join(errs...)
}

// Shutdown implements sdktrace.SpanExporter.
func (all exporters) Shutdown(ctx context.Context) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, e.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// metricReader returns what sends the metrics from time to time, or nil.
func (t *Telemetry) metricReader(ctx context.Context, env environment) sdkmetric.Reader {
	var exporter sdkmetric.Exporter
	var err error
	switch {
	case !env.metrics.otlp: // of metrics, the console is /metrics
		return nil
	case env.protocol[signalMetrics] == overGRPC:
		exporter, err = otlpmetricgrpc.New(ctx)
	default:
		exporter, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		t.cfg.Logger.Warn("telemetry: metrics are not sent", "error", err)
		return nil
	}
	return sdkmetric.NewPeriodicReader(&countedExporter{
		Exporter: exporter, telemetry: t, complain: complaint{log: t.cfg.Logger, what: "metrics cannot be sent"},
	},
		sdkmetric.WithProducer(t.stats), sdkmetric.WithInterval(env.interval), sdkmetric.WithTimeout(env.timeout))
}
