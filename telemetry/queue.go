package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
)

const scopeName = "github.com/holdfast-go/holdfast/telemetry"

// behindFor is for how long the lag of a group, and its dead letters, are told of without word of them: package queue gives it
// every 15 s while the engine answers. An outage shows as no lag, and not as the last one.
const behindFor = 3 * 15 * time.Second

// maxGroups bounds the topics and groups of which lag and age are told.
const maxGroups = 500

// Queue returns what a queue.Queue is given as its Observer, Tracer and Propagator; system is the engine, as OpenTelemetry
// calls it: "kafka", "nats", "rabbitmq". Of a nil Telemetry it is nil.
//
// A publication is a PRODUCER span, "publish TOPIC", in what it was made in; that of an event from an outbox in what the
// event was written in. An attempt is a CONSUMER span, "process TOPIC", below the publication.
func (t *Telemetry) Queue(system string) *Queue {
	if t == nil {
		return nil
	}
	q := &Queue{
		system: attribute.String("messaging.system", system), tracer: t.tracers.Tracer(scopeName), spread: t.Propagators(),
		groups: make(map[[2]string]*groupStats),
	}
	if err := q.open(t.meters.Meter(scopeName)); err != nil {
		t.cfg.Logger.Error("telemetry: no metrics of messages", "error", err)
	}
	return q
}

// Queue tells of messages. Safe for concurrent use.
type Queue struct {
	system attribute.KeyValue
	tracer trace.Tracer
	spread propagation.TextMapPropagator

	publishes, processes metric.Float64Histogram
	sent, handled, dead  metric.Int64Counter
	retried              metric.Int64Counter

	mu     sync.Mutex
	groups map[[2]string]*groupStats // by topic and group
}

// groupStats is how a group is.
type groupStats struct {
	attributes metric.MeasurementOption
	lag        int64
	letters    int64
	behind     time.Time // when there was word of lag and letters
	oldest     time.Duration
	at         time.Time // of oldest
	slowed     bool
}

var (
	_ queue.Observer   = (*Queue)(nil)
	_ queue.Tracer     = (*Queue)(nil)
	_ queue.Propagator = (*Queue)(nil)
)

func (q *Queue) open(meter metric.Meter) error {
	var errs []error
	histogram := func(name, text string) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(text), metric.WithExplicitBucketBoundaries(buckets...))
		errs = append(errs, err)
		return h
	}
	counter := func(name, text string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit("{message}"), metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	gauge := func(name, unit, text string) metric.Float64ObservableGauge {
		g, err := meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(text))
		errs = append(errs, err)
		return g
	}
	q.publishes = histogram("messaging.client.operation.duration", "Publications, until the engine has confirmed them.")
	q.processes = histogram("messaging.process.duration", "Attempts to handle a message.")
	q.sent = counter("messaging.client.sent.messages", "Messages that were published, or given up.")
	q.handled = counter("holdfast.queue.handled", "Attempts to handle a message, by whether they succeeded.")
	q.retried = counter("holdfast.queue.retried", "Messages that are tried again.")
	q.dead = counter("holdfast.queue.dead", "Messages that became dead letters.")
	lag := gauge("holdfast.queue.lag", "{message}", "Messages that a group has before it.")
	letters := gauge("holdfast.queue.letters", "{message}", "Dead letters of a group.")
	oldest := gauge("holdfast.queue.oldest", "s", "Age of the oldest of the messages received last.")
	slowed := gauge("holdfast.queue.slowed", "{subscription}", "1 while everything fails, and the subscription probes for what it needs.")
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, g := range q.groups {
			if time.Since(g.behind) < behindFor {
				to.ObserveFloat64(lag, float64(g.lag), g.attributes)
				to.ObserveFloat64(letters, float64(g.letters), g.attributes)
			}
			age := 0.0
			if time.Since(g.at) < time.Minute { // otherwise there was nothing to receive
				age = g.oldest.Seconds()
			}
			to.ObserveFloat64(oldest, age, g.attributes)
			v := 0.0
			if g.slowed {
				v = 1
			}
			to.ObserveFloat64(slowed, v, g.attributes)
		}
		return nil
	}, lag, letters, oldest, slowed)
	return err
}

// Observe implements queue.Observer.
func (q *Queue) Observe(e queue.Event) {
	if q.sent == nil { // open has said why
		return
	}
	ctx := context.Background()
	about := []attribute.KeyValue{q.system, attribute.String("messaging.destination.name", valid(e.Topic))}
	switch e.Kind {
	case queue.Published:
		set := metric.WithAttributeSet(attribute.NewSet(append(about, attribute.String("messaging.operation.name", "publish"))...))
		if e.Err != nil {
			set = metric.WithAttributeSet(attribute.NewSet(append(about, attribute.String("messaging.operation.name", "publish"), errorType(e.Err))...))
		}
		q.publishes.Record(ctx, e.Took.Seconds(), set)
		q.sent.Add(ctx, int64(e.Count), set)
	case queue.Handled:
		about = append(about, attribute.String("messaging.consumer.group.name", valid(e.Group)), attribute.String("messaging.operation.name", "process"))
		outcome := "done"
		if e.Err != nil {
			about, outcome = append(about, errorType(e.Err)), "failed"
		}
		q.processes.Record(ctx, e.Took.Seconds(), metric.WithAttributeSet(attribute.NewSet(about...)))
		q.handled.Add(ctx, int64(e.Count), metric.WithAttributeSet(attribute.NewSet(append(topicGroup(e), attribute.String("outcome", outcome))...)))
	case queue.Retried:
		q.retried.Add(ctx, int64(e.Count), metric.WithAttributeSet(attribute.NewSet(topicGroup(e)...)))
	case queue.Buried:
		q.dead.Add(ctx, int64(e.Count), metric.WithAttributeSet(attribute.NewSet(topicGroup(e)...)))
	case queue.Received:
		q.of(e, func(g *groupStats) { g.oldest, g.at = e.Age, time.Now() })
	case queue.Behind:
		q.of(e, func(g *groupStats) {
			g.lag, g.letters, g.behind = e.Lag.Waiting+e.Lag.Unsettled, e.Lag.Dead, time.Now()
		})
	case queue.Slowed, queue.Resumed:
		q.of(e, func(g *groupStats) { g.slowed = e.Kind == queue.Slowed })
	case queue.Returned, queue.Lost:
	}
}

func topicGroup(e queue.Event) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("topic", valid(e.Topic)), attribute.String("group", valid(e.Group))}
}

func (q *Queue) of(e queue.Event, f func(*groupStats)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := [2]string{e.Topic, e.Group}
	g := q.groups[key]
	if g == nil {
		if len(q.groups) >= maxGroups {
			return
		}
		g = &groupStats{attributes: metric.WithAttributeSet(attribute.NewSet(topicGroup(e)...))}
		q.groups[key] = g
	}
	f(g)
}

// errorType says in which way something failed: a code's name, of which there are few.
func errorType(err error) attribute.KeyValue {
	return attribute.String("error.type", failure.CodeOf(err).String())
}

// Inject implements queue.Propagator.
func (q *Queue) Inject(ctx context.Context, set func(name, value string)) {
	if !trace.SpanContextFromContext(ctx).IsValid() { // nobody's span; but perhaps what came along is to be passed on
		queue.TraceContext{}.Inject(ctx, set)
	}
	q.spread.Inject(ctx, setter{set: set})
}

// Extract implements queue.Propagator.
func (q *Queue) Extract(ctx context.Context, get func(name string) string) context.Context {
	return q.spread.Extract(ctx, setter{get: get})
}

// setter is a propagation.TextMapCarrier.
type setter struct {
	set func(name, value string)
	get func(name string) string
}

// Get implements propagation.TextMapCarrier.
func (s setter) Get(key string) string { return s.get(key) }

// Set implements propagation.TextMapCarrier.
func (s setter) Set(key, value string) { s.set(key, value) }

// Keys implements propagation.TextMapCarrier. No propagator of ours asks.
func (s setter) Keys() []string { return nil }

// BeginPublish implements queue.Tracer.
func (q *Queue) BeginPublish(ctx context.Context, p queue.Publication) (context.Context, queue.PublishTracer) {
	attrs := []attribute.KeyValue{
		q.system, attribute.String("messaging.destination.name", valid(p.Topic)),
		attribute.String("messaging.operation.name", "publish"), attribute.String("messaging.operation.type", "send"),
	}
	if p.Count > 1 {
		attrs = append(attrs, attribute.Int("messaging.batch.message_count", p.Count))
	}
	if p.Kept {
		attrs = append(attrs, attribute.Bool("holdfast.message.outbox", true))
		if !p.Time.IsZero() {
			attrs = append(attrs, attribute.Float64("holdfast.message.age_ms", ms(max(time.Since(p.Time), 0))))
		}
	}
	ctx, span := q.tracer.Start(ctx, "publish "+valid(p.Topic), trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attrs...))
	return within{ctx, span.SpanContext()}, producer{span}
}

type producer struct{ span trace.Span }

// EndPublish implements queue.PublishTracer.
func (p producer) EndPublish(id string, err error) {
	if id != "" {
		p.span.SetAttributes(attribute.String("messaging.message.id", valid(id)))
	}
	fail(p.span, err)
	p.span.End()
}

func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	text := bounded(err.Error())
	span.SetAttributes(errorType(err), attribute.String("exception.message", text))
	span.SetStatus(codes.Error, text)
}

// BeginAttempt implements queue.Tracer.
func (q *Queue) BeginAttempt(ctx context.Context, a queue.Attempt) (context.Context, queue.AttemptTracer) {
	attrs := []attribute.KeyValue{
		q.system, attribute.String("messaging.destination.name", valid(a.Topic)),
		attribute.String("messaging.operation.name", "process"), attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.consumer.group.name", valid(a.Group)), attribute.String("messaging.message.id", valid(a.ID)),
		attribute.Int("messaging.message.body.size", a.Size),
		attribute.Int("holdfast.message.attempt", a.Number), attribute.Float64("holdfast.message.age_ms", ms(a.Age)),
	}
	if a.Replayed {
		attrs = append(attrs, attribute.Bool("holdfast.message.replayed", true))
	}
	if a.Number > 1 {
		attrs = append(attrs, attribute.String("holdfast.keep", keepRetried.String()))
	}
	ctx, span := q.tracer.Start(ctx, "process "+valid(a.Topic), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attrs...))
	return within{ctx, span.SpanContext()}, consumer{span}
}

type consumer struct{ span trace.Span }

// EndAttempt implements queue.AttemptTracer.
func (c consumer) EndAttempt(e queue.AttemptEnd) {
	c.span.SetAttributes(attribute.String("holdfast.message.verdict", string(e.Verdict)))
	if e.Reason != "" {
		c.span.SetAttributes(attribute.String("holdfast.message.reason", bounded(e.Reason)))
	}
	if e.Verdict == queue.Again {
		c.span.SetAttributes(attribute.Float64("holdfast.message.pause_ms", ms(e.Pause)))
	}
	fail(c.span, e.Err)
	c.span.End()
}

// within is the context of a span, which outboxes can ask for it too.
type within struct {
	context.Context //nolint:containedctx // it is one
	span            trace.SpanContext
}

// Value implements context.Context.
func (w within) Value(key any) any {
	if key == (queue.TraceKey{}) {
		return traced(w.span)
	}
	return w.Context.Value(key)
}

// traced implements queue.Traced.
type traced trace.SpanContext

// TraceParent implements queue.Traced.
func (s traced) TraceParent() (parent, state string) {
	c := trace.SpanContext(s)
	if !c.IsValid() {
		return "", ""
	}
	return traceparent(c.TraceID(), c.SpanID(), c.IsSampled()), c.TraceState().String()
}
