package telemetry

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// snapshot is the span of the call as a whole.
func (c *call) snapshot(why reason) *snapshot {
	s := newSnapshot()
	s.name, s.context, s.parent, s.kind = c.name(), c.spanContext(c.id), c.parent, trace.SpanKindInternal
	s.begun, s.ended, s.resource = c.info.Begun, c.end.Ended, c.observer.telemetry.resource
	attempts, hedged := 0, false
	for i := range c.attempts {
		attempts++
		hedged = hedged || c.attempts[i].info.Hedge
	}
	s.attributes = append(c.protocol(s.room[:0]),
		attribute.String("server.address", c.info.Service),
		attribute.Bool("holdfast.call", true),
		attribute.Int("holdfast.call.attempts", attempts),
		attribute.Bool("holdfast.call.hedged", hedged),
		attribute.Float64("holdfast.call.deadline_ms", ms(c.info.Deadline.Sub(c.info.Begun))),
		attribute.String("holdfast.call.criticality", c.info.Criticality.String()),
		attribute.String("holdfast.keep", why.String()))
	if !c.info.Stream { // whose deadline was that of its set-up
		s.attributes = append(s.attributes, attribute.Float64("holdfast.call.remaining_ms", ms(c.info.Deadline.Sub(c.end.Ended))))
	}
	if c.end.Status != 0 {
		s.attributes = append(s.attributes, attribute.Int("http.response.status_code", c.end.Status))
	} else if c.info.Protocol == resilience.GRPC {
		s.attributes = append(s.attributes, attribute.String("rpc.response.status_code", c.code().String()))
	}
	var e *resilience.CallError
	if errors.As(c.end.Err, &e) {
		s.attributes = append(s.attributes, attribute.String("holdfast.call.stopped", e.Stopped))
		if e.RefusedBy != "" {
			s.attributes = append(s.attributes, attribute.String("holdfast.call.refused_by", e.RefusedBy))
		}
	}
	c.fail(s, c.end.Err, c.end.Status)
	return s
}

// fail says how s ended, if it did not end well.
func (c *call) fail(s *snapshot, err error, status int) {
	switch {
	case err != nil:
		s.fail(failure.CodeOf(err).String(), messageOf(err), true)
	case status >= 400:
		s.fail(statusWord(status), http.StatusText(status), true)
	}
}

// name is that of the spans of the call and of its attempts.
func (c *call) name() string {
	if c.info.Protocol == resilience.GRPC {
		return valid(strings.TrimPrefix(c.info.Method, "/"))
	}
	return bounded(c.info.Method + " " + c.info.Path)
}

// protocol appends what OpenTelemetry's conventions say of a call.
func (c *call) protocol(to []attribute.KeyValue) []attribute.KeyValue {
	if c.info.Protocol == resilience.GRPC {
		return append(to, attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", c.name()))
	}
	return append(to, attribute.String("http.request.method", c.info.Method), attribute.String("url.path", bounded(c.info.Path)))
}

// snapshotOf is the span of one attempt.
func (c *call) snapshotOf(a *attempt, parent trace.SpanContext) *snapshot {
	s := newSnapshot()
	s.name, s.context, s.parent, s.kind = c.name(), c.spanContext(a.id), parent, trace.SpanKindClient
	s.begun, s.ended, s.resource = a.info.Begun, a.end.Ended, c.observer.telemetry.resource
	if !a.ended { // whoever made it did not come to say so
		s.ended = c.end.Ended
		a.end.Outcome = resilience.Canceled
	}
	if !a.measured {
		c.measure(a)
	}
	outcome := a.end.Outcome.String()
	if a.end.Lost {
		outcome = "lost"
	}
	s.attributes = append(c.protocol(s.room[:0]),
		attribute.String("server.address", c.info.Service),
		attribute.Int("holdfast.attempt", a.info.Number+1),
		attribute.Bool("holdfast.attempt.hedge", a.info.Hedge),
		attribute.String("holdfast.attempt.outcome", outcome),
		attribute.String("holdfast.attempt.sent", a.end.Sent.String()),
		attribute.Bool("holdfast.attempt.lost", a.end.Lost),
		attribute.Float64("holdfast.attempt.wait_ms", ms(a.wait)),
		attribute.Float64("holdfast.attempt.timeout_ms", ms(a.info.Deadline.Sub(a.info.Begun))),
		attribute.Float64("holdfast.budget.tokens", a.tokens),
		attribute.Float64("holdfast.throttle.refusing", 1-a.passing))
	if a.end.Instance != "" {
		s.attributes = append(s.attributes, attribute.String("holdfast.peer.instance", valid(a.end.Instance)))
	}
	if a.end.Addr != "" {
		s.attributes = append(s.attributes, attribute.String("network.peer.address", valid(a.end.Addr)))
	}
	if a.info.Number > 0 && c.info.Protocol == resilience.HTTP {
		s.attributes = append(s.attributes, attribute.Int("http.request.resend_count", a.info.Number))
	}
	if a.end.Status != 0 {
		s.attributes = append(s.attributes, attribute.Int("http.response.status_code", a.end.Status))
	}
	if v := a.end.View; v != nil {
		var why balance.Explanation
		if a.pick != nil {
			why = *a.pick
		} else {
			why = v.Explain(a.end.Ended, a.end.Node, maxEjected)
		}
		s.attributes = append(s.attributes,
			attribute.Int("holdfast.pick.candidates", why.Candidates),
			attribute.String("holdfast.pick.why", why.Reason))
		if len(why.Ejected) > 0 {
			s.attributes = append(s.attributes, attribute.StringSlice("holdfast.pick.ejected", why.Ejected))
		}
	}
	if a.end.Lost {
		return s // that is no failure
	}
	err := a.end.Err
	if c.info.Protocol == resilience.GRPC {
		code := failure.OK
		if err != nil {
			code = failure.CodeOf(err)
		}
		s.attributes = append(s.attributes, attribute.String("rpc.response.status_code", code.String()))
	}
	c.fail(s, err, a.end.Status)
	return s
}

// maxEjected is how many ejected instances a span names.
const maxEjected = 16

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
