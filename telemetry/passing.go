package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/resilience"
)

// passing is the observer of a telemetry that says nothing. It has what came with a request go on with the calls that are
// made for it, as it came: a process that is silent does not cut the traces of others in two. OpenTelemetry has it so
// (OTEL_SDK_DISABLED "has no effect on propagators"). Nothing is spent on a call that belongs to no trace.
type passing struct{ trace, baggage bool }

var _ resilience.Observer = passing{}

// BeginServe implements resilience.Observer.
func (p passing) BeginServe(ctx context.Context, info resilience.ServeInfo) (context.Context, resilience.ServeObserver) {
	if p.trace && info.Along.Traceparent != "" {
		if sc, ok := parse(info.Along); ok {
			// The one is for those who ask for a span, such as logs; the other for what is published.
			ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
			ctx = queue.WithTraceParent(ctx, traceparent(sc.TraceID(), sc.SpanID(), sc.IsSampled()), sc.TraceState().String())
		}
	}
	if p.baggage {
		ctx = withBaggage(ctx, info.Along.Baggage)
	}
	return ctx, nil
}

// BeginCall implements resilience.Observer.
func (p passing) BeginCall(ctx context.Context, _ resilience.CallInfo) resilience.CallObserver {
	var along resilience.Along
	if p.trace {
		if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
			along.Traceparent, along.Tracestate = traceparent(sc.TraceID(), sc.SpanID(), sc.IsSampled()), sc.TraceState().String()
		} else {
			along.Traceparent, along.Tracestate = queue.TraceParent(ctx)
		}
	}
	if p.baggage {
		along.Baggage = baggageOf(ctx)
	}
	if along == (resilience.Along{}) {
		return nil
	}
	return passenger{along}
}

// passenger is what each attempt of a call takes along.
type passenger struct{ along resilience.Along }

// BeginAttempt implements resilience.CallObserver.
func (p passenger) BeginAttempt(resilience.AttemptInfo) resilience.Along { return p.along }

// EndAttempt implements resilience.CallObserver.
func (passenger) EndAttempt(resilience.AttemptEnd) {}

// End implements resilience.CallObserver.
func (passenger) End(resilience.CallEnd) {}

// maxBaggage is what W3C Baggage has to be passed on at least, and what is here at most.
const maxBaggage = 8192

// withBaggage puts what came along into a context, if it can be read.
func withBaggage(ctx context.Context, header string) context.Context {
	if header == "" || len(header) > maxBaggage {
		return ctx
	}
	b, err := baggage.Parse(header)
	if err != nil {
		return ctx
	}
	return baggage.ContextWithBaggage(ctx, b)
}

// baggageOf returns what there is to be taken along, or "".
func baggageOf(ctx context.Context) string {
	b := baggage.FromContext(ctx)
	if b.Len() == 0 {
		return ""
	}
	return b.String()
}
