package telemetry_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
	"github.com/holdfast-go/holdfast/telemetry"
)

// nowhere takes spans and forgets them: what they cost up to there is what a call costs.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

// pair is a client and a server on loopback sockets.
func pair(b *testing.B, observer resilience.Observer) *rpc.Client {
	b.Helper()
	s, err := rpc.NewServer(rpc.ServerConfig{Logger: quiet, Observer: observer})
	if err != nil {
		b.Fatal(err)
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, ctx context.Context, decode func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return ic(ctx, in, &grpc.UnaryServerInfo{FullMethod: say}, func(_ context.Context, req any) (any, error) { return req, nil })
		}}},
	}, nil)
	mem := memregistry.New()
	reg := registry.New(mem, registry.Config{Logger: quiet})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	said := reg.Announce(registry.Instance{Service: "echo", ID: "a", Endpoints: map[string]string{"grpc": s.Addr().String()}})
	running.Go(func() { _ = said.Run(ctx) })
	c, err := rpc.Dial(reg, "echo", rpc.ClientConfig{Logger: quiet, Observer: observer})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		stop()
		running.Wait()
		reg.Close()
		mem.Close()
	})
	return c
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCall is what telemetry costs a unary echo of 128 bytes over loopback TCP, on both sides together: off, and on with
// 10 % of the traces chosen, in turns, so that whatever else the machine does meets both.
//
//	go test ./telemetry -run '^$' -bench Call -benchtime 40x
func BenchmarkCall(b *testing.B) {
	t, err := telemetry.Open(context.Background(), telemetry.Config{
		Service: "echo", Logger: quiet, Exporter: nowhere{}, PerSecond: -1, Getenv: func(string) string { return "" },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = t.Shutdown(context.Background()) }()
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			ways := [2]struct {
				client        *rpc.Client
				cpu           time.Duration
				allocs, calls uint64
			}{{client: pair(b, nil)}, {client: pair(b, t.Observer())}}
			in := wrapperspb.String(strings.Repeat("x", 128))
			round := func(c *rpc.Client, n int) {
				var all sync.WaitGroup
				for range workers {
					all.Go(func() {
						for range n / workers {
							if err := c.Invoke(context.Background(), say, in, new(wrapperspb.StringValue)); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
			}
			const calls = 4000
			for i := range ways {
				round(ways[i].client, calls)
			}
			b.ResetTimer()
			for range b.N {
				for i := range ways {
					w := &ways[i]
					var before, after runtime.MemStats
					runtime.GC()
					runtime.ReadMemStats(&before)
					start := cpu()
					round(w.client, calls)
					w.cpu += cpu() - start
					runtime.ReadMemStats(&after)
					w.allocs += after.Mallocs - before.Mallocs
					w.calls += calls
				}
			}
			per := func(i int) (float64, float64) {
				w := &ways[i]
				return float64(w.cpu.Nanoseconds()) / float64(w.calls), float64(w.allocs) / float64(w.calls)
			}
			offCPU, offAllocs := per(0)
			onCPU, onAllocs := per(1)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(offCPU, "off-cpu-ns/call")
			b.ReportMetric(onCPU, "on-cpu-ns/call")
			b.ReportMetric(100*(onCPU/offCPU-1), "cpu-%")
			b.ReportMetric(offAllocs, "off-allocs/call")
			b.ReportMetric(onAllocs-offAllocs, "more-allocs/call")
		})
	}
}
