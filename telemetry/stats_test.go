package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/telemetry"
)

// metrics returns the points of an instrument: the count of a histogram, the value of a counter or a gauge, by attributes.
func (p *process) metrics(t testing.TB, name string) map[string]float64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := p.reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	put := func(s attribute.Set, v float64) { out[s.Encoded(attribute.DefaultEncoder())] = v }
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			if m.Name != name {
				continue
			}
			switch d := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, x := range d.DataPoints {
					put(x.Attributes, float64(x.Count))
				}
			case metricdata.Sum[int64]:
				for _, x := range d.DataPoints {
					put(x.Attributes, float64(x.Value))
				}
			case metricdata.Gauge[float64]:
				for _, x := range d.DataPoints {
					put(x.Attributes, x.Value)
				}
			default:
				t.Fatalf("%s: %T", name, d)
			}
		}
	}
	return out
}

func points(t testing.TB, what string, got, want map[string]float64) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n%v, not\n%v", what, got, want)
	}
}

func TestCallsAreMeasured(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		w.serve("callee", "callee-1", callee, func(_ context.Context, in string) (string, error) {
			<-time.After(10 * time.Millisecond)
			if in == "hello" {
				return in, nil
			}
			return "", failure.New(failure.NotFound, "nothing")
		})
		w.serveHTTP("web", "web-1", callee, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNotFound) })
		c, h := w.dial("callee", caller), w.client(caller)
		for range 5 {
			if _, err := call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if _, err := get(t.Context(), h, "http://web/orders/1"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := get(t.Context(), h, "http://web/elsewhere"); err != nil {
			t.Fatal(err)
		}
		about := "rpc.method=" + name + ",rpc.response.status_code=OK,rpc.system.name=grpc"
		points(t, "client", caller.metrics(t, "rpc.client.call.duration"), map[string]float64{about + ",server.address=callee": 5})
		points(t, "server", callee.metrics(t, "rpc.server.call.duration"), map[string]float64{about: 5})
		points(t, "http client", caller.metrics(t, "http.client.request.duration"), map[string]float64{
			"error.type=404,http.request.method=GET,http.response.status_code=404,server.address=web": 6,
		})
		points(t, "http server", callee.metrics(t, "http.server.request.duration"), map[string]float64{
			"http.request.method=GET,http.response.status_code=404,http.route=/orders/{id}": 5,
			"http.request.method=GET,http.response.status_code=404,http.route=_OTHER":       1,
		})
		attempts := caller.metrics(t, "holdfast.client.attempts")
		delete(attempts, "hedge=false,outcome=no instance,service=web,stream=false") // if the first request came before the registry's answer
		points(t, "attempts", attempts, map[string]float64{
			"hedge=false,outcome=ok,service=callee,stream=false":   5,
			"hedge=false,outcome=refused,service=web,stream=false": 6,
		})
		if n := caller.metrics(t, "holdfast.budget.tokens")["service=callee"]; n < 1 {
			t.Errorf("%v tokens", n)
		}
	})
}

// Whatever callers make up, there is an end of the series.
func TestSeriesAreBounded(t *testing.T) {
	p := open(t, "p", telemetry.Config{})
	defer func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	o, now := p.Observer(), time.Now()
	for i := range 5000 {
		c := o.BeginCall(context.Background(), resilience.CallInfo{Service: fmt.Sprint("s", i%7), Method: fmt.Sprint("/a/", i), Begun: now, Deadline: now.Add(time.Second)})
		c.End(resilience.CallEnd{Ended: now})
		_, s := o.BeginServe(context.Background(), resilience.ServeInfo{Protocol: resilience.HTTP, Method: fmt.Sprint("M", i), Begun: now})
		s.End(resilience.ServeEnd{Ended: now, Status: 100 + i%900, Route: fmt.Sprint("/", i)})
	}
	for _, name := range []string{"rpc.client.call.duration", "http.server.request.duration"} {
		if n := len(p.metrics(t, name)); n > 2000 {
			t.Errorf("%s: %d series", name, n)
		}
	}
}

// What a handler writes into an outbox belongs to the trace of its request.
func TestTheContextOfAHandlerHasATraceparent(t *testing.T) {
	p := open(t, "p", telemetry.Config{})
	defer func() { _ = p.Shutdown(context.Background()) }()
	const given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx, s := p.Observer().BeginServe(context.Background(), resilience.ServeInfo{Begun: time.Now(), Along: resilience.Along{Traceparent: given}})
	parent, _ := queue.TraceParent(ctx)
	if len(parent) != len(given) || parent[:36] != given[:36] || parent[36:52] == given[36:52] || parent[52:] != "-01" {
		t.Errorf("%q", parent)
	}
	s.End(resilience.ServeEnd{Ended: time.Now()})
}

// An observed call needs no memory of its own, save the span of the one that serves it.
func TestObservingDoesNotAllocate(t *testing.T) {
	p := open(t, "p", telemetry.Config{})
	defer func() { _ = p.Shutdown(context.Background()) }()
	o, now := p.Observer(), time.Now()
	var along resilience.Along
	one := func() {
		c := o.BeginCall(context.Background(), resilience.CallInfo{Service: "s", Method: say, Begun: now, Deadline: now.Add(time.Second)})
		along = c.BeginAttempt(resilience.AttemptInfo{Begun: now, Deadline: now.Add(time.Second)})
		c.EndAttempt(resilience.AttemptEnd{Ended: now, Instance: "a"})
		c.End(resilience.CallEnd{Ended: now})
		_, s := o.BeginServe(context.Background(), resilience.ServeInfo{Method: say, Begun: now, Along: along})
		s.Admit(resilience.AdmitInfo{At: now})
		s.Keep(resilience.ServeEnd{Ended: now})
		s.End(resilience.ServeEnd{Ended: now})
	}
	for range 100 {
		one()
	}
	if n := testing.AllocsPerRun(500, one); n > 1 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
