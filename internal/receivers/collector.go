//go:build unix

package receivers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	colmetricpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// CollectorVersion is that of tools/otelcol/go.mod.
const CollectorVersion = "0.148.0"

// Collector is an OpenTelemetry Collector that hands on what it gets to this process, which remembers it. Its methods are
// safe for concurrent use, Close aside.
type Collector struct {
	ports *ports.Reserved // of gRPC, of HTTP
	proc  *process
	sink  *http.Server
	done  chan struct{}

	mu      sync.Mutex
	spans   []Span
	metrics []Metric
	failed  error
}

// Span is one span with what it comes from.
type Span struct {
	*tracepb.Span
	// Service and Instance are those of its resource.
	Service, Instance string
}

// Metric is one metric with what it comes from.
type Metric struct {
	*metricpb.Metric
	Service, Instance string
}

// StartCollector starts one and returns when it takes what is sent to it. dir is for its configuration and its log.
func StartCollector(ctx context.Context, dir string) (*Collector, error) {
	program, err := built("otelcol-"+CollectorVersion, "otelcol", "otelcol")
	if err != nil {
		return nil, err
	}
	c, err := retry(func() (*Collector, error) { return startCollector(ctx, program, dir) })
	if err != nil {
		return nil, fmt.Errorf("start the collector: %w", err)
	}
	return c, nil
}

func startCollector(ctx context.Context, program, dir string) (c *Collector, err error) {
	c = &Collector{done: make(chan struct{})}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", c.takeTraces)
	mux.HandleFunc("POST /v1/metrics", c.takeMetrics)
	c.sink = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(c.done)
		_ = c.sink.Serve(lis) // ends with Close
	}()
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.ports, err = ports.Reserve(2); err != nil {
		return c, err
	}
	config := filepath.Join(dir, "otelcol.yaml")
	if err := os.WriteFile(config, c.config(lis.Addr().String()), 0o600); err != nil {
		return c, err
	}
	if c.proc, err = launch(exec.Command(program, "--config", config), filepath.Join(dir, "otelcol.log")); err != nil {
		return c, err
	}
	return c, c.proc.answers(ctx, c.ports.Addr(0), c.ports.Addr(1))
}

// config hands everything on at once, so that what was taken is known as soon as it is acknowledged.
func (c *Collector) config(sink string) []byte {
	return fmt.Appendf(nil, `receivers:
  otlp:
    protocols:
      grpc: {endpoint: %q}
      http: {endpoint: %q}
exporters:
  otlp_http: {endpoint: "http://%s", compression: none, sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}
service:
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_http]}
    metrics: {receivers: [otlp], exporters: [otlp_http]}
`, c.ports.Addr(0), c.ports.Addr(1), sink)
}

// GRPC returns the endpoint for OTEL_EXPORTER_OTLP_PROTOCOL=grpc.
func (c *Collector) GRPC() string { return "http://" + c.ports.Addr(0) }

// HTTP returns the endpoint for OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.
func (c *Collector) HTTP() string { return "http://" + c.ports.Addr(1) }

// Spans returns all that came so far, in the order of their coming.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Metrics returns all that came so far, in the order of their coming.
func (c *Collector) Metrics() []Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.metrics)
}

// Err returns what came and could not be read, if anything.
func (c *Collector) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Close ends it. It is idempotent.
func (c *Collector) Close() {
	c.proc.kill()
	_ = c.sink.Close()
	<-c.done
	c.ports.Release()
}

func (c *Collector) takeTraces(w http.ResponseWriter, r *http.Request) {
	var req coltracepb.ExportTraceServiceRequest
	if !c.read(w, r, &req) {
		return
	}
	c.mu.Lock()
	for _, rs := range req.GetResourceSpans() {
		from := attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, Span{Span: s, Service: from["service.name"], Instance: from["service.instance.id"]})
			}
		}
	}
	c.mu.Unlock()
	answer(w, &coltracepb.ExportTraceServiceResponse{})
}

func (c *Collector) takeMetrics(w http.ResponseWriter, r *http.Request) {
	var req colmetricpb.ExportMetricsServiceRequest
	if !c.read(w, r, &req) {
		return
	}
	c.mu.Lock()
	for _, rm := range req.GetResourceMetrics() {
		from := attributes(rm.GetResource().GetAttributes())
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				c.metrics = append(c.metrics, Metric{Metric: m, Service: from["service.name"], Instance: from["service.instance.id"]})
			}
		}
	}
	c.mu.Unlock()
	answer(w, &colmetricpb.ExportMetricsServiceResponse{})
}

func (c *Collector) read(w http.ResponseWriter, r *http.Request, into proto.Message) bool {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err == nil {
		err = proto.Unmarshal(body, into)
	}
	if err == nil {
		return true
	}
	c.mu.Lock()
	c.failed = errors.Join(c.failed, err)
	c.mu.Unlock()
	http.Error(w, err.Error(), http.StatusBadRequest)
	return false
}

func answer(w http.ResponseWriter, m proto.Message) {
	w.Header().Set("Content-Type", "application/x-protobuf")
	if b, err := proto.Marshal(m); err == nil {
		_, _ = w.Write(b)
	}
}
