package sight_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

// Senders that have begun, and go no further, are in nobody's way.
func TestSendersThatStall(t *testing.T) {
	s, r := receive(t)
	begin := time.Now()
	for range 16 {
		c, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/traces HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", r.Addr())
		if n, err := c.Read(make([]byte, 12)); err != nil || n == 0 { // its body is being read
			t.Fatal(n, err)
		}
	}
	w := &world{trace: 1}
	begun(w, 14)
	if resp := post(t, "http://"+r.Addr()+"/v1/traces", "application/x-protobuf", "", marshal(t, w)); resp.StatusCode != http.StatusOK || time.Since(begin) > 9*time.Second {
		t.Error(resp.Status, time.Since(begin))
	}
	if _, err := s.Trace(hexID(1)); err != nil {
		t.Error(err)
	}
}

// Numbers that are none, and kinds that do not fit, are not counted: what is made of them can always be written as JSON.
func TestNumbersThatAreNone(t *testing.T) {
	for _, name := range []string{"rpc.server.call.duration", "messaging.publish.messages", "holdfast.client.attempts"} {
		for _, value := range []float64{math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64} {
			synctest.Test(t, func(t *testing.T) {
				s := sight.New(sight.Config{})
				for range 8 {
					pass(time.Second)
					now := uint64(time.Now().UnixNano())
					point := func(key string) []*metrics.NumberDataPoint {
						a := attrs{"service", "stock", "server.address", "stock", "messaging.destination.name", "x", "k", key}
						return []*metrics.NumberDataPoint{{StartTimeUnixNano: now, Attributes: a.proto(), Value: &metrics.NumberDataPoint_AsDouble{AsDouble: value}}}
					}
					b, err := proto.Marshal(&collector.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{
						Resource: &resource.Resource{Attributes: attrs{"service.name", "gateway", "service.instance.id", "gateway-1"}.proto()},
						ScopeMetrics: []*metrics.ScopeMetrics{{Metrics: []*metrics.Metric{
							{Name: name, Data: &metrics.Metric_Sum{Sum: &metrics.Sum{AggregationTemporality: 1, IsMonotonic: true, DataPoints: append(point("a"), point("b")...)}}},
							{Name: name, Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: point("a")}}},
						}}},
					}}})
					if err != nil {
						t.Fatal(err)
					}
					if n, err := s.AddMetrics(b); err != nil || n != 3 {
						t.Fatal(n, err)
					}
				}
				if _, err := json.Marshal(s.Graph()); err != nil {
					t.Errorf("%s, %v: %v", name, value, err)
				}
				if _, err := json.Marshal(s.Series(control.SeriesQuery{Name: name})); err != nil {
					t.Errorf("%s, %v: %v", name, value, err)
				}
				if _, err := json.Marshal(s.Rates()); err != nil {
					t.Errorf("%s, %v: %v", name, value, err)
				}
			})
		}
	}
}

// Who takes part beyond what is kept apart is not taken for somebody else.
func TestMoreInstancesThanAreKeptApart(t *testing.T) {
	s := sight.New(sight.Config{})
	w := &world{trace: 1}
	for i := range 300 {
		w.serve(i+1, min(i, 1), fmt.Sprintf("orders-%03d", i), "GET /", float64(i), 1, nil)
	}
	w.add(t, s)
	got, err := s.Trace(hexID(1))
	if err != nil {
		t.Fatal(err)
	}
	named, rest := 0, 0
	for i := range got.Tree {
		id := 0
		fmt.Sscanf(got.Tree[i].ID[:8], "%x", &id)
		switch span := got.Tree[i]; {
		case span.Instance == fmt.Sprintf("orders-%03d", id-1):
			named++
		case span.Service == "(others)" && span.Instance == "":
			rest++
		default:
			t.Errorf("span %d is said to be of %s", id, span.Instance)
		}
	}
	if named != 255 || rest != 45 {
		t.Errorf("%d, and %d others", named, rest)
	}
}
