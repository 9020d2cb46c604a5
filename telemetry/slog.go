package telemetry

import (
	"context"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// The keys under which a record of the log names its trace, as OpenTelemetry has them for logs that are no OTLP.
const (
	LogTraceID = "trace_id"
	LogSpanID  = "span_id"
)

// Handler returns next with the ids of the trace and the span added, at the top, to each record that is logged with a
// context of one: logger.InfoContext(ctx, …). Others are as they were. A nil Telemetry does it, too, for spans that others make.
func (t *Telemetry) Handler(next slog.Handler) slog.Handler {
	return &logHandler{plain: next, next: next}
}

// logHandler adds what a record's context says.
type logHandler struct {
	// next is where records go. Of plain, the same without groups and what came after the first of them, since is that.
	next, plain slog.Handler
	since       []func(slog.Handler) slog.Handler
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return h.next.Handle(ctx, r)
	}
	ids := []slog.Attr{slog.String(LogTraceID, span.TraceID().String()), slog.String(LogSpanID, span.SpanID().String())}
	if len(h.since) == 0 {
		r = r.Clone() // its attributes may be shared with the caller's
		r.AddAttrs(ids...)
		return h.next.Handle(ctx, r)
	}
	next := h.plain.WithAttrs(ids) // not within the group
	for _, f := range h.since {
		next = f(next)
	}
	return next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	if len(h.since) == 0 {
		next := h.next.WithAttrs(attrs)
		return &logHandler{plain: next, next: next}
	}
	return h.then(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.then(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h *logHandler) then(f func(slog.Handler) slog.Handler) slog.Handler {
	return &logHandler{plain: h.plain, next: f(h.next), since: append(slices.Clip(h.since), f)}
}
