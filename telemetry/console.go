package telemetry

import (
	"context"
	"log/slog"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// console writes spans to the log, one line each: OTEL_TRACES_EXPORTER=console.
type console struct{ log *slog.Logger }

// ExportSpans implements sdktrace.SpanExporter.
func (c *console) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		attrs := make([]any, 0, len(s.Attributes()))
		for _, kv := range s.Attributes() {
			attrs = append(attrs, slog.Any(string(kv.Key), kv.Value.AsInterface()))
		}
		c.log.LogAttrs(ctx, slog.LevelInfo, "span",
			slog.String("name", s.Name()), slog.String("kind", s.SpanKind().String()),
			slog.String("trace_id", s.SpanContext().TraceID().String()), slog.String("span_id", s.SpanContext().SpanID().String()),
			slog.String("parent_id", s.Parent().SpanID().String()), slog.Time("start", s.StartTime()),
			slog.Duration("duration", s.EndTime().Sub(s.StartTime())), slog.String("status", s.Status().Code.String()),
			slog.Group("attributes", attrs...))
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (*console) Shutdown(context.Context) error { return nil }

// countedExporter counts what could not be sent, and says so now and then.
type countedExporter struct {
	sdkmetric.Exporter
	telemetry *Telemetry
	complain  complaint
}

// Export implements sdkmetric.Exporter. Its errors end here: the reader would hand them to a handler that is global.
func (e *countedExporter) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	if err := e.Exporter.Export(ctx, m); err != nil {
		e.telemetry.dropped[signalMetrics].Add(1)
		e.complain.say(err)
	}
	return nil
}
