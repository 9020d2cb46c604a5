package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"

	"go.opentelemetry.io/otel/trace"
)

func spanContext() context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 15: 3}, SpanID: trace.SpanID{4, 7: 5},
	}))
}

func TestLogsNameTheirSpan(t *testing.T) {
	const ids = "trace_id=01020000000000000000000000000003 span_id=0400000000000005"
	var out bytes.Buffer
	plain := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	log := slog.New((*Telemetry)(nil).Handler(plain))
	for name, test := range map[string]struct {
		log  *slog.Logger
		ctx  context.Context
		want string
	}{
		"none":              {log, context.Background(), "level=INFO msg=m k=v"},
		"a span":            {log, spanContext(), "level=INFO msg=m k=v " + ids},
		"with attributes":   {log.With("a", 1), spanContext(), "level=INFO msg=m a=1 k=v " + ids},
		"not in a group":    {log.With("a", 1).WithGroup("g").With("b", 2), spanContext(), "level=INFO msg=m a=1 " + ids + " g.b=2 g.k=v"},
		"a group, no span":  {log.WithGroup("g"), context.Background(), "level=INFO msg=m g.k=v"},
		"groups in a group": {log.WithGroup("g").WithGroup("h"), spanContext(), "level=INFO msg=m " + ids + " g.h.k=v"},
	} {
		t.Run(name, func(t *testing.T) {
			out.Reset()
			test.log.InfoContext(test.ctx, "m", "k", "v")
			if got := strings.TrimSpace(out.String()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// It is a handler as package slog wants them.
func TestLogHandlerIsOne(t *testing.T) {
	var out bytes.Buffer
	err := slogtest.TestHandler((*Telemetry)(nil).Handler(slog.NewJSONHandler(&out, nil)), func() []map[string]any {
		var all []map[string]any
		for line := range strings.Lines(out.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		return all
	})
	if err != nil {
		t.Error(err)
	}
}
