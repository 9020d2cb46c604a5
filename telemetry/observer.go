package telemetry

import (
	"go.opentelemetry.io/otel/propagation"

	"github.com/holdfast-go/holdfast/resilience"
)

// observer is told of calls by rpc and rest.
type observer struct {
	telemetry *Telemetry
	env       environment
	sampler   *sampler
	spans     *batch // nil: they go nowhere, and nothing is remembered for them
	stats     *stats
	roots     *roots
	held      holding
	spread    propagation.TextMapPropagator
}

var _ resilience.Observer = (*observer)(nil)

func newObserver(t *Telemetry, env environment) (*observer, error) {
	if err := t.stats.watch(t.meters.Meter(scope)); err != nil {
		return nil, err
	}
	var spread []propagation.TextMapPropagator
	if env.trace {
		spread = append(spread, propagation.TraceContext{})
	}
	if env.baggage {
		spread = append(spread, propagation.Baggage{})
	}
	return &observer{
		telemetry: t, env: env, sampler: t.sampler, spans: t.spans, stats: t.stats, roots: t.roots,
		spread: propagation.NewCompositeTextMapPropagator(spread...),
	}, nil
}

func (o *observer) propagators() propagation.TextMapPropagator { return o.spread }
