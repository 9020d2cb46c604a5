package telemetry

import (
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// scope is what says of spans and series that they come from this package.
const scope = "github.com/holdfast-go/holdfast/telemetry"

// snapshot is a span as it is sent. It is made once it is known that it is.
type snapshot struct {
	sdktrace.ReadOnlySpan // nil: for its private method

	name       string
	context    trace.SpanContext
	parent     trace.SpanContext
	kind       trace.SpanKind
	begun      time.Time
	ended      time.Time
	attributes []attribute.KeyValue
	events     []sdktrace.Event
	links      []sdktrace.Link
	dropped    int
	status     sdktrace.Status
	resource   *resource.Resource
	room       [26]attribute.KeyValue // for attributes
}

var snapshots = sync.Pool{New: func() any { return new(snapshot) }}

func newSnapshot() *snapshot { return snapshots.Get().(*snapshot) }

// recycle has the snapshot used again. Only who was given it to send it may do so.
func (s *snapshot) recycle() {
	*s = snapshot{}
	snapshots.Put(s)
}

// The methods of sdktrace.ReadOnlySpan.

func (s *snapshot) Name() string                     { return s.name }
func (s *snapshot) SpanContext() trace.SpanContext   { return s.context }
func (s *snapshot) Parent() trace.SpanContext        { return s.parent }
func (s *snapshot) SpanKind() trace.SpanKind         { return s.kind }
func (s *snapshot) StartTime() time.Time             { return s.begun }
func (s *snapshot) EndTime() time.Time               { return s.begun.Add(since(s.begun, s.ended)) } // the wall clock may be set between the two
func (s *snapshot) Attributes() []attribute.KeyValue { return s.attributes }
func (s *snapshot) Links() []sdktrace.Link           { return s.links }
func (s *snapshot) Events() []sdktrace.Event         { return s.events }
func (s *snapshot) Status() sdktrace.Status          { return s.status }
func (s *snapshot) Resource() *resource.Resource     { return s.resource }
func (s *snapshot) DroppedAttributes() int           { return s.dropped }
func (s *snapshot) DroppedLinks() int                { return 0 }
func (s *snapshot) DroppedEvents() int               { return 0 }
func (s *snapshot) ChildSpanCount() int              { return 0 }
func (s *snapshot) InstrumentationScope() instrumentation.Scope {
	return instrumentation.Scope{Name: scope}
}

// InstrumentationLibrary is the old name of InstrumentationScope.
func (s *snapshot) InstrumentationLibrary() instrumentation.Library { //nolint:staticcheck // of the interface
	return instrumentation.Library{Name: scope} //nolint:staticcheck // of the interface
}

// fail says that the span ended with an error.
func (s *snapshot) fail(kind, message string, status bool) {
	s.attributes = append(s.attributes, attribute.String("error.type", kind))
	if message != "" {
		message = bounded(message)
		s.attributes = append(s.attributes, attribute.String("exception.message", message))
	}
	if status {
		s.status = sdktrace.Status{Code: codes.Error, Description: message}
	}
}

// messageOf returns what an error says, without its code: that is an attribute of its own. Of a call's error it is what its
// last attempt met; the others are spans.
func messageOf(err error) string {
	var c *resilience.CallError
	if errors.As(err, &c) && c.Err != nil {
		err = c.Err
	}
	var e *failure.Error
	if !errors.As(err, &e) {
		if st, ok := status.FromError(err); ok && st.Message() != "" {
			return st.Message()
		}
		return err.Error()
	}
	switch {
	case e.Cause == nil:
		return e.Message
	case e.Message == "":
		return e.Cause.Error()
	}
	return e.Message + ": " + e.Cause.Error()
}

// maxMessage bounds the text of an error on a span.
const maxMessage = 1024

// bounded returns at most the first maxMessage bytes of s, in valid UTF-8.
func bounded(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage-len("…")] + "…"
	}
	return valid(s)
}
