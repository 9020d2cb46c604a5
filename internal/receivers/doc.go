// Package receivers runs what telemetry is sent to, as processes of its own that end with this one, for tests and for
// programs that measure: an OpenTelemetry Collector, Jaeger, Prometheus. `make otelcol` and `make jaeger` build the first
// two into the user's cache; Prometheus is Debian's.
package receivers
