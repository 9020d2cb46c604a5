// Package sight keeps what the services of a running system tell of their calls, in bounded memory, and answers questions
// about it: which traces there were, who calls whom and how that goes, and, in plain words, why a call failed.
//
// A [Store] keeps it; a [Receiver] takes it from the services by OTLP, over HTTP (protobuf and JSON) and over gRPC, at one
// address on loopback, and can hand on what came to a collector of the user's. [Explain] is a pure function from a trace to
// words, English or Chinese.
//
// # What is kept
//
// Traces are kept until they take Config.TraceBytes together. Then the oldest go: those that went well first, until they
// have less than a quarter of it, so that what failed, was retried, hedged, refused or slow is there for longer. Metrics are
// kept for 15 minutes, logs until they take Config.LogBytes. Nothing is written to a disk.
//
// Everything that comes in is bounded: the size of a request before and after it is unpacked, how many are unpacked at once,
// the spans of a trace, what a span has, and the length of each word. What is beyond is dropped and counted ([Store.Dropped]).
//
// # What it does not do
//
// It is for one system on one machine, and for the last minutes. It does not compute what services do not measure: edges
// are exact where both metrics and names are there, and counted from traces, which may be samples, where they are not.
package sight
