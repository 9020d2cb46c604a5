package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/holdfast-go/holdfast/resilience"
)

// buckets are those of durations, in seconds.
var buckets = []float64{
	0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4, 0.6, 1, 1.5, 2.5, 5, 10,
}

// bounds are the buckets as durations.
var bounds = func() (out [21]time.Duration) {
	for i, b := range buckets {
		out[i] = time.Duration(b * float64(time.Second))
	}
	return out
}()

// series is a histogram of durations. Safe for concurrent use; nothing allocates.
type series struct {
	about  attribute.Set
	begun  time.Time
	sum    atomic.Int64 // nanoseconds
	counts [len(bounds) + 1]atomic.Uint64
}

func newSeries(about attribute.Set) *series { return &series{about: about, begun: time.Now()} }

func (s *series) add(took time.Duration) {
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	s.counts[i].Add(1)
	s.sum.Add(int64(took))
}

// point is the series as it is read at now.
func (s *series) point(now time.Time) metricdata.HistogramDataPoint[float64] {
	p := metricdata.HistogramDataPoint[float64]{
		Attributes: s.about, StartTime: s.begun, Time: now, Bounds: buckets, BucketCounts: make([]uint64, len(s.counts)),
		Sum: time.Duration(s.sum.Load()).Seconds(),
	}
	for i := range s.counts {
		p.BucketCounts[i] = s.counts[i].Load()
		p.Count += p.BucketCounts[i]
	}
	return p
}

// durations are the histograms that calls are counted in: of those that are made, and of those that are served.
var durations = [2][2]struct{ name, text string }{
	{
		resilience.GRPC: {"rpc.client.call.duration", "Calls that were made over gRPC, with all their attempts."},
		resilience.HTTP: {"http.client.request.duration", "Requests that were made over HTTP, with all their attempts."},
	},
	{
		resilience.GRPC: {"rpc.server.call.duration", "Calls that were served over gRPC."},
		resilience.HTTP: {"http.server.request.duration", "Requests that were served over HTTP."},
	},
}

// Produce implements sdkmetric.Producer: the durations of calls, for every reader.
func (s *stats) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Now()
	var points [2][2][]metricdata.HistogramDataPoint[float64]
	for k, m := range *s.methods.Load() {
		side := 0
		if k.server {
			side = 1
		}
		for _, r := range *m.results.Load() {
			if r.series == m.side.others.Load() {
				continue // of many methods
			}
			points[side][k.protocol] = append(points[side][k.protocol], r.point(now))
		}
	}
	for i := range s.sides {
		for p := range s.sides[i] {
			if o := s.sides[i][p].others.Load(); o != nil {
				points[i][p] = append(points[i][p], o.point(now))
			}
		}
	}
	out := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope}}
	for side := range points {
		for protocol, all := range points[side] {
			if d := durations[side][protocol]; len(all) > 0 {
				out.Metrics = append(out.Metrics, metricdata.Metrics{
					Name: d.name, Description: d.text, Unit: "s",
					Data: metricdata.Histogram[float64]{DataPoints: all, Temporality: metricdata.CumulativeTemporality},
				})
			}
		}
	}
	if len(out.Metrics) == 0 {
		return nil, nil
	}
	return []metricdata.ScopeMetrics{out}, nil
}
