// Package telemetry says what a process does, in OpenTelemetry's words: a span for each call, with one below it for each
// attempt, metrics, and logs that name the span they belong to. It sees calls through [resilience.Observer], which the
// clients and servers of rpc and rest take.
//
// The environment decides where it goes, by the names that the OpenTelemetry specification gives (OTEL_EXPORTER_OTLP_ENDPOINT
// and its kin, OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED). Without an
// endpoint nothing is sent anywhere, and [Telemetry.Metrics] works all the same. What cannot be sent is dropped and
// counted; a call never waits for it.
//
// # What is kept
//
// Of the traces that begin here a share is kept, chosen by the trace's id so that all services choose alike, and bounded
// in number; of those that began elsewhere, what was chosen there. Beyond that, every call is remembered until its end,
// which costs little, and written after all if it failed, was tried again or hedged, was refused, or took much longer than
// such calls do. Whoever called it is told, and keeps its part too, up to where the request came in. holdfast.keep on a
// span says why it is there: sampled, error, retried, hedged, refused or slow.
//
// [resilience.Observer]: https://pkg.go.dev/github.com/holdfast-go/holdfast/resilience#Observer
package telemetry
