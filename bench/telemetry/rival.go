package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/holdfast-go/holdfast/bench/internal/echo/echopb"
)

// What everybody else has: grpc-go, and the instrumentation that OpenTelemetry has for it, which makes two spans of a call.
const (
	bare  = "grpc-go"
	rival = "otelgrpc"
)

// dialBare makes a server and a client of grpc-go; with it, otelgrpc keeps a tenth of all traces and sends them, and its
// metrics, to where the environment says.
func dialBare(ctx context.Context, instrumented bool) (_ caller, _ func(), err error) {
	var (
		server  []grpc.ServerOption
		client  = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		closers []func()
	)
	closed := func() {
		for _, c := range closers {
			c()
		}
	}
	defer func() {
		if err != nil {
			closed()
		}
	}()
	if instrumented {
		var sides [2][]otelgrpc.Option
		for i, service := range []string{"caller", "echo"} {
			options, stop, err := sdk(ctx, service)
			if err != nil {
				return nil, nil, err
			}
			closers = append(closers, stop)
			sides[i] = options
		}
		client = append(client, grpc.WithStatsHandler(otelgrpc.NewClientHandler(sides[0]...)))
		server = append(server, grpc.StatsHandler(otelgrpc.NewServerHandler(sides[1]...)))
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // says it all
	}
	srv := grpc.NewServer(server...)
	echopb.RegisterEchoServer(srv, echoServer{})
	stop := start(ctx, func(ctx context.Context) error {
		context.AfterFunc(ctx, srv.Stop)
		return srv.Serve(lis) //nolint:wrapcheck // nobody reads it
	})
	conn, err := grpc.NewClient(lis.Addr().String(), client...)
	if err != nil {
		stop()
		return nil, nil, err //nolint:wrapcheck // says it all
	}
	closers = append([]func(){func() { _ = conn.Close() }, stop}, closers...)
	echo := echopb.NewEchoClient(conn)
	return func(ctx context.Context, body []byte) error {
		_, err := echo.Echo(ctx, &echopb.EchoRequest{Body: body})
		return err //nolint:wrapcheck // what is measured
	}, closed, nil
}

// sdk sets OpenTelemetry up for one side.
func sdk(ctx context.Context, service string) ([]otelgrpc.Option, func(), error) {
	spans, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rival, err)
	}
	metrics, err := otlpmetrichttp.New(ctx)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", rival, err), spans.Shutdown(ctx))
	}
	res := resource.NewSchemaless(semconv.ServiceName(service))
	tracers := trace.NewTracerProvider(trace.WithResource(res), trace.WithBatcher(spans),
		trace.WithSampler(trace.ParentBased(trace.TraceIDRatioBased(0.1))))
	meters := metric.NewMeterProvider(metric.WithResource(res), metric.WithReader(metric.NewPeriodicReader(metrics, metric.WithInterval(metricsEvery))))
	options := []otelgrpc.Option{
		otelgrpc.WithTracerProvider(tracers), otelgrpc.WithMeterProvider(meters), otelgrpc.WithPropagators(propagation.TraceContext{}),
	}
	return options, func() {
		ctx := context.WithoutCancel(ctx)
		_ = errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx))
	}, nil
}
