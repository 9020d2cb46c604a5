package telemetry

import (
	"context"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/resilience"
)

// span is that of a request which is served: the context of its handler, the current span in it, and what it is the root
// of, in one, since there is one for every request. It is not used again for another, for what it began may outlive it.
type span struct {
	context.Context //nolint:containedctx // it is one
	embedded.Span

	observer *observer
	context  trace.SpanContext
	parent   trace.SpanID // of the same trace, elsewhere; or none
	protocol resilience.Protocol
	stream   bool
	method   string
	path     string
	begun    time.Time
	deadline time.Time
	request  resilience.Request
	admit    resilience.AdmitInfo
	family   family

	mu     sync.Mutex
	extra  *extra // what the user has said about it
	closed bool
}

// extra is what a user says about a span that is not theirs.
type extra struct {
	name       string
	attributes []attribute.KeyValue
	events     []sdktrace.Event
	links      []sdktrace.Link
	status     sdktrace.Status
	dropped    int
}

// maxExtra bounds the attributes, the events and the links of a span, each.
const maxExtra = 128

// keyProbe finds out by which key package trace puts the current span into a context, so that a context of ours can be
// asked for it without one more around it.
type keyProbe struct {
	context.Context //nolint:containedctx // it is one
	key             any
}

func (p *keyProbe) Value(key any) any {
	p.key = key
	return nil
}

func currentSpanKey() any {
	p := &keyProbe{Context: context.Background()}
	trace.SpanFromContext(p)
	return p.key
}

// spanKey is that of package trace.
var spanKey = currentSpanKey()

// localKey finds the span of the request that is served with a context.
type localKey struct{}

// Value implements context.Context.
func (s *span) Value(key any) any {
	if key == spanKey || key == (localKey{}) || key == (queue.TraceKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// localOf returns the span of the request that is served with ctx, and the current span, which may be one below it.
func localOf(ctx context.Context) (*span, trace.Span) {
	current := trace.SpanFromContext(ctx)
	if s, ok := current.(*span); ok {
		return s, s
	}
	s, _ := ctx.Value(localKey{}).(*span)
	return s, current
}

// End implements trace.Span. The span ends with its request.
func (s *span) End(...trace.SpanEndOption) {}

// IsRecording implements trace.Span.
func (s *span) IsRecording() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed
}

// SpanContext implements trace.Span.
func (s *span) SpanContext() trace.SpanContext { return s.context }

// TracerProvider implements trace.Span.
func (s *span) TracerProvider() trace.TracerProvider { return s.observer.telemetry.TracerProvider() }

// say has f note something, if it is not too late.
func (s *span) say(f func(*extra)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.observer.spans == nil {
		return
	}
	if s.extra == nil {
		s.extra = new(extra)
	}
	f(s.extra)
}

// AddEvent implements trace.Span.
func (s *span) AddEvent(name string, opts ...trace.EventOption) {
	c := trace.NewEventConfig(opts...)
	s.say(func(e *extra) {
		if len(e.events) < maxExtra {
			e.events = append(e.events, sdktrace.Event{Name: valid(name), Attributes: c.Attributes(), Time: c.Timestamp()})
		}
	})
}

// AddLink implements trace.Span.
func (s *span) AddLink(l trace.Link) {
	s.say(func(e *extra) {
		if len(e.links) < maxExtra {
			e.links = append(e.links, sdktrace.Link{SpanContext: l.SpanContext, Attributes: l.Attributes})
		}
	})
}

// RecordError implements trace.Span.
func (s *span) RecordError(err error, opts ...trace.EventOption) {
	if err == nil {
		return
	}
	opts = append(opts, trace.WithAttributes(attribute.String("exception.message", bounded(err.Error()))))
	s.AddEvent("exception", opts...)
}

// SetStatus implements trace.Span.
func (s *span) SetStatus(code codes.Code, description string) {
	s.say(func(e *extra) {
		if e.status.Code <= code {
			e.status = sdktrace.Status{Code: code, Description: bounded(description)}
		}
	})
}

// SetName implements trace.Span.
func (s *span) SetName(name string) { s.say(func(e *extra) { e.name = valid(name) }) }

// SetAttributes implements trace.Span.
func (s *span) SetAttributes(kv ...attribute.KeyValue) {
	s.say(func(e *extra) {
		room := maxExtra - len(e.attributes)
		if len(kv) > room {
			e.dropped += len(kv) - room
			kv = kv[:room]
		}
		e.attributes = append(e.attributes, kv...)
	})
}

// wish is what was said about the request's own span, as of spans of the user's own.
func (s *span) wish() reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return keepNot
	}
	return wishOf(s.extra.attributes, s.extra.status)
}

// TraceParent returns what a message or a row takes along to belong to this trace; see queue.TraceKey.
func (s *span) TraceParent() (parent, state string) {
	return traceparent(s.context.TraceID(), s.context.SpanID(), s.context.IsSampled()), s.context.TraceState().String()
}

// take closes the span for what is said about it, and returns that.
func (s *span) take() extra {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.extra == nil {
		return extra{}
	}
	return *s.extra
}

// parentContext is that of the span that this one is below, if it is below one.
func (s *served) parentContext() trace.SpanContext {
	if !s.parent.IsValid() {
		return trace.SpanContext{}
	}
	return s.context.WithSpanID(s.parent).WithRemote(true)
}

// begin makes the span of a request.
func (o *observer) begin(ctx context.Context, info resilience.ServeInfo) *span {
	s := &span{
		Context: ctx, observer: o, protocol: info.Protocol, stream: info.Stream, method: info.Method, path: info.Path,
		begun: info.Begun, deadline: info.Deadline, request: info.Request,
	}
	c := trace.SpanContextConfig{SpanID: newSpanID()}
	if o.env.trace {
		if parent, ok := parse(info.Along); ok {
			s.parent, c.TraceID, c.TraceState, c.TraceFlags = parent.SpanID(), parent.TraceID(), parent.TraceState(), parent.TraceFlags()
		}
	}
	if !c.TraceID.IsValid() {
		c.TraceID = newTraceID()
	}
	switch {
	case !s.parent.IsValid(), !o.sampler.parents && o.spans != nil:
		// Where spans go nowhere, those called decide as if they went somewhere.
		c.TraceFlags = 0
		if o.sampler.begin(info.Begun, c.TraceID) {
			c.TraceFlags = trace.FlagsSampled
		}
	case o.spans != nil && c.TraceFlags.IsSampled() && !o.sampler.join(info.Begun):
		c.TraceFlags = 0
	}
	s.context = trace.NewSpanContext(c)
	return s
}

// valid returns s in valid UTF-8, which is all that can be sent. Nearly everything is, and to see that is quicker.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "�")
}

// since returns the time between two moments, and 0 rather than less.
func since(from, to time.Time) time.Duration { return max(to.Sub(from), 0) }
