//go:build unix

package receivers

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// JaegerVersion is that of tools/jaeger/go.mod.
const JaegerVersion = "1.62.0"

// Jaeger is Jaeger's all-in-one, which keeps traces in its memory. Its methods are safe for concurrent use, Close aside.
type Jaeger struct {
	ports *ports.Reserved
	proc  *process
}

// The ports of Jaeger, each of which would be a well-known one else.
const (
	jaegerQuery = iota
	jaegerQueryGRPC
	jaegerOTLPGRPC
	jaegerOTLPHTTP
	jaegerCollectorGRPC
	jaegerCollectorHTTP
	jaegerAdmin
	jaegerCompact
	jaegerBinary
	jaegerZipkin
	jaegerAgent

	jaegerPorts
)

// StartJaeger starts one and returns when it answers. dir is for its log.
func StartJaeger(ctx context.Context, dir string) (*Jaeger, error) {
	program, err := built("jaeger-"+JaegerVersion, "jaeger", "jaeger")
	if err != nil {
		return nil, err
	}
	j, err := retry(func() (*Jaeger, error) { return startJaeger(ctx, program, dir) })
	if err != nil {
		return nil, fmt.Errorf("start jaeger: %w", err)
	}
	return j, nil
}

func startJaeger(ctx context.Context, program, dir string) (*Jaeger, error) {
	p, err := ports.Reserve(jaegerPorts)
	if err != nil {
		return nil, err
	}
	j := &Jaeger{ports: p}
	var args []string
	for name, port := range map[string]int{
		"query.http-server.host-port": jaegerQuery, "query.grpc-server.host-port": jaegerQueryGRPC,
		"collector.otlp.grpc.host-port": jaegerOTLPGRPC, "collector.otlp.http.host-port": jaegerOTLPHTTP,
		"collector.grpc-server.host-port": jaegerCollectorGRPC, "collector.http-server.host-port": jaegerCollectorHTTP,
		"admin.http.host-port":                      jaegerAdmin,
		"processor.jaeger-compact.server-host-port": jaegerCompact,
		"processor.jaeger-binary.server-host-port":  jaegerBinary,
		"processor.zipkin-compact.server-host-port": jaegerZipkin,
		"http-server.host-port":                     jaegerAgent,
	} {
		args = append(args, "--"+name, p.Addr(port))
	}
	args = append(args, "--log-level", "warn", "--memory.max-traces", "20000", "--collector.otlp.enabled=true")
	if j.proc, err = launch(exec.Command(program, args...), filepath.Join(dir, "jaeger.log")); err == nil {
		if err = j.proc.ready(ctx, "http://"+p.Addr(jaegerQuery)+"/api/services"); err == nil {
			err = j.proc.ready(ctx, "http://"+p.Addr(jaegerAdmin)+"/")
		}
	}
	if err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

// GRPC returns the endpoint for OTEL_EXPORTER_OTLP_PROTOCOL=grpc.
func (j *Jaeger) GRPC() string { return "http://" + j.ports.Addr(jaegerOTLPGRPC) }

// HTTP returns the endpoint for OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.
func (j *Jaeger) HTTP() string { return "http://" + j.ports.Addr(jaegerOTLPHTTP) }

// JaegerTrace is a trace as Jaeger's /api/traces answers it.
type JaegerTrace struct {
	ID        string `json:"traceID"`
	Spans     []JaegerSpan
	Processes map[string]struct {
		Service string `json:"serviceName"`
	}
}

// JaegerSpan is a span of a JaegerTrace.
type JaegerSpan struct {
	ID         string `json:"spanID"`
	Name       string `json:"operationName"`
	Process    string `json:"processID"`
	References []struct {
		Kind string `json:"refType"`
		Span string `json:"spanID"`
	} `json:"references"`
	Tags []struct {
		Key   string
		Value any
	}
}

// Services returns who took part, in no order.
func (t JaegerTrace) Services() map[string]int {
	out := make(map[string]int)
	for _, s := range t.Spans {
		out[t.Processes[s.Process].Service]++
	}
	return out
}

// Parent returns the id of the span above, "" of a root.
func (s JaegerSpan) Parent() string {
	for _, r := range s.References {
		if r.Kind == "CHILD_OF" {
			return r.Span
		}
	}
	return ""
}

// Traces asks for the latest traces of a service: those with a span of this name, unless it is "".
func (j *Jaeger) Traces(ctx context.Context, service, name string, limit int) ([]JaegerTrace, error) {
	q := url.Values{"service": {service}, "limit": {fmt.Sprint(limit)}, "lookback": {"1h"}}
	if name != "" {
		q.Set("operation", name)
	}
	var answer struct{ Data []JaegerTrace }
	err := getJSON(ctx, "http://"+j.ports.Addr(jaegerQuery)+"/api/traces?"+q.Encode(), &answer)
	return answer.Data, err
}

// Trace asks for one trace by its id.
func (j *Jaeger) Trace(ctx context.Context, id string) (JaegerTrace, error) {
	var answer struct{ Data []JaegerTrace }
	if err := getJSON(ctx, "http://"+j.ports.Addr(jaegerQuery)+"/api/traces/"+url.PathEscape(id), &answer); err != nil {
		return JaegerTrace{}, err
	}
	if len(answer.Data) != 1 {
		return JaegerTrace{}, fmt.Errorf("trace %s: %d of them", id, len(answer.Data))
	}
	return answer.Data[0], nil
}

// Close ends it. It is idempotent.
func (j *Jaeger) Close() {
	j.proc.kill()
	j.ports.Release()
}
