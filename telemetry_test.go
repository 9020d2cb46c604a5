package holdfast_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/telemetry"
)

// spanSink keeps the spans that it is sent.
type spanSink struct {
	mu   sync.Mutex
	list []sdktrace.ReadOnlySpan
}

func (s *spanSink) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, spans...)
	return nil
}

func (*spanSink) Shutdown(context.Context) error { return nil }

func (s *spanSink) find(match func(sdktrace.ReadOnlySpan) bool) sdktrace.ReadOnlySpan {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.list {
		if match(x) {
			return x
		}
	}
	return nil
}

// One trace leads from a request through what it publishes to who handles that, and the log names it.
func TestATraceLeadsThroughCallsAndMessages(t *testing.T) {
	t.Parallel()
	engine, messages, sink := memregistry.New(), memqueue.New(memqueue.Config{}), &spanSink{}
	defer messages.Close()
	tracing := func(c *holdfast.Config) {
		c.Messages, c.Telemetry.Exporter, c.Telemetry.Ratio = messages, sink, 1
		c.Logger = slog.New((*telemetry.Telemetry)(nil).Handler(c.Logger.Handler()))
	}
	shipping := newInstance(t, engine, "shipping", "shipping-1", tracing)
	done := make(chan struct{})
	var once sync.Once
	shipping.Consume("orders.paid", "", queue.Handle(func(ctx context.Context, _ queue.Message[string]) error {
		shipping.Logger().InfoContext(ctx, "shipped")
		once.Do(func() { close(done) })
		return nil
	}), queue.SubscriptionConfig{})
	shipping.both(nil).run(t)
	orders := newInstance(t, engine, "orders", "orders-1", tracing)
	orders.HandleFunc("GET /pay", func(w http.ResponseWriter, r *http.Request) {
		orders.Logger().InfoContext(r.Context(), "paid")
		if err := orders.Publish(r.Context(), "orders.paid", "x"); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	orders.both(nil).run(t)
	front := newInstance(t, engine, "front", "front-1", tracing)
	if _, err := get(t.Context(), front.HTTPClient(), "http://orders/pay"); err != nil {
		t.Fatal(err)
	}
	<-done
	if front.Telemetry() == nil {
		t.Fatal("it has no telemetry")
	}
	if err := front.Close(); err != nil {
		t.Fatal(err)
	}
	chain := []struct {
		kind trace.SpanKind
		name string
	}{
		{trace.SpanKindInternal, "GET /pay"},
		{trace.SpanKindClient, "GET /pay"},
		{trace.SpanKindServer, "GET /pay"},
		{trace.SpanKindProducer, "publish orders.paid"},
		{trace.SpanKindConsumer, "process orders.paid"},
	}
	// From below: an attempt that met nobody may stand beside the one that was answered.
	var last, below sdktrace.ReadOnlySpan
	for _, c := range slices.Backward(chain) {
		var s sdktrace.ReadOnlySpan
		eventually(t, c.kind.String()+" "+c.name+" comes", func() bool {
			s = sink.find(func(x sdktrace.ReadOnlySpan) bool {
				return x.SpanKind() == c.kind && x.Name() == c.name && (below == nil || x.SpanContext().SpanID() == below.Parent().SpanID())
			})
			return s != nil
		})
		if last == nil {
			last = s
		}
		if s.SpanContext().TraceID() != last.SpanContext().TraceID() {
			t.Errorf("%v %s is of another trace", s.SpanKind(), s.Name())
		}
		below = s
	}
	id := "trace_id=" + last.SpanContext().TraceID().String()
	if paid, shipped := orders.logs.String(), shipping.logs.String(); !strings.Contains(paid, "msg=paid") || !strings.Contains(paid, id) || !strings.Contains(shipped, id) {
		t.Errorf("the logs do not name %s:\n%s\n%s", id, paid, shipped)
	}
}

// Where telemetry is turned off, everything works as without it, and one can still look.
func TestWithoutTelemetry(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	engine := memregistry.New()
	a, addr := looking(t, engine, "alpha", "alpha-1", nil)
	a.both(nil).run(t)
	if a.Telemetry() != nil {
		t.Error("it is on")
	}
	if got, err := get(t.Context(), a.HTTPClient(), "http://alpha/id"); err != nil || got != "alpha-1" {
		t.Errorf("%q, %v", got, err)
	}
	if _, body := looked(t, addr, "/metrics", nil); !strings.Contains(body, "go_goroutines ") || strings.Contains(body, "http_client") {
		t.Errorf("got\n%.500s", body)
	}
}

// A wrong setting of OpenTelemetry's costs itself: neither the service nor the rest of the telemetry.
func TestAWrongSettingOfTelemetryStopsNobody(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "nonsense")
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", nil)
	a.both(nil).run(t)
	if got, err := get(t.Context(), a.HTTPClient(), "http://alpha/id"); err != nil || got != "alpha-1" {
		t.Errorf("%q, %v", got, err)
	}
	if !strings.Contains(a.logs.String(), "OTEL_TRACES_SAMPLER") {
		t.Errorf("the log does not say so:\n%s", a.logs)
	}
	if _, body := looked(t, addr, "/metrics", nil); !strings.Contains(body, "http_client_request_duration_seconds_count") {
		t.Errorf("calls are not measured:\n%.500s", body)
	}
}
