package sight_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collected "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/platform/sight"
)

// telling runs a receiver until the test ends, and returns what people are told.
func telling(t *testing.T) (*sight.Receiver, <-chan string) {
	t.Helper()
	words := make(chan string, 16)
	r, err := sight.Listen(sight.New(sight.Config{}), sight.ReceiverConfig{Logger: slog.New(slog.DiscardHandler), Tell: func(m string) { words <- m }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return r, words
}

// A collector that does not answer makes no other one wait.
func TestForwardToEachByItself(t *testing.T) {
	stuck, free := make(chan struct{}), make(chan struct{}, 1)
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer slow.Close()
	defer close(stuck)
	quick := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { free <- struct{}{} }))
	defer quick.Close()
	r, _ := telling(t)
	path, err := r.Forward(sight.Collector{Traces: sight.Target{URL: slow.URL}, Logs: sight.Target{URL: quick.URL}})
	if err != nil {
		t.Fatal(err)
	}
	post(t, "http://"+r.Addr()+path+"/v1/traces", "application/x-protobuf", "", nil)
	post(t, "http://"+r.Addr()+path+"/v1/logs", "application/x-protobuf", "", nil)
	select {
	case <-free:
	case <-time.After(5 * time.Second):
		t.Error("it waits for the other one")
	}
}

// Files in PEM and gzip are as the target says, and people are told once that it fails, and that it works again.
func TestForwardAsTheTargetSays(t *testing.T) {
	var bad atomic.Bool
	got := make(chan []byte, 1)
	there := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if bad.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			got <- nil
			return
		}
		z, err := gzip.NewReader(req.Body)
		if err != nil {
			t.Error(err)
			got <- nil
			return
		}
		b, _ := io.ReadAll(z)
		got <- b
	}))
	defer there.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: there.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	r, words := telling(t)
	for _, wrong := range []sight.Target{{URL: there.URL, CA: "nowhere.pem"}, {URL: there.URL, CA: os.Args[0]}, {URL: there.URL, Cert: ca}} {
		if _, err := r.Forward(sight.Collector{Traces: wrong}); err == nil {
			t.Errorf("taken: %+v", wrong)
		}
	}
	path, err := r.Forward(sight.Collector{Logs: sight.Target{URL: there.URL, CA: ca, Gzip: true, Timeout: 5 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := proto.Marshal(&logspb.ExportLogsServiceRequest{})
	send := func() []byte {
		post(t, "http://"+r.Addr()+path+"/v1/logs", "application/x-protobuf", "", body)
		return <-got
	}
	bad.Store(true)
	send()
	if m := <-words; !strings.HasPrefix(m, "telemetry does not reach 127.0.0.1:") || !strings.HasSuffix(m, ": answered 503 Service Unavailable") {
		t.Error(m)
	}
	send()
	bad.Store(false)
	if b := send(); !bytes.Equal(b, body) {
		t.Errorf("%q", b)
	}
	if m := <-words; !strings.HasSuffix(m, " again") {
		t.Error(m)
	}
}

// collecting is a collector that hands on the first metrics of each request.
func collecting(t *testing.T, each func(*metricspb.ResourceMetrics)) *httptest.Server {
	there := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		var m collected.ExportMetricsServiceRequest
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Error(err)
			return
		}
		each(m.GetResourceMetrics()[0])
	}))
	t.Cleanup(there.Close)
	return there
}

// Of metrics, a target is sent the newest of each process in the time that it wants them at.
func TestForwardThinsMetrics(t *testing.T) {
	got := make(chan string, 64)
	there := collecting(t, func(of *metricspb.ResourceMetrics) {
		got <- of.GetResource().GetAttributes()[0].GetValue().GetStringValue() + " " + of.GetScopeMetrics()[0].GetMetrics()[0].GetName()
	})
	r, _ := telling(t)
	target := sight.Target{URL: there.URL, Every: time.Second}
	path, err := r.Forward(sight.Collector{Metrics: target})
	if err != nil {
		t.Fatal(err)
	}
	tell := func(service, what string) {
		body, err := proto.Marshal(&collected.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{{
			Resource: &resource.Resource{Attributes: []*common.KeyValue{{
				Key: "service.name", Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: service}},
			}}},
			ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{{Name: what}}}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if resp := post(t, "http://"+r.Addr()+path+"/v1/metrics", "application/x-protobuf", "", body); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	for late := true; late; {
		begun := time.Now()
		for _, what := range []string{"first", "second", "newest"} {
			tell("a", what)
			tell("b", what)
		}
		late = time.Since(begun) >= target.Every // what was told first may have been due before the newest came
		seen, others := make(map[string]bool), 0
		for !seen["a newest"] || !seen["b newest"] {
			said := <-got
			if seen[said] = true; !strings.HasSuffix(said, " newest") {
				others++
			}
		}
		if !late && others+len(got) > 0 {
			t.Errorf("%v, and %d more", seen, len(got))
		}
	}
}

// What a process said last is not replaced by what the one in its place says first, though they have the same name.
func TestForwardKeepsLastWords(t *testing.T) {
	got := make(chan int64, 64)
	there := collecting(t, func(of *metricspb.ResourceMetrics) {
		got <- of.GetScopeMetrics()[0].GetMetrics()[0].GetSum().GetDataPoints()[0].GetAsInt()
	})
	r, _ := telling(t)
	path, err := r.Forward(sight.Collector{Metrics: sight.Target{URL: there.URL, Every: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	for begun, n := range map[uint64]int64{1_700_000_000_000_000_000: 500, 1_700_000_001_000_000_000: 1} {
		body, err := proto.Marshal(&collected.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{{
			ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{{Name: "errors", Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{
				IsMonotonic: true, AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
				DataPoints: []*metricspb.NumberDataPoint{{StartTimeUnixNano: begun, Value: &metricspb.NumberDataPoint_AsInt{AsInt: n}}},
			}}}}}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if resp := post(t, "http://"+r.Addr()+path+"/v1/metrics", "application/x-protobuf", "", body); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	if sum := <-got + <-got; sum != 501 {
		t.Errorf("handed on: %d", sum)
	}
}

// What has not been handed on when the system ends is, of metrics too that would have been sent later.
func TestWhatIsLeftIsHandedOnAtTheEnd(t *testing.T) {
	var got atomic.Int32
	there := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	defer there.Close()
	r, err := sight.Listen(sight.New(sight.Config{}), sight.ReceiverConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	path, err := r.Forward(sight.Collector{Metrics: sight.Target{URL: there.URL, Every: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&collected.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{{}}})
	if err != nil {
		t.Fatal(err)
	}
	if resp := post(t, "http://"+r.Addr()+path+"/v1/metrics", "application/x-protobuf", "", body); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	cancel()
	if err := <-ended; err != nil || got.Load() != 1 {
		t.Errorf("%v, %d requests at the end", err, got.Load())
	}
}
