package telemetry_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/telemetry"
)

// silent is the telemetry of a process with OTEL_SDK_DISABLED=true.
var silent = &process{}

func TestASilentProcessDoesNotCutATrace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{Ratio: 1, PerSecond: -1}), w.open("callee", telemetry.Config{})
		w.serve("callee", "callee-1", callee, func(_ context.Context, in string) (string, error) { return in, nil })
		toCallee := w.dial("callee", silent)
		w.serve("middle", "middle-1", silent, func(ctx context.Context, _ string) (string, error) { return call(ctx, toCallee) })
		toMiddle := w.dial("middle", silent)
		w.serveHTTP("front", "front-1", silent, func(rw http.ResponseWriter, r *http.Request) {
			if _, err := call(r.Context(), toMiddle); err != nil {
				rw.WriteHeader(http.StatusInternalServerError)
			}
		})
		if status, err := get(t.Context(), w.client(caller), "http://front/orders/1"); err != nil || status != http.StatusOK {
			t.Fatal(status, err)
		}
		client, server := caller.spans(t).of(trace.SpanKindClient), callee.spans(t).of(trace.SpanKindServer)
		if len(client) == 0 || len(server) != 1 {
			t.Fatalf("%d spans of the caller, %d of the callee", len(client), len(server))
		}
		below(t, server[0], client[len(client)-1]) // one before it may have met no instance yet
	})
}

func TestASilentProcessPassesOnWhatCame(t *testing.T) {
	came := resilience.Along{
		Traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", Tracestate: "a=b", Baggage: "tenant=x",
	}
	through := func(along resilience.Along) (context.Context, resilience.Along) {
		o := (*telemetry.Telemetry)(nil).Observer()
		ctx, served := o.BeginServe(t.Context(), resilience.ServeInfo{Method: "/b.B/Get", Begun: time.Now(), Along: along})
		if served != nil {
			t.Error("it wants to be told of what is served")
		}
		c := o.BeginCall(ctx, resilience.CallInfo{Service: "c", Method: "/c.C/Get"})
		if c == nil {
			return ctx, resilience.Along{}
		}
		first := c.BeginAttempt(resilience.AttemptInfo{})
		if again := c.BeginAttempt(resilience.AttemptInfo{Number: 1}); again != first {
			t.Errorf("first %+v, then %+v", first, again)
		}
		return ctx, first
	}
	ctx, went := through(came)
	if went != came {
		t.Errorf("%+v", went)
	}
	if parent, state := queue.TraceParent(ctx); parent != came.Traceparent || state != came.Tracestate {
		t.Errorf("what is published belongs to %s, %s", parent, state)
	}
	if got := trace.SpanContextFromContext(ctx).TraceID().String(); got != "0123456789abcdef0123456789abcdef" {
		t.Errorf("logs say %s", got)
	}
	for _, wrong := range []resilience.Along{{}, {Traceparent: "00-0-0-01", Tracestate: "a=b", Baggage: ";;;"}} {
		if _, went := through(wrong); went != (resilience.Along{}) {
			t.Errorf("of %+v it made %+v", wrong, went)
		}
	}
	t.Setenv("OTEL_PROPAGATORS", "baggage")
	if _, went := through(came); went != (resilience.Along{Baggage: came.Baggage}) {
		t.Errorf("by baggage alone %+v", went)
	}
}

func BenchmarkASilentProcess(b *testing.B) {
	o := (*telemetry.Telemetry)(nil).Observer()
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		served, _ := o.BeginServe(ctx, resilience.ServeInfo{Method: "/b.B/Get"})
		o.BeginCall(served, resilience.CallInfo{Service: "c", Method: "/c.C/Get"})
	}
}
