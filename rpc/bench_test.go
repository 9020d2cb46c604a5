package rpc_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/rpc"
)

// BenchmarkUnary compares a unary echo of 128 bytes over loopback, with all defaults, with bare grpc-go.
func BenchmarkUnary(b *testing.B) {
	echo := func(_ context.Context, in string) (string, error) { return in, nil }
	b.Run("holdfast", func(b *testing.B) {
		s, err := rpc.NewServer(rpc.ServerConfig{Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		(&handler{unary: echo}).register(s)
		serve := begin(s.Run)
		defer serve.end()
		mem := memregistry.New()
		reg := registry.New(mem, registry.Config{Logger: quiet})
		defer reg.Close()
		record := begin(reg.Announce(registry.Instance{Service: "echo", ID: "a", Endpoints: map[string]string{"grpc": s.Addr().String()}}).Run)
		defer record.end()
		c, err := rpc.Dial(reg, "echo", rpc.ClientConfig{Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		parallel(b, c)
	})
	b.Run("bare", func(b *testing.B) {
		lis := listenLoopback(b)
		s := grpc.NewServer()
		(&handler{unary: echo}).register(s)
		served := make(chan error, 1)
		go func() { served <- s.Serve(lis) }()
		defer func() { s.Stop(); <-served }()
		c, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		parallel(b, c)
	})
}

func parallel(b *testing.B, c grpc.ClientConnInterface) {
	in := wrapperspb.String(strings.Repeat("x", 128))
	for _, method := range []string{say, look} {
		for name, workers := range map[string]int{"1": 1, "64": 64} {
			b.Run(method[len(method)-4:]+"/"+name, func(b *testing.B) {
				one := func() {
					if err := c.Invoke(context.Background(), method, in, new(wrapperspb.StringValue)); err != nil {
						b.Error(err)
					}
				}
				for range 100 {
					one()
				}
				b.ReportAllocs()
				b.ResetTimer()
				if workers == 1 {
					for b.Loop() {
						one()
					}
					return
				}
				b.SetParallelism(workers / 2)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						one()
					}
				})
			})
		}
	}
}

// BenchmarkShed is what a call costs that is shed, on both sides together, beside one that is served.
func BenchmarkShed(b *testing.B) {
	for _, name := range []string{"served", "shed"} {
		b.Run(name, func(b *testing.B) {
			release := make(chan struct{})
			cfg := rpc.ServerConfig{Logger: quiet}
			if name == "shed" {
				cfg.Admission = admission.Config{MaxLimit: 1, Queue: -1}
			}
			s, err := rpc.NewServer(cfg)
			if err != nil {
				b.Fatal(err)
			}
			(&handler{unary: func(_ context.Context, in string) (string, error) {
				if in == "hello" {
					<-release
				}
				return in, nil
			}}).register(s)
			serve := begin(s.Run)
			defer serve.end()
			c, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			first := begin(func(context.Context) error {
				_, err := call(context.Background(), c, say)
				return err
			})
			defer first.end()
			defer close(release)
			in, out := wrapperspb.String("x"), new(wrapperspb.StringValue)
			shed := 0
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Invoke(b.Context(), say, in, out); err != nil {
					shed++
				}
			}
			b.ReportMetric(float64(shed)/float64(b.N), "shed/op")
		})
	}
}
