package telemetry_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/telemetry"
)

// opened is a process, of a test that has no network.
func opened(t testing.TB, service string, cfg telemetry.Config) *process {
	t.Helper()
	p := open(t, service, cfg)
	if err := p.Watch(telemetry.Gauges{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// request has p serve a request that ends so.
func (p *process) request(status int, along resilience.Along) {
	now := time.Now()
	_, s := p.Observer().BeginServe(context.Background(), resilience.ServeInfo{Protocol: resilience.HTTP, Method: "GET", Path: "/x", Begun: now, Along: along})
	e := resilience.ServeEnd{Ended: now.Add(time.Millisecond), Status: status, Route: "/x"}
	if status >= 400 {
		e.Code = failure.FromHTTPStatus(status)
	}
	s.Keep(e)
	s.End(e)
}

// stream begins one that goes on.
func (p *process) stream() (context.Context, resilience.ServeObserver) {
	return p.Observer().BeginServe(context.Background(), resilience.ServeInfo{Method: "/b.B/Watch", Stream: true, Begun: time.Now()})
}

// calls makes a call in ctx that ends so.
func (p *process) calls(ctx context.Context, err error) {
	now := time.Now()
	c := p.Observer().BeginCall(ctx, resilience.CallInfo{Service: "b", Method: "/b.B/Get", Begun: now, Deadline: now.Add(time.Second)})
	c.BeginAttempt(resilience.AttemptInfo{Begun: now, Deadline: now.Add(time.Second)})
	c.EndAttempt(resilience.AttemptEnd{Ended: now.Add(time.Millisecond), Outcome: resilience.OK})
	c.End(resilience.CallEnd{Ended: now.Add(time.Millisecond), Err: err})
}

func TestNotFoundDoesNotHideFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t, "a", telemetry.Config{})
		for range 150 {
			p.request(http.StatusNotFound, resilience.Along{})
		}
		for range 10 {
			p.request(http.StatusInternalServerError, resilience.Along{})
		}
		n := make(map[any]int)
		for _, s := range p.spans(t) {
			n[attributes(s)["http.response.status_code"]]++
		}
		if n[int64(404)] != 5 || n[int64(500)] != 10 {
			t.Errorf("kept: %v", n)
		}
	})
}

func TestWhatOthersChoseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t, "a", telemetry.Config{})
		for i := range 5000 {
			p.request(http.StatusOK, resilience.Along{Traceparent: fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)})
		}
		if n := len(p.spans(t)); n != 1000 {
			t.Errorf("%d of 5,000", n)
		}
	})
}

func TestOneFailureDoesNotKeepAStreamForItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t, "a", telemetry.Config{})
		ctx, s := p.stream()
		p.calls(ctx, failure.New(failure.Internal, "no"))
		for range 3000 {
			p.calls(ctx, nil)
		}
		if n := len(p.spans(t)); n < 3 || n > 256 {
			t.Errorf("%d spans of 3,001 calls", n)
		}
		p.forget(t)
		<-time.After(time.Minute)
		p.calls(ctx, failure.New(failure.Internal, "again"))
		if n := len(p.spans(t)); n < 2 {
			t.Errorf("%d spans of a second failure", n)
		}
		p.forget(t)
		<-time.After(time.Minute)
		p.calls(ctx, nil)
		if n := len(p.spans(t)); n != 0 {
			t.Errorf("%d spans a minute later", n)
		}
		s.End(resilience.ServeEnd{Ended: time.Now()})
		if n := len(p.spans(t).of(trace.SpanKindServer)); n != 1 {
			t.Error("the request itself is not kept")
		}
	})
}

// A user says when a span ended, and may be an hour ahead or behind: nothing else is kept for longer or shorter because of it.
func TestASpanOfAnotherTimeKeepsNothingElse(t *testing.T) {
	for name, by := range map[string]time.Duration{"behind": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := opened(t, "a", telemetry.Config{})
				ctx, s := p.stream()
				failed := func(ctx context.Context) time.Time {
					_, span := p.TracerProvider().Tracer("user").Start(ctx, "failed")
					span.SetStatus(codes.Error, "failed")
					then := time.Now().Add(by)
					span.End(trace.WithTimestamp(then))
					return then
				}
				failed(context.Background())
				then := failed(ctx)
				if got := p.spans(t); len(got) != 2 || !got[1].EndTime().Equal(then) {
					t.Errorf("%v of 2 spans, the last of %v", got.names(), then)
				}
				p.calls(ctx, nil) // below the same request, within the second
				if got := p.spans(t); len(got) == 2 {
					t.Error("the family is not kept on")
				}
				p.forget(t)
				<-time.After(time.Minute)
				p.calls(ctx, nil)
				if got := p.spans(t); len(got) != 0 {
					t.Errorf("%v a minute later", got.names())
				}
				for range 200 {
					<-time.After(50 * time.Millisecond)
					p.request(http.StatusInternalServerError, resilience.Along{})
				}
				if n := len(p.spans(t)); n != 200 {
					t.Errorf("%d of 200 failures kept, at 20 a second", n)
				}
				s.End(resilience.ServeEnd{Ended: time.Now()})
			})
		})
	}
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	p := opened(t, "a", telemetry.Config{PerSecond: -1})
	mem := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := mem()
	var open []resilience.ServeObserver
	var ctx context.Context
	for range 500 {
		var s resilience.ServeObserver
		ctx, s = p.stream()
		for range 128 {
			p.calls(ctx, nil)
		}
		open = append(open, s)
	}
	if got := mem(); got > before+40<<20 {
		t.Errorf("%d MiB are held", (got-before)>>20)
	}
	if n := p.metrics(t, "holdfast.telemetry.not_kept")["reason=held"]; n < 40_000 {
		t.Errorf("%v counted", n)
	}
	// The newest is whole, of the oldest is what there is.
	open[len(open)-1].End(resilience.ServeEnd{Ended: time.Now(), Code: failure.Internal})
	if n := len(p.spans(t)); n != 1+2*128 {
		t.Errorf("%d spans of the newest", n)
	}
	p.forget(t)
	for _, s := range open[:len(open)-1] {
		s.End(resilience.ServeEnd{Ended: time.Now(), Code: failure.OK})
	}
}

// A service that sends its own spans nowhere does not decide that those below it do neither.
func TestWithoutAnExporterThoseBelowAreChosenAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		front, err := telemetry.Open(t.Context(), telemetry.Config{Service: "front", Ratio: 1, Logger: quiet, Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		defer front.Shutdown(context.Background())
		back := opened(t, "back", telemetry.Config{})
		now := time.Now()
		call := func(ctx context.Context) {
			c := front.Observer().BeginCall(ctx, resilience.CallInfo{Service: "b", Method: "/b.B/Get", Begun: now, Deadline: now.Add(time.Second)})
			back.request(http.StatusOK, c.BeginAttempt(resilience.AttemptInfo{Begun: now}))
			c.EndAttempt(resilience.AttemptEnd{Ended: now})
			c.End(resilience.CallEnd{Ended: now})
		}
		call(context.Background())
		ctx, s := front.Observer().BeginServe(context.Background(), resilience.ServeInfo{Method: "/b.B/Get", Begun: now})
		call(ctx)
		ctx, own := front.TracerProvider().Tracer("x").Start(ctx, "y")
		call(ctx)
		own.End()
		s.End(resilience.ServeEnd{Ended: now})
		if n := len(back.spans(t)); n != 3 {
			t.Errorf("%d of 3 requests", n)
		}
	})
}

func TestSpansThatNobodyEndsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t, "a", telemetry.Config{})
		tracer := p.TracerProvider().Tracer("user")
		for range 20_000 {
			tracer.Start(context.Background(), "nobody ends it")
		}
		job := func(kind trace.SpanKind) {
			ctx, root := tracer.Start(context.Background(), "job", trace.WithSpanKind(kind))
			_, child := tracer.Start(ctx, "child")
			child.End()
			root.SetStatus(codes.Error, "failed")
			root.End()
		}
		job(trace.SpanKindConsumer)
		if n := len(p.spans(t)); n != 1 {
			t.Errorf("%d spans of a job that fails while nothing is followed", n)
		}
		p.forget(t)
		<-time.After(time.Hour)
		job(trace.SpanKindConsumer)
		if n := len(p.spans(t)); n != 2 {
			t.Errorf("%d spans of a job that fails, later", n)
		}
		if n := p.metrics(t, "holdfast.telemetry.not_kept")["reason=never ended"]; n < 20_000 {
			t.Errorf("%v counted", n)
		}
	})
}

// Two groups of one process that handle the same message are kept each for itself.
func TestConsumersOfOneTraceAreFamiliesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t, "a", telemetry.Config{})
		tracer := p.TracerProvider().Tracer("user")
		parent := trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true,
		}))
		first, a := tracer.Start(parent, "first", trace.WithSpanKind(trace.SpanKindConsumer))
		second, b := tracer.Start(parent, "second", trace.WithSpanKind(trace.SpanKindConsumer))
		a.End()
		p.calls(second, nil)
		b.SetStatus(codes.Error, "failed")
		b.End()
		_ = first
		got := p.spans(t)
		if n := len(got.of(trace.SpanKindConsumer)); n != 1 || len(got) != 3 {
			t.Errorf("%v", got.names())
		}
	})
}

func TestSeriesOfCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t, "a", telemetry.Config{})
		const n = 900
		for i := range n {
			for status := 200; status < 204; status++ {
				now := time.Now()
				_, s := p.Observer().BeginServe(context.Background(), resilience.ServeInfo{Protocol: resilience.HTTP, Method: "GET", Begun: now})
				s.End(resilience.ServeEnd{Ended: now, Status: status, Route: "/" + strconv.Itoa(i)})
			}
		}
		p.calls(context.Background(), nil)
		served, all := p.metrics(t, "http.server.request.duration"), 0.0
		for _, v := range served {
			all += v
		}
		if len(served) != 2000 || all != 4*n || served["otel.metric.overflow=true"] != 4*n-1999 {
			t.Errorf("%d series, %v requests of %d, %v beyond", len(served), all, 4*n, served["otel.metric.overflow=true"])
		}
		if made := p.metrics(t, "rpc.client.call.duration"); len(made) != 1 || made["otel.metric.overflow=true"] != 0 {
			t.Errorf("those of served calls are taken from: %v", made)
		}
	})
}

// A collector that takes connections and never answers is left when the process goes.
func TestShutdownLeavesNothingOfADeadCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"+l.Addr().String()+"/v1/traces")
	p, err := telemetry.Open(t.Context(), telemetry.Config{Ratio: 1, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	_, s := p.Observer().BeginServe(context.Background(), resilience.ServeInfo{Method: "/b.B/Get", Begun: time.Now()})
	s.End(resilience.ServeEnd{Ended: time.Now()})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if p.Shutdown(ctx) == nil {
		t.Error("what could not be sent is no error")
	} // goleak sees the rest
}

// What a handler says of the request's own span counts as what it says of spans of its own, although it answers with 200.
func TestWhatIsSaidOfTheRequestsSpanIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, say := range map[string]func(trace.Span){
			"status":    func(s trace.Span) { s.SetStatus(codes.Error, "graphql: resolver failed") },
			"attribute": func(s trace.Span) { s.SetAttributes(attribute.String("holdfast.keep", "error")) },
		} {
			p := opened(t, "a", telemetry.Config{Ratio: 1e-9})
			for _, said := range []bool{false, true} {
				now := time.Now()
				ctx, s := p.Observer().BeginServe(context.Background(), resilience.ServeInfo{Protocol: resilience.HTTP, Method: "POST", Path: "/graphql", Begun: now})
				if said {
					say(trace.SpanFromContext(ctx))
				}
				e := resilience.ServeEnd{Ended: now.Add(time.Millisecond), Status: http.StatusOK, Route: "/graphql"}
				if keep := s.Keep(e); (keep != "") != said {
					t.Errorf("%s said %v: the caller is told %q", name, said, keep)
				}
				s.End(e)
			}
			if n := len(p.spans(t)); n != 1 {
				t.Errorf("%s: %d spans are kept", name, n)
			}
		}
	})
}
