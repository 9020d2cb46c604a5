package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/echo/echopb"
	"github.com/holdfast-go/holdfast/bench/internal/rounds"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rpc"
	"github.com/holdfast-go/holdfast/telemetry"
)

// variants are the ways. A nil env is no Telemetry at all.
var variants = []struct {
	name      string
	ratio     float64
	perSecond int
	env       map[string]string
}{
	{"off", 0, 0, nil},
	{"disabled", 0, 0, map[string]string{"OTEL_SDK_DISABLED": "true"}},
	{"on", 0.1, -1, sending},
	{"unsent", 0.1, -1, map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}},
	{"default", 0, 0, sending},
	{"all", 1, -1, sending},
}

// metricsEvery is how often metrics are sent.
const metricsEvery = 10 * time.Second

// sending leaves out where to, which the exporters know from the environment of the process.
var sending = map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": strconv.FormatInt(metricsEvery.Milliseconds(), 10)}

// open makes a server and a client for each way. Each side has a Telemetry of its own, as if they were two processes.
func open(ctx context.Context, s settings) (ways []rounds.Way, closeAll func(), err error) {
	var closers []func()
	closed := func() {
		for _, c := range slices.Backward(closers) {
			c()
		}
	}
	defer func() {
		if err != nil {
			closed()
		}
	}()
	for _, v := range variants {
		if !s.wants(v.name) {
			continue
		}
		var sides [2]resilience.Observer
		for i, service := range []string{"caller", "echo"} {
			if v.env == nil {
				continue
			}
			t, err := telemetry.Open(ctx, telemetry.Config{
				Service: service, Instance: service + "-1", Ratio: v.ratio, PerSecond: v.perSecond,
				Logger: slog.New(slog.DiscardHandler), Getenv: func(name string) string { return v.env[name] },
			})
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", v.name, err)
			}
			closers = append(closers, func() { _ = t.Shutdown(context.WithoutCancel(ctx)) })
			sides[i] = t.Observer()
		}
		dial := dialGRPC
		if s.http {
			dial = dialHTTP
		}
		call, done, err := dial(ctx, sides[0], sides[1])
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", v.name, err)
		}
		closers = append(closers, done)
		ways = append(ways, way(v.name, call, s.size))
	}
	for _, name := range []string{bare, rival} {
		if s.http || !s.wants(name) {
			continue
		}
		call, done, err := dialBare(ctx, name == rival)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		closers = append(closers, done)
		ways = append(ways, way(name, call, s.size))
	}
	if len(ways) == 0 {
		return nil, nil, fmt.Errorf("-only %s: no such way", s.only)
	}
	return ways, closed, nil
}

func way(name string, call caller, size int) rounds.Way {
	return rounds.Way{Name: name, Worker: func() func(context.Context) error {
		body := make([]byte, size)
		return func(ctx context.Context) error { return call(ctx, body) }
	}}
}

type echoServer struct{ echopb.UnimplementedEchoServer }

func (echoServer) Echo(_ context.Context, req *echopb.EchoRequest) (*echopb.EchoResponse, error) {
	return &echopb.EchoResponse{Body: req.GetBody()}, nil
}

type caller = func(context.Context, []byte) error

func dialGRPC(ctx context.Context, client, served resilience.Observer) (caller, func(), error) {
	srv, err := rpc.NewServer(rpc.ServerConfig{Observer: served})
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // says it all
	}
	echopb.RegisterEchoServer(srv, echoServer{})
	stop := start(ctx, srv.Run)
	<-srv.Ready()
	reg, closeReg := known(map[string]string{"grpc": srv.Addr().String()})
	conn, err := rpc.Dial(reg, "echo", rpc.ClientConfig{Logger: quiet(), Observer: client})
	if err != nil {
		closeReg()
		stop()
		return nil, nil, err //nolint:wrapcheck // says it all
	}
	echo := echopb.NewEchoClient(conn)
	call := func(ctx context.Context, body []byte) error {
		_, err := echo.Echo(ctx, &echopb.EchoRequest{Body: body})
		return err //nolint:wrapcheck // what is measured
	}
	return call, func() { _ = conn.Close(); closeReg(); stop() }, nil
}

func dialHTTP(ctx context.Context, client, served resilience.Observer) (caller, func(), error) {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /echo", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // says it all
	}
	srv, err := rest.NewServer(mux, rest.ServerConfig{Listener: lis, Observer: served})
	if err != nil {
		return nil, nil, errors.Join(err, lis.Close())
	}
	stop := start(ctx, srv.Run)
	reg, closeReg := known(map[string]string{"http": lis.Addr().String()})
	transport := rest.NewTransport(reg, rest.ClientConfig{Logger: quiet(), Observer: client})
	c := &http.Client{Transport: transport}
	call := func(ctx context.Context, body []byte) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://echo/echo", bytes.NewReader(body))
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		resp, err := c.Do(req)
		if err != nil {
			return err //nolint:wrapcheck // what is measured
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err //nolint:wrapcheck // what is measured
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %s", resp.Status)
		}
		return nil
	}
	return call, func() { _ = transport.Close(); closeReg(); stop() }, nil
}

// start runs a server until stop, which outlives ctx.
func start(ctx context.Context, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(ctx) // ends with ctx
	}()
	return func() { cancel(); <-done }
}

// known is a registry that knows one instance of echo.
func known(endpoints map[string]string) (*registry.Registry, func()) {
	driver := staticregistry.New(map[string][]registry.Instance{"echo": {{ID: "echo-1", Endpoints: endpoints}}})
	reg := registry.New(driver, registry.Config{Logger: quiet()})
	return reg, func() { _ = errors.Join(reg.Close(), driver.Close()) }
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
