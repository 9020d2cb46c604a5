package telemetry

import (
	"reflect"
	"strings"

	"go.opentelemetry.io/otel"
)

// SetGlobal makes this the process's telemetry for those who ask package otel for it, such as instrumentation of databases and
// web frameworks: its providers of spans and metrics, its propagator, and a handler of OpenTelemetry's own errors, which go to
// the log, at most a line a minute. What somebody has set before stays, each by itself. Of a nil Telemetry nothing is set: who asks
// gets what does nothing.
func (t *Telemetry) SetGlobal() {
	if t == nil {
		return
	}
	if unset(otel.GetErrorHandler()) {
		c := &complaint{log: t.cfg.Logger, what: "OpenTelemetry reports"}
		otel.SetErrorHandler(otel.ErrorHandlerFunc(c.say))
	}
	if unset(otel.GetTextMapPropagator()) {
		otel.SetTextMapPropagator(t.Propagators())
	}
	if unset(otel.GetTracerProvider()) {
		otel.SetTracerProvider(t.TracerProvider())
	}
	if unset(otel.GetMeterProvider()) {
		otel.SetMeterProvider(t.MeterProvider())
	}
}

// unset reports whether something global is what package otel begins with. It has no other way to ask.
func unset(v any) bool {
	of := reflect.TypeOf(v)
	if of == nil {
		return true
	}
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	return strings.HasPrefix(of.PkgPath(), "go.opentelemetry.io/otel/internal/")
}
