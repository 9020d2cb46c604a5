package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/holdfast-go/holdfast/telemetry"
)

// What is global cannot be taken back: the test has a process of its own.
func TestTheFirstTelemetryIsTheProcesss(t *testing.T) {
	const own = "TEST_OWN_PROCESS"
	if os.Getenv(own) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), own+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	(*telemetry.Telemetry)(nil).SetGlobal()
	early := otel.Tracer("somebody's") // asked for before there is anything
	var log bytes.Buffer
	one := open(t, "one", telemetry.Config{Ratio: 1, Getenv: func(string) string { return "" }})
	defer one.Shutdown(context.Background())
	loud, err := telemetry.Open(t.Context(), telemetry.Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)), Getenv: func(string) string { return "" },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer loud.Shutdown(context.Background())
	otel.SetMeterProvider(loud.MeterProvider())
	loud.SetGlobal() // the error handler, and all else

	one.SetGlobal() // too late
	if otel.GetTracerProvider() != loud.TracerProvider() || otel.GetMeterProvider() != loud.MeterProvider() {
		t.Error("the second one has replaced the first")
	}
	for range 3 {
		otel.Handle(errors.New("broken"))
	}
	if got := strings.Count(log.String(), "broken"); got != 1 {
		t.Errorf("%d lines of it in the log:\n%s", got, log.String())
	}
	_, span := early.Start(t.Context(), "x")
	if !span.SpanContext().IsValid() {
		t.Error("a tracer that was asked for early is not ours")
	}
	span.End()

	mine := noop.NewTracerProvider()
	otel.SetTracerProvider(mine)
	one.SetGlobal()
	if otel.GetTracerProvider() != trace.TracerProvider(mine) {
		t.Error("the user's has been replaced")
	}
}
