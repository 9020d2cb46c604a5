package telemetry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// maxRoots bounds the spans of the user's that are followed at a time.
const maxRoots = 10_000

// openTraces makes the provider of spans.
func (t *Telemetry) openTraces(ctx context.Context, env environment) {
	exporter := t.spanExporter(ctx, env)
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(t.resource)}
	t.roots = new(roots)
	opts = append(opts, sdktrace.WithSampler(&rule{telemetry: t})) // without an exporter too: it is said along with calls
	if exporter != nil {
		t.spans = newBatch(exporter, &t.dropped[signalTraces], t.cfg.Logger)
		opts = append(opts, sdktrace.WithSpanProcessor(t.spans), sdktrace.WithSpanProcessor(&follower{telemetry: t}))
	}
	p := sdktrace.NewTracerProvider(opts...)
	t.tracers, t.shutdown = p, append(t.shutdown, func(ctx context.Context) error {
		err := p.Shutdown(ctx)
		if t.spans != nil {
			if again := t.spans.Shutdown(ctx); err == nil { // p does not do it, of a ctx that has ended
				err = again
			}
		}
		return err
	})
}

// rule decides about the spans that the SDK makes. One whose trace was not chosen is recorded all the same, to be held with
// the family that it belongs to.
type rule struct{ telemetry *Telemetry }

// ShouldSample implements sdktrace.Sampler.
func (r *rule) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	out := sdktrace.SamplingResult{Decision: sdktrace.RecordOnly, Tracestate: parent.TraceState()}
	s := r.telemetry.sampler
	if parent.IsValid() && (s.parents || !parent.IsRemote()) {
		if parent.IsSampled() && (!parent.IsRemote() || r.telemetry.spans == nil || s.join(time.Now())) {
			out.Decision = sdktrace.RecordAndSample
		}
	} else if s.begin(time.Now(), p.TraceID) {
		out.Decision = sdktrace.RecordAndSample
	}
	if out.Decision == sdktrace.RecordOnly && (!s.late || r.telemetry.spans == nil) {
		out.Decision = sdktrace.Drop
	}
	return out
}

// Description implements sdktrace.Sampler.
func (*rule) Description() string { return "Holdfast" }

// roots are the spans of the SDK's that have not ended, of traces that were not chosen, and their families: that of the
// request, or of the first of them in this process. Those that nobody ends are forgotten.
type roots struct {
	count   atomic.Int64
	swept   atomic.Int64 // when, in Unix nanoseconds
	open    sync.Map     // trace.SpanID → *openSpan
	dropped atomic.Uint64
}

// openSpan is one of them.
type openSpan struct {
	family *family
	own    *family // that began with it
	since  time.Time
}

const (
	// openFor is how long a span may be open until its family forgets it.
	openFor = 10 * time.Minute
	// sweepEvery is how often those are looked for.
	sweepEvery = 10 * time.Second
)

// of returns the family of a span that is open, or nil.
func (r *roots) of(id trace.SpanID) *family {
	if r.count.Load() == 0 {
		return nil
	}
	if s, ok := r.open.Load(id); ok {
		return s.(*openSpan).family
	}
	return nil
}

// add follows a span; family nil: it begins one.
func (r *roots) add(o *observer, now time.Time, id trace.SpanID, f *family) {
	r.sweep(o, now)
	if r.count.Add(1) > maxRoots {
		r.count.Add(-1)
		r.dropped.Add(1)
		return
	}
	s := &openSpan{family: f, since: now}
	if f == nil {
		s.own = new(family)
		s.family = s.own
	}
	r.open.Store(id, s)
}

// take returns a span that has ended, or nil if it is not followed.
func (r *roots) take(id trace.SpanID) *openSpan {
	v, ok := r.open.LoadAndDelete(id)
	if !ok {
		return nil
	}
	r.count.Add(-1)
	return v.(*openSpan)
}

// sweep forgets what has been open for too long, from time to time.
func (r *roots) sweep(o *observer, now time.Time) {
	last := r.swept.Load()
	if now.UnixNano()-last < int64(sweepEvery) || !r.swept.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	r.open.Range(func(id, v any) bool {
		if s := v.(*openSpan); now.Sub(s.since) > openFor && r.open.CompareAndDelete(id, v) {
			r.count.Add(-1)
			r.dropped.Add(1)
			if s.own != nil {
				s.own.end(o, now, keepNot)
			}
		}
		return true
	})
}

// follower puts the spans of the SDK's into their families.
type follower struct{ telemetry *Telemetry }

// OnStart implements sdktrace.SpanProcessor.
func (p *follower) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	sc := s.SpanContext()
	if sc.IsSampled() {
		return
	}
	o := p.telemetry.observer
	local, current := localOf(ctx)
	var f *family
	if local != nil && local.context.TraceID() == sc.TraceID() {
		f = &local.family
	} else if parent := current.SpanContext(); parent.IsValid() && parent.TraceID() == sc.TraceID() {
		f = o.roots.of(parent.SpanID())
	}
	o.roots.add(o, time.Now(), sc.SpanID(), f)
}

// OnEnd implements sdktrace.SpanProcessor.
func (p *follower) OnEnd(s sdktrace.ReadOnlySpan) {
	sc := s.SpanContext()
	if sc.IsSampled() {
		return
	}
	o, why := p.telemetry.observer, wish(s)
	now := time.Now() // when the span ended is the user's to say (trace.WithTimestamp), and may be hours away
	found := o.roots.take(sc.SpanID())
	if found == nil { // forgotten meanwhile, or never followed: by itself
		if why != keepNot && o.sampler.end(now, why) {
			foreign{o, s}.write(why)
		}
		return
	}
	found.family.add(o, now, foreign{o, s}, why)
	if found.own != nil {
		found.own.end(o, now, keepNot)
	}
}

// wish returns why a span of the user's is to be kept: it says so, with holdfast.keep, or it ended with an error.
func wish(s sdktrace.ReadOnlySpan) reason { return wishOf(s.Attributes(), s.Status()) }

func wishOf(attributes []attribute.KeyValue, status sdktrace.Status) reason {
	for _, kv := range attributes {
		if kv.Key == "holdfast.keep" && kv.Value.Type() == attribute.STRING {
			if w := keepWord(kv.Value.AsString()); w != keepNot {
				return w
			}
		}
	}
	if status.Code == codes.Error {
		return keepError
	}
	return keepNot
}

// Shutdown implements sdktrace.SpanProcessor.
func (*follower) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (*follower) ForceFlush(context.Context) error { return nil }
