package sight_test

import (
	"fmt"
	"math"
	"strings"
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

var bounds = []float64{.001, .01, .1, 1}

// process is an instance that exports its metrics every second, as cumulative sums.
type process struct {
	id    string
	start time.Time
	sums  map[string]*metrics.Metric
}

func newProcess(id string) *process {
	return &process{id: id, start: time.Now(), sums: map[string]*metrics.Metric{}}
}

func (p *process) key(name string, a attrs) string { return name + fmt.Sprint(a...) }

// took counts n calls that took so long.
func (p *process) took(name string, n uint64, seconds float64, a attrs) {
	m := p.sums[p.key(name, a)]
	if m == nil {
		m = &metrics.Metric{Name: name, Unit: "s", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{
			AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
			DataPoints: []*metrics.HistogramDataPoint{{
				StartTimeUnixNano: uint64(p.start.UnixNano()), Attributes: a.proto(), ExplicitBounds: bounds, BucketCounts: make([]uint64, len(bounds)+1),
			}},
		}}}
		p.sums[p.key(name, a)] = m
	}
	h := m.GetHistogram().DataPoints[0]
	h.Count += n
	i := 0
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	h.BucketCounts[i] += n
}

// count adds to a counter.
func (p *process) count(name string, n float64, a attrs) {
	m := p.sums[p.key(name, a)]
	if m == nil {
		m = &metrics.Metric{Name: name, Data: &metrics.Metric_Sum{Sum: &metrics.Sum{
			IsMonotonic: true, AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
			DataPoints: []*metrics.NumberDataPoint{{StartTimeUnixNano: uint64(p.start.UnixNano()), Attributes: a.proto(), Value: &metrics.NumberDataPoint_AsInt{}}},
		}}}
		p.sums[p.key(name, a)] = m
	}
	m.GetSum().DataPoints[0].Value.(*metrics.NumberDataPoint_AsInt).AsInt += int64(n)
}

func (p *process) gauge(name string, v float64) {
	p.sums[name] = &metrics.Metric{Name: name, Unit: "By", Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{
		DataPoints: []*metrics.NumberDataPoint{{Value: &metrics.NumberDataPoint_AsDouble{AsDouble: v}}},
	}}}
}

func (p *process) export(t *testing.T, s *sight.Store) {
	t.Helper()
	service, _, _ := strings.Cut(p.id, "-")
	p.exportAs(t, s, attrs{"service.name", service, "service.instance.id", p.id})
}

func (p *process) exportAs(t *testing.T, s *sight.Store, who attrs) {
	t.Helper()
	scope := &metrics.ScopeMetrics{}
	for _, m := range p.sums {
		scope.Metrics = append(scope.Metrics, m)
	}
	b, err := proto.Marshal(&collector.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{
		Resource:     &resource.Resource{Attributes: who.proto()},
		ScopeMetrics: []*metrics.ScopeMetrics{scope},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddMetrics(b); err != nil {
		t.Fatal(err)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < .01*math.Max(1, b) }

func TestGraph(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		gateway, orders1, orders2, mail := newProcess("gateway-1"), newProcess("orders-1"), newProcess("orders-2"), newProcess("mail-1")
		second := func(alive bool) {
			gateway.took("rpc.client.call.duration", 9, .005, attrs{"server.address", "orders"})
			gateway.took("rpc.client.call.duration", 1, .5, attrs{"server.address", "orders", "error.type", "UNAVAILABLE"})
			gateway.took("rpc.client.call.duration", 2, .005, attrs{"server.address", "orders", "error.type", "NOT_FOUND"})
			gateway.count("holdfast.client.attempts", 15, attrs{"service", "orders", "hedge", "false"})
			gateway.count("holdfast.client.attempts", 1, attrs{"service", "orders", "hedge", "true"})
			gateway.took("http.server.request.duration", 12, .05, attrs{"http.response.status_code", 200})
			orders1.took("rpc.server.call.duration", 8, .005, attrs{"rpc.method", "Place"})
			orders1.took("messaging.client.operation.duration", 3, .002, attrs{"messaging.destination.name", "orders.placed"})
			orders1.count("messaging.client.sent.messages", 3, attrs{"messaging.destination.name", "orders.placed"})
			mail.took("messaging.process.duration", 3, .02, attrs{"messaging.destination.name", "orders.placed"})
			procs := []*process{gateway, orders1, mail}
			if alive {
				orders2.took("rpc.server.call.duration", 7, .05, attrs{"rpc.method", "Place"})
				procs = append(procs, orders2)
			}
			for _, p := range procs {
				p.export(t, s)
			}
			pass(time.Second)
		}
		for range 10 {
			second(true)
		}
		g := s.Graph()
		if len(g.Edges) != 2 || len(g.Nodes) != 3 {
			t.Fatalf("%+v", g)
		}
		e := g.Edges[0]
		if e.From != "gateway" || e.To != "orders" || e.Kind != control.EdgeCall || !near(e.Rate, 12) || !near(e.Errors, 1) || !near(e.Retries, 3) || !near(e.Hedges, 1) || e.Sampled {
			t.Errorf("%+v", e)
		}
		if e.P50 < time.Millisecond || e.P50 > 10*time.Millisecond || e.P99 < 100*time.Millisecond || e.P99 > time.Second {
			t.Errorf("%v, %v", e.P50, e.P99)
		}
		if e := g.Edges[1]; e.From != "orders" || e.To != "mail" || e.Kind != control.EdgeMessage || e.Topic != "orders.placed" || !near(e.Rate, 3) {
			t.Errorf("%+v", e)
		}
		if n := g.Nodes[2]; n.Service != "orders" || !near(n.Rate, 15) || n.Instances != 2 {
			t.Errorf("%+v", n)
		}
		if r := s.Rates(); !near(r["orders-1"].Rate, 8) || !near(r["orders-2"].Rate, 7) || !near(r["gateway-1"].Rate, 12) {
			t.Errorf("%+v", r)
		}
		// One dies, and begins again from zero: nothing is counted that did not happen.
		for range 6 {
			second(false)
		}
		if r := s.Rates(); r["orders-2"].Rate != 0 {
			t.Errorf("of what is dead: %+v", r)
		}
		orders2 = newProcess("orders-2")
		for range 7 {
			second(true)
		}
		if r := s.Rates(); !near(r["orders-2"].Rate, 7) {
			t.Errorf("after a restart: %+v", r["orders-2"])
		}
	})
}

// What happened before the store was there is of no time.
func TestProcessesThatAreOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess("orders-1")
		p.took("rpc.server.call.duration", 1_000_000, .005, nil)
		pass(time.Hour)
		s := sight.New(sight.Config{})
		p.export(t, s)
		pass(time.Second)
		p.took("rpc.server.call.duration", 5, .005, nil)
		p.export(t, s)
		if r := s.Rates()["orders-1"]; !near(r.Rate, 5) {
			t.Errorf("%+v", r)
		}
	})
}

func TestGraphOfSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		for i := range byte(20) {
			w := &world{trace: i + 1}
			w.span(1, 0, "front-1", "server", "GET /", 0, 10, nil)
			w.span(2, 1, "front-1", "client", "Say", 1, 8, nil)
			w.span(3, 2, "greeter-2", "server", "Say", 2, 5, nil)
			if i == 0 {
				fails(w.spans[2].span, "INTERNAL", "")
			}
			w.add(t, s)
		}
		pass(time.Second)
		g := s.Graph()
		if len(g.Edges) != 1 || len(g.Nodes) != 2 {
			t.Fatalf("%+v", g)
		}
		if e := g.Edges[0]; e.From != "front" || e.To != "greeter" || !e.Sampled || !near(e.Rate, 2) || !near(e.Errors, .1) || e.P50 != 5*time.Millisecond {
			t.Errorf("%+v", e)
		}
		pass(time.Minute)
		if g := s.Graph(); len(g.Edges) != 0 {
			t.Errorf("of a minute ago: %+v", g.Edges)
		}
	})
}

// What was not tried again is no retry: a stream is in no duration of calls, and what found no instance was not tried. An edge of
// streams alone is an edge all the same.
func TestStreamsAndWhatFoundNoInstanceAreNoRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		a, c := newProcess("a-1"), newProcess("c-1")
		for range 6 {
			a.took("rpc.client.call.duration", 3, .005, attrs{"server.address", "b"})
			a.count("holdfast.client.attempts", 4, attrs{"service", "b", "outcome", "ok", "hedge", false, "stream", false})
			a.count("holdfast.client.attempts", 2, attrs{"service", "b", "outcome", "no instance", "hedge", false, "stream", false})
			a.count("holdfast.client.attempts", 5, attrs{"service", "b", "outcome", "ok", "hedge", false, "stream", true})
			c.count("holdfast.client.attempts", 5, attrs{"service", "b", "outcome", "ok", "hedge", false, "stream", true})
			a.export(t, s)
			c.export(t, s)
			pass(time.Second)
		}
		g := s.Graph()
		if len(g.Edges) != 2 || len(g.Nodes) != 3 {
			t.Fatalf("%+v", g)
		}
		if e := g.Edges[0]; e.From != "a" || e.To != "b" || !near(e.Rate, 3) || !near(e.Retries, 1) {
			t.Errorf("%+v", e)
		}
		if e := g.Edges[1]; e.From != "c" || e.To != "b" || e.Kind != control.EdgeCall || e.Rate != 0 || e.Retries != 0 {
			t.Errorf("%+v", e)
		}
	})
}

// Where streams alone are made, traces know how many.
func TestAnEdgeOfStreamsIsThereOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		c := newProcess("c-1")
		c.count("holdfast.client.attempts", 1, attrs{"service", "b", "outcome", "ok", "hedge", false, "stream", true})
		c.export(t, s)
		w := &world{trace: 1}
		w.call(1, 0, "c-1", "b", "b.B/Watch", 0, 900, nil)
		w.try(2, 1, "c-1", "b", 1, "b-1", 0, 900, nil)
		w.serve(3, 2, "b-1", "b.B/Watch", 1, 890, nil)
		w.add(t, s)
		if g := s.Graph(); len(g.Edges) != 1 || !g.Edges[0].Sampled || g.Edges[0].Rate == 0 {
			t.Errorf("%+v", g.Edges)
		}
	})
}

func TestSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		p := newProcess("orders-1")
		for i := range 120 {
			p.took("rpc.server.call.duration", 4, .005, attrs{"rpc.method", "Place"})
			p.count("holdfast.client.attempts", 2, attrs{"service", "stock"})
			p.gauge("process.memory.usage", float64(1000+i/60))
			p.export(t, s)
			pass(time.Second)
		}
		got := s.Series(control.SeriesQuery{Name: "rpc.server.call.duration", Service: "orders", Last: time.Minute})
		if len(got) != 3 || got[0].Attributes["stat"] != "rate" || got[0].Attributes["rpc.method"] != "Place" || got[0].Attributes["instance"] != "orders-1" || len(got[0].Points) < 60 {
			t.Fatalf("%+v", got)
		}
		for _, p := range got[0].Points[1 : len(got[0].Points)-1] {
			if p.Value != 4 {
				t.Errorf("%+v", p)
			}
		}
		if p := got[1].Points[10]; p.Value < .001 || p.Value > .01 {
			t.Errorf("p50 %+v", p)
		}
		if got := s.Series(control.SeriesQuery{Name: "holdfast.*"}); len(got) != 1 || got[0].Attributes["to"] != "stock" || got[0].Attributes["service"] != "orders" || got[0].Points[290].Value != 2 {
			t.Errorf("%+v", got)
		}
		gauge := s.Series(control.SeriesQuery{Name: "process.memory.usage", Instance: "orders-1"})
		if len(gauge) != 1 || gauge[0].Points[0].Value != 1000 || gauge[0].Points[len(gauge[0].Points)-1].Value != 1001 {
			t.Errorf("%+v", gauge)
		}
		if got := s.Series(control.SeriesQuery{Name: "nothing"}); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		// After a quarter of an hour all is gone.
		pass(16 * time.Minute)
		newProcess("other-1").export(t, s)
		if got := s.Series(control.SeriesQuery{Name: "*", Last: control.MaxLast}); len(got) != 0 {
			t.Errorf("after 16 minutes: %+v", got)
		}
	})
}

// Whoever makes series without end has so many, and takes nothing from others.
func TestBoundOfMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 2 << 20
		s := sight.New(sight.Config{MetricBytes: bound})
		pass(time.Second)
		good := newProcess("orders-1")
		for i := range 12 {
			bad := newProcess("bad-1")
			for k := range 200 {
				bad.took("x", 1, .005, attrs{"user", i*200 + k})
			}
			bad.export(t, s)
			good.took("rpc.server.call.duration", 5, .005, nil)
			good.export(t, s)
			pass(time.Second)
		}
		if _, n, _ := s.Bytes(); n > bound*5/4 {
			t.Errorf("%d bytes", n)
		}
		if _, points, _ := s.Dropped(); points < 12*200-2000 {
			t.Errorf("%d points dropped", points)
		}
		if r := s.Rates()["orders-1"]; !near(r.Rate, 5) {
			t.Errorf("%+v", r)
		}
	})
}

// Labels of a process that is out of its mind do not cost others their history, however long they are.
func TestBoundOfLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 2 << 20
		s := sight.New(sight.Config{MetricBytes: bound})
		pass(time.Second)
		good := newProcess("orders-1")
		for i := range 150 {
			bad := newProcess(fmt.Sprintf("bad-%d", i%12))
			if i < 24 {
				for k := range 200 {
					bad.took("x", 1, .005, attrs{"user", fmt.Sprintf("%0900d", i*200+k)})
				}
				bad.export(t, s)
			}
			good.took("rpc.server.call.duration", 5, .005, nil)
			good.export(t, s)
			pass(time.Second)
		}
		if _, n, _ := s.Bytes(); n > bound {
			t.Errorf("%d bytes", n)
		}
		if r := s.Rates()["orders-1"]; !near(r.Rate, 5) {
			t.Errorf("%+v", r)
		}
		kept := 0.0
		for _, p := range s.Series(control.SeriesQuery{Name: "rpc.server.call.duration", Last: 5 * time.Minute})[0].Points {
			kept += p.Value
		}
		if kept < 150*5*9/10 {
			t.Errorf("of %d calls there are %v left", 150*5, kept)
		}
	})
}

// One that tells more in a moment than all may take loses it itself, and memory is bounded all the same. Later there is room again.
func TestBoundOfPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 1 << 20
		s := sight.New(sight.Config{MetricBytes: bound})
		pass(time.Second)
		bad := newProcess("bad-1")
		for i := range 20_000 {
			for k := range 10 {
				bad.gauge(fmt.Sprint("x", k), float64(i))
			}
			bad.export(t, s)
		}
		if _, n, _ := s.Bytes(); n > bound*5/4 {
			t.Errorf("%d bytes", n)
		}
		if _, points, _ := s.Dropped(); points == 0 {
			t.Error("nothing was dropped")
		}
		good := newProcess("orders-1")
		for range 90 {
			good.gauge("held", 7)
			good.took("rpc.server.call.duration", 5, .005, nil)
			good.export(t, s)
			pass(time.Second)
		}
		if r := s.Rates()["orders-1"]; !near(r.Rate, 5) {
			t.Errorf("%+v", r)
		}
		if held := s.Series(control.SeriesQuery{Name: "held"}); len(held) != 1 || len(held[0].Points) == 0 || held[0].Points[0].Value != 7 {
			t.Errorf("%+v", held)
		}
	})
}

// SDKs make up no instance by themselves. Processes that say the same of who they are began at different times.
func TestProcessesThatDoNotSayWhichTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		one := newProcess("greeter-1")
		pass(time.Second)
		two := newProcess("greeter-2")
		for range 10 {
			for _, p := range []*process{one, two} {
				p.took("rpc.server.call.duration", 5, .005, nil)
				p.exportAs(t, s, attrs{"service.name", "greeter"})
			}
			pass(time.Second)
		}
		if g := s.Graph(); len(g.Nodes) != 1 || math.Abs(g.Nodes[0].Rate-10) > 2.5 { // each exports twice as often as it seems
			t.Errorf("%+v", g.Nodes)
		}
	})
}

// otelgrpc of not long ago tells the duration in milliseconds, the code as a number, and maybe the same by the names of now.
func TestCallsByEarlierConventions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		p := newProcess("orders-1")
		both := newProcess("mail-1")
		for range 10 {
			for code, n := range map[int]uint64{0: 6, 5: 1, 14: 3} {
				p.took("rpc.server.duration", n, .05, attrs{"rpc.grpc.status_code", code})
			}
			for _, m := range p.sums {
				m.Unit = "ms"
				m.GetHistogram().DataPoints[0].ExplicitBounds = []float64{1, 10, 100, 1000}
			}
			p.export(t, s)
			both.took("rpc.server.duration", 4, .05, nil)
			both.took("rpc.server.call.duration", 4, .05, nil)
			both.export(t, s)
			pass(time.Second)
		}
		rates := s.Rates()
		if r := rates["orders-1"]; !near(r.Rate, 10) || !near(r.Errors, 3) || r.P50 < 10*time.Millisecond || r.P50 > 100*time.Millisecond {
			t.Errorf("%+v", r)
		}
		if r := rates["mail-1"]; !near(r.Rate, 4) {
			t.Errorf("counted twice: %+v", r)
		}
	})
}

// What a gauge was last it is, however long ago that was.
func TestAGaugeThatDoesNotChangeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		p := newProcess("orders-1")
		for range 17 * 60 {
			p.gauge("held", 7)
			p.export(t, s)
			pass(time.Second)
		}
		got := s.Series(control.SeriesQuery{Name: "held"})
		if len(got) != 1 || len(got[0].Points) == 0 || got[0].Points[0].Value != 7 {
			t.Errorf("%+v", got)
		}
	})
}

// A stream is told of when it ends, and begun long before.
func TestALongTraceHidesNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(15 * time.Second)
		for i := range byte(20) {
			w := &world{trace: i + 1}
			w.span(1, 0, "front-1", "server", "GET /", 14_000, 14_010, nil)
			w.span(2, 1, "front-1", "client", "Say", 14_001, 14_008, nil)
			w.span(3, 2, "greeter-2", "server", "Say", 14_002, 14_005, nil)
			w.add(t, s)
		}
		long := &world{trace: 99}
		long.span(1, 0, "front-1", "server", "GET /stream", 2_000, 14_500, nil)
		long.add(t, s)
		pass(time.Second)
		if g := s.Graph(); len(g.Edges) != 1 || !near(g.Edges[0].Rate, 2) {
			t.Errorf("%+v", g)
		}
	})
}
