package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/resilience"
)

// The defaults of a Config.
const (
	// DefaultRatio is the share of new traces that are kept whatever comes of them.
	DefaultRatio = 0.1
	// DefaultPerSecond is how many new traces a second are at most, and again as many of those that are kept for their end.
	DefaultPerSecond = 100
)

// Config is what a Telemetry is opened with. The zero value works; the environment's OTEL_* settings win over it.
type Config struct {
	// Service, Instance, Version and Zone are what every span and series is said to come from. Service "" is
	// "unknown_service", as the specification has it.
	Service, Instance, Version, Zone string

	// Ratio is the share of new traces that are kept whatever comes of them, up to 1. 0: DefaultRatio. Negative: none.
	Ratio float64
	// PerSecond bounds the new traces that are kept by Ratio, and by itself those that are kept for their end. 0:
	// DefaultPerSecond. Negative: neither is bounded.
	PerSecond int

	// Logger gets what goes wrong with sending, at most a line a minute. nil: slog.Default().
	Logger *slog.Logger
	// Getenv is where the OTEL_* settings come from. nil: os.Getenv. The exporters look into the environment of the
	// process all the same for how they send.
	Getenv func(string) string

	// Insecure says that it is meant when the environment has something sent in plaintext beyond loopback, as
	// OTEL_EXPORTER_OTLP_INSECURE=true does. Otherwise the log warns of it.
	Insecure bool

	// Exporter is where spans go, instead of where the environment says.
	Exporter sdktrace.SpanExporter
	// Reader makes a reader of the metrics, beside what the environment says. It has to read the producer, too, which is
	// given to it: what counts calls.
	Reader func(sdkmetric.Producer) sdkmetric.Reader
}

// Telemetry is what one process says about itself. Safe for concurrent use. The nil *Telemetry is one that says nothing:
// its providers do nothing, and its Observer passes on the traces and the baggage of others as they came.
type Telemetry struct {
	cfg      Config
	resource *resource.Resource
	sampler  *sampler
	spans    *batch // nil: spans go nowhere
	roots    *roots
	stats    *stats
	registry *prometheus.Registry

	tracers  trace.TracerProvider
	meters   *sdkmetric.MeterProvider
	observer *observer

	stop     sync.Once
	shutdown []func(context.Context) error
	dropped  [signals]atomic.Uint64
}

// signals that can be dropped.
const (
	signalTraces = iota
	signalMetrics
	signalLogs

	signals
)

// Open begins. That a receiver is not there is no error, nor is a setting of the environment that cannot be used: the log
// says so, once, and its default counts. With OTEL_SDK_DISABLED=true it returns nil and no error: a Telemetry that says
// nothing, and passes on what others have to say. ctx is for the opening alone. The caller calls Shutdown.
func Open(ctx context.Context, cfg Config) (*Telemetry, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	env := readEnvironment(cfg.Getenv)
	if env.disabled {
		return nil, nil //nolint:nilnil // documented: a nil Telemetry works
	}
	if len(env.wrong) > 0 {
		cfg.Logger.Warn("telemetry: settings that are not used; their defaults are", "error", errors.Join(env.wrong...))
	}
	if len(env.plain) > 0 && !cfg.Insecure {
		cfg.Logger.Warn("telemetry is sent in plaintext beyond this machine: use https, or say that it is meant with OTEL_EXPORTER_OTLP_INSECURE=true",
			"settings", env.plain)
	}
	t := &Telemetry{cfg: cfg, registry: prometheus.NewRegistry(), stats: newStats()}
	t.resource = newResource(cfg, env)
	t.sampler = newSampler(cfg, env)
	t.openTraces(ctx, env)
	if err := t.openMetrics(ctx, env); err != nil {
		return nil, errors.Join(fmt.Errorf("telemetry: %w", err), t.Shutdown(ctx))
	}
	var err error
	if t.observer, err = newObserver(t, env); err != nil {
		return nil, errors.Join(fmt.Errorf("telemetry: %w", err), t.Shutdown(ctx))
	}
	return t, nil
}

// Observer returns what the clients and servers of rpc and rest are given.
func (t *Telemetry) Observer() resilience.Observer {
	if t == nil {
		var e environment
		e.readPropagators(os.Getenv("OTEL_PROPAGATORS"))
		return passing{trace: e.trace, baggage: e.baggage}
	}
	return t.observer
}

// TracerProvider is for spans of one's own. Those within a request being served, or within a call, are kept with it.
func (t *Telemetry) TracerProvider() trace.TracerProvider {
	if t == nil {
		return noopTracers
	}
	return t.tracers
}

// MeterProvider is for metrics of one's own. An instrument has at most 2,000 series; what is beyond is one of its own,
// otel.metric.overflow.
func (t *Telemetry) MeterProvider() metric.MeterProvider {
	if t == nil {
		return noopMeters
	}
	return t.meters
}

// Propagators is how a trace goes from one process to another: W3C Trace Context and Baggage, or what of these
// OTEL_PROPAGATORS names. Nil has them too, for what comes is passed on.
func (t *Telemetry) Propagators() propagation.TextMapPropagator {
	if t == nil {
		return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return t.observer.propagators()
}

// Shutdown sends what is still to be sent, until ctx ends, and stops everything. Calls may go on; nothing is seen of them
// any more. A second Shutdown does nothing.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	var err error
	t.stop.Do(func() {
		// Side by side: a receiver that hangs has its own to lose.
		errs := make([]error, len(t.shutdown))
		var ended sync.WaitGroup
		for i, end := range t.shutdown {
			ended.Go(func() { errs[i] = end(ctx) })
		}
		ended.Wait()
		err = errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("telemetry shutdown: %w", err)
	}
	return nil
}

// openMetrics makes the providers of metrics.
func (t *Telemetry) openMetrics(ctx context.Context, env environment) error {
	pulled, err := otelprometheus.New(otelprometheus.WithRegisterer(t.registry), otelprometheus.WithProducer(t.stats), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return err
	}
	opts := []sdkmetric.Option{
		sdkmetric.WithResource(t.resource), sdkmetric.WithReader(pulled), sdkmetric.WithCardinalityLimit(maxSeries),
	}
	if t.cfg.Reader != nil {
		opts = append(opts, sdkmetric.WithReader(t.cfg.Reader(t.stats)))
	}
	if pushed := t.metricReader(ctx, env); pushed != nil {
		opts = append(opts, sdkmetric.WithReader(pushed))
	}
	t.meters = sdkmetric.NewMeterProvider(opts...)
	t.shutdown = append(t.shutdown, t.meters.Shutdown)
	return nil
}

// maxSeries is how many series an instrument has at most.
const maxSeries = 2000
