//go:build real && unix

package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/receivers"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rpc"
	"github.com/holdfast-go/holdfast/telemetry"
)

// One request comes in over HTTP, is passed on over gRPC to one that fails at first and to one that is slow at first, and
// ends in a message. What a real Collector gets of it, from everybody who took part, is one tree.
//
//	edge ── HTTP ──► front ── gRPC ──► orders (tried again, hedged) ── message ──► shipping ── HTTP ──► front
func TestRealCollectorGetsOneTree(t *testing.T) {
	collector, err := receivers.StartCollector(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(collector.Close)
	for protocol, endpoint := range map[string]string{"grpc": collector.GRPC(), "http/protobuf": collector.HTTP()} {
		t.Run(protocol, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			before, metricsBefore := len(collector.Spans()), len(collector.Metrics())
			c := newChain(t)
			c.warm()
			c.request()
			c.shutdown()

			got := strings.Join(tree(collector.Spans()[before:], "POST /checkout"), "\n")
			if want := strings.TrimSpace(wantedTree); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			c.metrics(collector.Metrics()[metricsBefore:])
			if err := collector.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Attempts are in the order of their numbers. A call is INTERNAL, its attempts are CLIENT, what is served of them SERVER.
const wantedTree = `
edge INTERNAL POST /checkout
  edge CLIENT POST /checkout attempt=1 outcome=ok
    front SERVER POST /checkout
      front INTERNAL test.Echo/Flaky attempts=2 hedged=false
        front CLIENT test.Echo/Flaky attempt=1 outcome=unavailable error=UNAVAILABLE
          orders SERVER test.Echo/Flaky error=UNAVAILABLE
        front CLIENT test.Echo/Flaky attempt=2 outcome=ok elsewhere
          orders SERVER test.Echo/Flaky
      front INTERNAL test.Echo/Slow attempts=2 hedged=true
        front CLIENT test.Echo/Slow attempt=1 outcome=lost
          orders SERVER test.Echo/Slow error=CANCELLED
        front CLIENT test.Echo/Slow attempt=2 outcome=ok hedge elsewhere
          orders SERVER test.Echo/Slow
            orders PRODUCER publish paid
              shipping CONSUMER process paid
                shipping INTERNAL POST /shipped
                  shipping CLIENT POST /shipped attempt=1 outcome=ok
                    front SERVER POST /shipped
`

// chain is the four services. Each has a telemetry of its own, as a process has.
type chain struct {
	t       *testing.T
	opened  map[string]*telemetry.Telemetry
	stop    []func()
	edge    *rest.Transport
	back    *rest.Transport // of shipping
	orders  *rpc.Client
	shipped chan struct{}

	flaky, slow, live atomic.Bool // what the next call of the method meets; whether it is published
}

func newChain(t *testing.T) *chain {
	c := &chain{t: t, opened: make(map[string]*telemetry.Telemetry), shipped: make(chan struct{})}
	mem := memregistry.New()
	reg := registry.New(mem, registry.Config{Logger: quiet})
	c.stop = append(c.stop, func() { mem.Close() }, func() { reg.Close() })
	for _, service := range []string{"edge", "front", "orders", "shipping"} {
		tel, err := telemetry.Open(t.Context(), telemetry.Config{Service: service, Instance: service + "-1", Ratio: 1, PerSecond: -1, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		c.opened[service] = tel
	}
	engine := memqueue.New(memqueue.Config{})
	c.stop = append(c.stop, func() { engine.Close() })
	if err := engine.Declare(t.Context(), driver.Topic{Name: "paid", Groups: []string{"shipping"}}); err != nil {
		t.Fatal(err)
	}
	queueOf := func(service string) *queue.Queue {
		with := c.opened[service].Queue("memory")
		return queue.New(engine, queue.Config{Source: service, Instance: service + "-1", Logger: quiet, Observer: with, Tracer: with, Propagator: with})
	}

	for _, id := range []string{"orders-1", "orders-2"} {
		srv, err := rpc.NewServer(rpc.ServerConfig{Logger: quiet, Observer: c.opened["orders"].Observer()})
		if err != nil {
			t.Fatal(err)
		}
		publisher := queueOf("orders")
		srv.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
			method("Flaky", func(context.Context) error {
				if c.flaky.Swap(false) {
					return failure.New(failure.Unavailable, "not now")
				}
				return nil
			}),
			method("Slow", func(ctx context.Context) error {
				if c.slow.Swap(false) {
					<-ctx.Done()
					return ctx.Err()
				}
				if !c.live.Load() {
					return nil
				}
				return publisher.Publish(ctx, "paid", "x", queue.ID("m1"))
			}),
		}}, nil)
		c.run(srv.Run)
		<-srv.Ready()
		c.announce(reg, registry.Instance{Service: "orders", ID: id, Endpoints: map[string]string{"grpc": srv.Addr().String()}})
	}

	orders, err := rpc.Dial(reg, "orders", rpc.ClientConfig{Logger: quiet, Observer: c.opened["front"].Observer(), Methods: map[string]rpc.MethodPolicy{
		"/test.Echo/Flaky": {Safe: true},
		"/test.Echo/Slow":  {Safe: true, Hedge: resilience.HedgePolicy{Share: 1, Delay: 20 * time.Millisecond}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.orders, c.stop = orders, append(c.stop, func() { orders.Close() })

	mux := http.NewServeMux()
	mux.HandleFunc("POST /checkout", func(w http.ResponseWriter, r *http.Request) {
		for _, m := range []string{"/test.Echo/Flaky", "/test.Echo/Slow"} {
			if err := orders.Invoke(r.Context(), m, wrapperspb.String(""), new(wrapperspb.StringValue)); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	})
	mux.HandleFunc("POST /shipped", func(http.ResponseWriter, *http.Request) {})
	front, err := rest.NewServer(mux, rest.ServerConfig{Logger: quiet, Observer: c.opened["front"].Observer()})
	if err != nil {
		t.Fatal(err)
	}
	c.run(front.Run)
	<-front.Ready()
	c.announce(reg, registry.Instance{Service: "front", ID: "front-1", Endpoints: map[string]string{"http": front.Addr().String()}})

	c.edge = c.transport(reg, "edge")
	c.back = c.transport(reg, "shipping")
	sub, err := queue.NewSubscription(queueOf("shipping"), "paid", "shipping", queue.Handle(func(ctx context.Context, _ queue.Message[string]) error {
		defer close(c.shipped)
		return post(ctx, c.back, "/shipped")
	}), queue.SubscriptionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(sub.Run)
	return c
}

func method(name string, do func(ctx context.Context) error) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return ic(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Echo/" + name}, func(ctx context.Context, _ any) (any, error) {
			return wrapperspb.String("ok"), do(ctx)
		})
	}}
}

func (c *chain) transport(reg *registry.Registry, service string) *rest.Transport {
	tr := rest.NewTransport(reg, rest.ClientConfig{Logger: quiet, Observer: c.opened[service].Observer()})
	c.stop = append(c.stop, func() { tr.Close() })
	return tr
}

func post(ctx context.Context, tr *rest.Transport, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://front"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

func (c *chain) run(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			c.t.Error(err)
		}
	}()
	c.stop = append(c.stop, func() { cancel(); <-done })
}

func (c *chain) announce(reg *registry.Registry, i registry.Instance) {
	said := reg.Announce(i)
	c.run(said.Run)
	<-said.Registered()
}

// warm makes calls until everybody knows whom to call, and enough is known of how long it takes for hedges, which may be
// made of any of them.
func (c *chain) warm() {
	c.t.Helper()
	for range 100 {
		for _, m := range []string{"/test.Echo/Flaky", "/test.Echo/Slow"} {
			if err := c.orders.Invoke(c.t.Context(), m, wrapperspb.String(""), new(wrapperspb.StringValue)); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	for _, tr := range []*rest.Transport{c.edge, c.back} {
		if err := post(c.t.Context(), tr, "/shipped"); err != nil {
			c.t.Fatal(err)
		}
	}
	<-time.After(300 * time.Millisecond) // what is known of their time is kept for so long
}

func (c *chain) request() {
	c.t.Helper()
	c.flaky.Store(true)
	c.slow.Store(true)
	c.live.Store(true)
	if err := post(c.t.Context(), c.edge, "/checkout"); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-c.shipped:
	case <-time.After(30 * time.Second):
		c.t.Fatal("the message is not handled")
	}
}

// shutdown stops everything; what is still to be sent is sent.
func (c *chain) shutdown() {
	for _, stop := range slices.Backward(c.stop) {
		stop()
	}
	for service, tel := range c.opened {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 20*time.Second)
		if err := tel.Shutdown(ctx); err != nil {
			c.t.Errorf("%s: %v", service, err)
		}
		cancel()
	}
}

// metrics looks for what each of them measured.
func (c *chain) metrics(all []receivers.Metric) {
	c.t.Helper()
	got := make(map[string]bool)
	for _, m := range all {
		got[m.Service+" "+m.GetName()] = true
	}
	for _, want := range []string{
		"edge http.client.request.duration", "front http.server.request.duration", "front rpc.client.call.duration",
		"front holdfast.client.attempts", "front holdfast.budget.tokens", "orders rpc.server.call.duration",
		"orders messaging.client.operation.duration", "shipping messaging.process.duration", "shipping holdfast.queue.handled",
	} {
		if !got[want] {
			c.t.Errorf("no %s among %v", want, got)
		}
	}
}

// tree prints the trace whose root has this name, children below their parents.
func tree(all []receivers.Span, root string) []string {
	below := make(map[string][]receivers.Span)
	var top receivers.Span
	for _, s := range all {
		below[s.Trace()+s.Parent()] = append(below[s.Trace()+s.Parent()], s)
		if s.Parent() == "" && s.GetName() == root {
			top = s
		}
	}
	if top.Span == nil {
		return []string{fmt.Sprintf("no trace begins with %s among %v", root, all)}
	}
	var lines []string
	seen := 0
	var show func(s receivers.Span, depth int, first string)
	show = func(s receivers.Span, depth int, first string) {
		seen++
		lines = append(lines, strings.Repeat("  ", depth)+describe(s, first))
		children := below[s.Trace()+s.ID()]
		slices.SortFunc(children, func(a, b receivers.Span) int {
			if a.GetStartTimeUnixNano() < b.GetStartTimeUnixNano() {
				return -1
			}
			return 1
		})
		first = ""
		for _, child := range children {
			show(child, depth+1, first)
			if first == "" {
				first = child.Attribute("holdfast.peer.instance")
			}
		}
	}
	show(top, 0, "")
	for _, s := range all {
		if s.Trace() == top.Trace() {
			seen--
		}
	}
	if seen != 0 {
		lines = append(lines, fmt.Sprintf("%d spans of the trace are not below its root", -seen))
	}
	return lines
}

// describe says of a span what does not change from run to run; first is where the first attempt beside it went.
func describe(s receivers.Span, first string) string {
	line := s.Service + " " + strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_") + " " + s.GetName()
	for _, a := range [][2]string{
		{"holdfast.attempt", "attempt"},
		{"holdfast.attempt.outcome", "outcome"},
		{"holdfast.call.attempts", "attempts"},
		{"holdfast.call.hedged", "hedged"},
		{"error.type", "error"},
	} {
		v := s.Attribute(a[0])
		if s.GetKind().String() == "SPAN_KIND_SERVER" && a[1] == "attempt" || strings.HasPrefix(s.GetName(), "POST") && (a[1] == "attempts" || a[1] == "hedged") {
			continue
		}
		if v != "" {
			line += " " + a[1] + "=" + v
		}
	}
	if s.Attribute("holdfast.attempt.hedge") == "true" {
		line += " hedge"
	}
	if peer := s.Attribute("holdfast.peer.instance"); first != "" && peer != "" && peer != first {
		line += " elsewhere"
	}
	return line
}
