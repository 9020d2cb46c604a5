package queue

import (
	"context"
	"strings"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/resilience"
)

const (
	attributeTraceParent = "traceparent"
	attributeTraceState  = "tracestate"
	attributeCriticality = reserved + "criticality"
	attributeTenant      = reserved + "tenant"
	maxTraceParent       = 128
	maxTraceState        = 512
)

// TraceContext is a Propagator that passes W3C Trace Context (https://www.w3.org/TR/trace-context/, and CloudEvents'
// distributed tracing extension) on as it came: what is published while a message is handled belongs to its trace.
// Use WithTraceParent where a trace comes from elsewhere.
type TraceContext struct{}

// TraceKey is under what a context says which trace it belongs to, by a Traced. WithTraceParent sets it; so may a context of
// another package's own, which then need not make one more for it.
type TraceKey struct{}

// Traced is the value of TraceKey.
type Traced interface {
	// TraceParent returns the values of the headers traceparent and tracestate, "" for none.
	TraceParent() (parent, state string)
}

type trace struct{ parent, state string }

// TraceParent implements Traced.
func (t trace) TraceParent() (parent, state string) { return t.parent, t.state }

// WithTraceParent returns a context whose publications belong to a trace: the values of the headers traceparent and
// tracestate. Those that are too long are ignored.
func WithTraceParent(ctx context.Context, parent, state string) context.Context {
	if parent == "" || len(parent) > maxTraceParent {
		return ctx
	}
	if len(state) > maxTraceState {
		state = ""
	}
	return context.WithValue(ctx, TraceKey{}, trace{parent, state})
}

// TraceParent returns the values of the headers of the trace that ctx belongs to, "" if it belongs to none.
func TraceParent(ctx context.Context) (parent, state string) {
	if t, ok := ctx.Value(TraceKey{}).(Traced); ok {
		return t.TraceParent()
	}
	return "", ""
}

// Inject implements Propagator.
func (TraceContext) Inject(ctx context.Context, set func(name, value string)) {
	parent, state := TraceParent(ctx)
	if parent != "" {
		set(attributeTraceParent, parent)
	}
	if state != "" {
		set(attributeTraceState, state)
	}
}

// Extract implements Propagator.
func (TraceContext) Extract(ctx context.Context, get func(name string) string) context.Context {
	return WithTraceParent(ctx, get(attributeTraceParent), get(attributeTraceState))
}

// inject puts what belongs to the request that ctx is of into m's attributes, which are replaced, not changed. An attribute
// that is set stays.
func inject(ctx context.Context, p Propagator, m *driver.Message) {
	set := func(name, value string) {
		if _, there := m.Attributes[name]; !there && driver.AttributeName(name) {
			Attribute(name, value)(m)
		}
	}
	if p == nil {
		TraceContext{}.Inject(ctx, set)
	} else {
		p.Inject(ctx, set)
	}
	r, _ := resilience.Outgoing(ctx, resilience.Critical)
	if r.Criticality != resilience.Critical {
		set(attributeCriticality, r.Criticality.String())
	}
	if r.Tenant != "" {
		set(attributeTenant, r.Tenant)
	}
}

// extract is the inverse, for the ctx of an attempt.
func extract(ctx context.Context, p Propagator, m *driver.Message) context.Context {
	if len(m.Attributes) > 0 {
		get := func(name string) string { return m.Attributes[name] }
		if p == nil {
			ctx = TraceContext{}.Extract(ctx, get)
		} else {
			ctx = p.Extract(ctx, get)
		}
	}
	return resilience.WithRequest(ctx, resilience.ParseRequest(m.Attributes[attributeCriticality], m.Attributes[attributeTenant], ""))
}

// own reports whether an attribute is this package's.
func own(name string) bool { return strings.HasPrefix(name, reserved) }
