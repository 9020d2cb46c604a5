package telemetry_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/memnet"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
	"github.com/holdfast-go/holdfast/telemetry"
)

const (
	say  = "/test.Echo/Say"
	name = "test.Echo/Say"
)

// world is a network with a registry, and the processes in it.
type world struct {
	t   *testing.T
	net *memnet.Network
	reg *registry.Registry
}

func bubble(t *testing.T, test func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mem := memregistry.New()
		w := &world{t: t, net: memnet.New(), reg: registry.New(mem, registry.Config{Logger: quiet})}
		t.Cleanup(func() {
			w.reg.Close()
			mem.Close()
		})
		test(t, w)
	})
}

func (w *world) open(service string, cfg telemetry.Config) *process {
	p := open(w.t, service, cfg)
	w.t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	return p
}

type answer func(ctx context.Context, in string) (string, error)

// serve starts an instance of service.
func (w *world) serve(service, id string, p *process, a answer) {
	w.t.Helper()
	lis, err := w.net.Listen("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerConfig{Listener: lis, Logger: quiet, Observer: p.Observer()})
	if err != nil {
		w.t.Fatal(err)
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, ctx context.Context, decode func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return ic(ctx, in, &grpc.UnaryServerInfo{FullMethod: say}, func(ctx context.Context, req any) (any, error) {
				out, err := a(ctx, req.(*wrapperspb.StringValue).GetValue())
				return wrapperspb.String(out), err
			})
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			out, err := a(s.Context(), "")
			if err != nil {
				return err
			}
			return s.SendMsg(wrapperspb.String(out))
		}}},
	}, nil)
	w.run(s.Run)
	said := w.reg.Announce(registry.Instance{Service: service, ID: id, Endpoints: map[string]string{"grpc": lis.Addr().String()}})
	w.run(said.Run)
	<-said.Registered()
}

func (w *world) run(run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		<-done
	})
}

// dial returns a client of service; its calls may run twice.
func (w *world) dial(service string, p *process, change ...func(*rpc.ClientConfig)) *rpc.Client {
	w.t.Helper()
	cfg := rpc.ClientConfig{
		Logger: quiet, Observer: p.Observer(), Methods: map[string]rpc.MethodPolicy{say: {Safe: true}},
		Options: []grpc.DialOption{grpc.WithContextDialer(w.net.Dial)},
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := rpc.Dial(w.reg, service, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	synctest.Wait()
	return c
}

func call(ctx context.Context, c grpc.ClientConnInterface) (string, error) {
	out := new(wrapperspb.StringValue)
	err := c.Invoke(ctx, say, wrapperspb.String("hello"), out)
	return out.GetValue(), err
}

func echo(_ context.Context, in string) (string, error) { return in, nil }

func TestAPlainCallLeavesNoSpan(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		w.serve("callee", "callee-1", callee, echo)
		c := w.dial("callee", caller)
		for range 10 {
			if _, err := call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		if got := append(caller.spans(t), callee.spans(t)...); len(got) > 0 {
			t.Errorf("%v", got.names())
		}
	})
}

func TestAChosenCallIsSeenOnBothSides(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{Ratio: 1}), w.open("callee", telemetry.Config{})
		w.serve("callee", "callee-1", callee, echo)
		c := w.dial("callee", caller)
		if _, err := call(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		all := append(caller.spans(t), callee.spans(t)...)
		if len(all) != 3 {
			t.Fatalf("%v", all.names())
		}
		whole, attempt, served := all.of(trace.SpanKindInternal)[0], all.of(trace.SpanKindClient)[0], all.of(trace.SpanKindServer)[0]
		below(t, attempt, whole)
		below(t, served, attempt)
		if whole.Parent().IsValid() {
			t.Error("the call has a parent")
		}
		want(t, whole, map[string]any{
			"rpc.system.name": "grpc", "rpc.method": name, "rpc.response.status_code": "OK", "server.address": "callee",
			"holdfast.call": true, "holdfast.call.attempts": int64(1), "holdfast.call.hedged": false, "holdfast.keep": "sampled",
			"holdfast.call.criticality": "critical", "holdfast.call.deadline_ms": 5000.0,
		})
		want(t, attempt, map[string]any{
			"holdfast.attempt": int64(1), "holdfast.attempt.hedge": false, "holdfast.attempt.outcome": "ok",
			"holdfast.peer.instance": "callee-1", "holdfast.pick.candidates": int64(1), "holdfast.pick.why": "the only candidate",
		})
		want(t, served, map[string]any{
			"rpc.method": name, "holdfast.keep": "sampled", "holdfast.admission": "admitted", "holdfast.in_flight": int64(0),
		})
		if served.Resource().String() == whole.Resource().String() {
			t.Error("both are said to come from the same process")
		}
	})
}

func TestAFailedCallIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		w.serve("callee", "callee-1", callee, func(context.Context, string) (string, error) {
			return "", failure.New(failure.FailedPrecondition, "out of stock")
		})
		c := w.dial("callee", caller)
		if _, err := call(t.Context(), c); err == nil {
			t.Fatal("no error")
		}
		all := append(caller.spans(t), callee.spans(t)...)
		if len(all) != 3 {
			t.Fatalf("%v", all.names())
		}
		whole, attempt, served := all.of(trace.SpanKindInternal)[0], all.of(trace.SpanKindClient)[0], all.of(trace.SpanKindServer)[0]
		below(t, attempt, whole)
		below(t, served, attempt)
		for _, s := range all {
			if !s.SpanContext().IsSampled() {
				t.Errorf("%s %s is not said to be sampled", s.SpanKind(), s.Name())
			}
			want(t, s, map[string]any{"error.type": "FAILED_PRECONDITION", "rpc.response.status_code": "FAILED_PRECONDITION"})
		}
		want(t, whole, map[string]any{"holdfast.keep": "error", "holdfast.call.stopped": "another attempt would fail alike"})
		want(t, served, map[string]any{"holdfast.keep": "error", "exception.message": "out of stock"})
	})
}

// A caller whose handler calls on: what failed two services away is seen in all three.
func TestACalleeThatIsKeptKeepsItsCallers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first, second, third := w.open("first", telemetry.Config{}), w.open("second", telemetry.Config{}), w.open("third", telemetry.Config{})
		var fail atomic.Bool
		fail.Store(true)
		w.serve("third", "third-1", third, func(context.Context, string) (string, error) {
			if fail.Load() {
				return "", failure.New(failure.NotFound, "nothing")
			}
			return "ok", nil
		})
		onwards := w.dial("third", second)
		w.serve("second", "second-1", second, func(ctx context.Context, _ string) (string, error) {
			_, _ = call(ctx, onwards) // and goes on without
			fail.Store(false)
			return call(ctx, onwards)
		})
		c := w.dial("second", first)
		if _, err := call(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		all := append(append(first.spans(t), second.spans(t)...), third.spans(t)...)
		one := make(map[trace.TraceID]bool)
		for _, s := range all {
			one[s.SpanContext().TraceID()] = true
		}
		// first: call, attempt; second: served, 2 × (call, attempt); third: the one that failed.
		if len(all) != 8 || len(one) != 1 {
			t.Fatalf("%d traces: %v", len(one), all.names())
		}
		if n := len(third.spans(t)); n != 1 {
			t.Errorf("%d spans of the third service", n)
		}
		want(t, first.spans(t).of(trace.SpanKindInternal)[0], map[string]any{"holdfast.keep": "error", "rpc.response.status_code": "OK"})
		below(t, second.spans(t).of(trace.SpanKindServer)[0], first.spans(t).of(trace.SpanKindClient)[0])
		below(t, second.spans(t).of(trace.SpanKindInternal)[0], second.spans(t).of(trace.SpanKindServer)[0])
	})
}

func TestEachRetryIsASpan(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		var calls atomic.Int64
		flaky := func(context.Context, string) (string, error) {
			if calls.Add(1) == 1 {
				return "", failure.New(failure.Unavailable, "not now")
			}
			return "ok", nil
		}
		w.serve("callee", "callee-1", callee, flaky)
		w.serve("callee", "callee-2", callee, flaky)
		c := w.dial("callee", caller)
		if _, err := call(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		mine := caller.spans(t)
		whole, attempts, served := mine.of(trace.SpanKindInternal), mine.of(trace.SpanKindClient), callee.spans(t).of(trace.SpanKindServer)
		if len(whole) != 1 || len(attempts) != 2 || len(served) != 1 {
			t.Fatalf("%v, %v", mine.names(), served.names())
		}
		want(t, whole[0], map[string]any{"holdfast.keep": "retried", "holdfast.call.attempts": int64(2), "rpc.response.status_code": "OK"})
		want(t, attempts[0], map[string]any{"holdfast.attempt": int64(1), "holdfast.attempt.outcome": "unavailable", "error.type": "UNAVAILABLE"})
		want(t, attempts[1], map[string]any{"holdfast.attempt": int64(2), "holdfast.attempt.outcome": "ok", "error.type": nil})
		if a, b := attributes(attempts[0])["holdfast.peer.instance"], attributes(attempts[1])["holdfast.peer.instance"]; a == b {
			t.Errorf("both at %v", a)
		}
		if wait := attributes(attempts[1])["holdfast.attempt.wait_ms"].(float64); wait <= 0 {
			t.Errorf("the second came after %v ms", wait)
		}
		below(t, attempts[0], whole[0])
		below(t, attempts[1], whole[0])
		below(t, served[0], attempts[0])
	})
}

func TestAHedgeIsASpanBesideItsAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		var slow atomic.Bool
		h := func(ctx context.Context, _ string) (string, error) {
			if slow.Swap(false) { // the other one is quick
				select {
				case <-time.After(3 * time.Second):
				case <-ctx.Done():
					return "", ctx.Err()
				}
			}
			<-time.After(time.Millisecond)
			return "ok", nil
		}
		w.serve("callee", "callee-1", callee, h)
		w.serve("callee", "callee-2", callee, h)
		c := w.dial("callee", caller, func(cfg *rpc.ClientConfig) {
			cfg.Methods[say] = rpc.MethodPolicy{Safe: true, Hedge: resilience.HedgePolicy{Share: 0.5, Delay: 20 * time.Millisecond}}
		})
		for range 100 {
			if _, err := call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(200 * time.Millisecond) // what is known of their time is kept for so long
		slow.Store(true)
		if _, err := call(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		mine := caller.spans(t)
		whole, attempts := mine.of(trace.SpanKindInternal), mine.of(trace.SpanKindClient)
		if len(whole) != 1 || len(attempts) != 2 {
			t.Fatalf("%v", mine.names())
		}
		want(t, whole[0], map[string]any{"holdfast.keep": "hedged", "holdfast.call.hedged": true, "holdfast.call.attempts": int64(2)})
		want(t, attempts[0], map[string]any{"holdfast.attempt.hedge": false, "holdfast.attempt.lost": true, "holdfast.attempt.outcome": "lost"})
		want(t, attempts[1], map[string]any{"holdfast.attempt.hedge": true, "holdfast.attempt.lost": false, "holdfast.attempt.outcome": "ok"})
		if !attempts[1].StartTime().Before(attempts[0].EndTime()) {
			t.Error("they are not beside each other")
		}
	})
}

func TestASlowCallIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		var takes atomic.Int64
		takes.Store(int64(10 * time.Millisecond))
		w.serve("callee", "callee-1", callee, func(context.Context, string) (string, error) {
			<-time.After(time.Duration(takes.Load()))
			return "ok", nil
		})
		c := w.dial("callee", caller)
		for range 50 {
			if _, err := call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		takes.Store(int64(200 * time.Millisecond))
		if _, err := call(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		for _, s := range append(caller.spans(t).of(trace.SpanKindInternal), callee.spans(t)...) {
			want(t, s, map[string]any{"holdfast.keep": "slow"})
		}
		if n, m := len(caller.spans(t)), len(callee.spans(t)); n != 2 || m != 1 {
			t.Errorf("%d and %d spans", n, m)
		}
	})
}

func TestARefusedCallSaysWhoRefusedIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		release := make(chan struct{})
		w.serve("callee", "callee-1", callee, func(context.Context, string) (string, error) {
			<-release
			return "ok", nil
		})
		c := w.dial("callee", caller, func(cfg *rpc.ClientConfig) { cfg.Policy.MaxInFlight = 1 })
		done := make(chan error)
		go func() {
			_, err := call(context.Background(), c)
			done <- err
		}()
		synctest.Wait()
		if _, err := call(t.Context(), c); failure.CodeOf(err) != failure.ResourceExhausted {
			t.Fatal(err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		mine := caller.spans(t)
		if len(mine) != 1 {
			t.Fatalf("%v", mine.names())
		}
		want(t, mine[0], map[string]any{"holdfast.keep": "refused", "holdfast.call.refused_by": "bulkhead", "holdfast.call.attempts": int64(0)})
	})
}

// What a handler begins with the otel API is part of its request, and is kept with it or not at all.
func TestSpansOfTheUserAreKeptWithTheirRequest(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		tracer := callee.TracerProvider().Tracer("theirs")
		var fail atomic.Bool
		w.serve("callee", "callee-1", callee, func(ctx context.Context, _ string) (string, error) {
			_, s := tracer.Start(ctx, "query")
			s.End()
			trace.SpanFromContext(ctx).AddEvent("looked")
			if fail.Load() {
				return "", errors.New("broken")
			}
			return "ok", nil
		})
		c := w.dial("callee", caller)
		if _, err := call(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := callee.spans(t); len(got) > 0 {
			t.Fatalf("%v", got.names())
		}
		fail.Store(true)
		if _, err := call(t.Context(), c); err == nil {
			t.Fatal("no error")
		}
		got := callee.spans(t)
		if len(got) != 2 {
			t.Fatalf("%v", got.names())
		}
		query, served := got.of(trace.SpanKindInternal)[0], got.of(trace.SpanKindServer)[0]
		below(t, query, served)
		if !query.SpanContext().IsSampled() || len(served.Events()) != 1 {
			t.Errorf("%v %v", query.SpanContext(), served.Events())
		}
	})
}

func TestAStreamIsASpanOfItsLength(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{Ratio: 1}), w.open("callee", telemetry.Config{})
		w.serve("callee", "callee-1", callee, func(context.Context, string) (string, error) {
			<-time.After(3 * time.Second)
			return "ok", nil
		})
		c := w.dial("callee", caller)
		s, err := c.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Chat")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		out := new(wrapperspb.StringValue)
		for err == nil {
			err = s.RecvMsg(out)
		}
		all := append(caller.spans(t), callee.spans(t)...)
		if len(all) != 3 {
			t.Fatalf("%v", all.names())
		}
		for _, s := range all {
			if d := s.EndTime().Sub(s.StartTime()); d < 3*time.Second || s.Name() != "test.Echo/Chat" {
				t.Errorf("%s %s took %v", s.SpanKind(), s.Name(), d)
			}
		}
		below(t, all.of(trace.SpanKindServer)[0], all.of(trace.SpanKindClient)[0])
	})
}

// An interceptor may keep the context of a call, and look at it when the next ones are made.
func TestTheContextOfACallStaysWhatItWas(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		caller, callee := w.open("caller", telemetry.Config{}), w.open("callee", telemetry.Config{})
		w.serve("callee", "callee-1", callee, echo)
		sent := func(ctx context.Context) string {
			md, _ := metadata.FromOutgoingContext(ctx)
			if v := md["traceparent"]; len(v) == 1 {
				return v[0]
			}
			return ""
		}
		type seen struct {
			ctx  context.Context
			says string
		}
		var all []seen
		c := w.dial("callee", caller, func(c *rpc.ClientConfig) {
			c.Options = append(c.Options, grpc.WithChainUnaryInterceptor(func(ctx context.Context, m string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, o ...grpc.CallOption) error {
				all = append(all, seen{ctx, sent(ctx)})
				return next(ctx, m, req, reply, cc, o...)
			}))
		})
		for range 20 {
			if _, err := call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range all {
			if now := sent(s.ctx); s.says == "" || now != s.says {
				t.Fatalf("%q has become %q", s.says, now)
			}
		}
	})
}
