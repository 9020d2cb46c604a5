//go:build real && unix

package receivers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/holdfast-go/holdfast/internal/receivers"
)

var orders = resource.NewSchemaless(semconv.ServiceName("orders"), semconv.ServiceInstanceID("orders-1"))

// send sends two spans, one below the other, with the SDK of OpenTelemetry alone.
func send(t *testing.T, exporter sdktrace.SpanExporter, err error, name string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithResource(orders))
	ctx, above := p.Tracer("test").Start(t.Context(), name)
	_, below := p.Tracer("test").Start(ctx, name+" below")
	below.End()
	above.End()
	if err := p.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// What is sent to the Collector, over gRPC and HTTP, is found there.
func TestRealCollector(t *testing.T) {
	c, err := receivers.StartCollector(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	g, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpointURL(c.GRPC()))
	send(t, g, err, "by gRPC")
	h, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(c.HTTP()+"/v1/traces"))
	send(t, h, err, "by HTTP")
	byName := make(map[string]receivers.Span)
	for _, s := range c.Spans() {
		byName[s.GetName()] = s
	}
	for _, name := range []string{"by gRPC", "by HTTP"} {
		above, below := byName[name], byName[name+" below"]
		if above.Span == nil || below.Span == nil || above.Service != "orders" || above.Instance != "orders-1" ||
			below.Parent() != above.ID() || below.Trace() != above.Trace() || above.Parent() != "" {
			t.Errorf("%s: %v, %v", name, above, below)
		}
	}
	m, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpointURL(c.HTTP()+"/v1/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	meters := metric.NewMeterProvider(metric.WithResource(orders), metric.WithReader(metric.NewPeriodicReader(m)))
	counter, err := meters.Meter("test").Int64Counter("counted")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	if err := meters.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if got := c.Metrics(); len(got) != 1 || got[0].GetName() != "counted" || got[0].Instance != "orders-1" ||
		got[0].GetSum().GetDataPoints()[0].GetAsInt() != 3 {
		t.Errorf("metrics: %v", got)
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// What is sent to Jaeger is answered by its API, also while another one runs on this machine.
func TestRealJaeger(t *testing.T) {
	var j *receivers.Jaeger
	for range 2 {
		var err error
		if j, err = receivers.StartJaeger(t.Context(), t.TempDir()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(j.Close)
	}
	g, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpointURL(j.GRPC()))
	send(t, g, err, "by gRPC")
	h, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(j.HTTP()+"/v1/traces"))
	send(t, h, err, "by HTTP")
	for _, name := range []string{"by gRPC", "by HTTP"} {
		eventually(t, name+" is found", func() error {
			found, err := j.Traces(t.Context(), "orders", name, 10)
			if err != nil {
				return err
			}
			if len(found) != 1 || len(found[0].Spans) != 2 || found[0].Services()["orders"] != 2 {
				return fmt.Errorf("%+v", found)
			}
			one, err := j.Trace(t.Context(), found[0].ID)
			if err != nil {
				return err
			}
			byName := make(map[string]receivers.JaegerSpan)
			for _, s := range one.Spans {
				byName[s.Name] = s
			}
			if byName[name+" below"].Parent() != byName[name].ID || byName[name].Parent() != "" {
				return fmt.Errorf("%+v", one)
			}
			return nil
		})
	}
}

// Prometheus scrapes what it is told to, and answers for it; what is no expression is an error.
func TestRealPrometheus(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "answer 42") }))
	t.Cleanup(srv.Close)
	p, err := receivers.StartPrometheus(t.Context(), t.TempDir(), fmt.Sprintf(`global: {scrape_interval: 200ms}
scrape_configs: [{job_name: it, static_configs: [{targets: [%q]}]}]
`, strings.TrimPrefix(srv.URL, "http://")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	eventually(t, "it is scraped", func() error {
		targets, err := p.Targets(t.Context())
		if err != nil {
			return err
		}
		if len(targets) != 1 || targets[0].Health != "up" {
			return fmt.Errorf("%+v", targets)
		}
		samples, err := p.Query(t.Context(), "answer / 2")
		if err != nil {
			return err
		}
		if len(samples) != 1 || samples[0].Value != 21 || samples[0].Labels["job"] != "it" {
			return fmt.Errorf("%+v", samples)
		}
		return nil
	})
	if _, err := p.Query(t.Context(), "answer /"); err == nil {
		t.Error("what is no expression is answered")
	}
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not so: %s: %v", what, err)
		}
	}
}
