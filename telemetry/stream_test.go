package telemetry_test

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/telemetry"
)

func TestAStreamIsNeverSlow(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("a", telemetry.Config{})
		begun := time.Now()
		end := begun.Add(time.Hour)
		c := p.Observer().BeginCall(t.Context(), resilience.CallInfo{Service: "b", Method: "/b.B/Watch", Stream: true, Begun: begun, Deadline: begun.Add(5 * time.Second)})
		c.BeginAttempt(resilience.AttemptInfo{Begun: begun, Deadline: begun.Add(5 * time.Second)})
		c.EndAttempt(resilience.AttemptEnd{Ended: end, Outcome: resilience.OK})
		c.End(resilience.CallEnd{Ended: end})
		_, s := p.Observer().BeginServe(t.Context(), resilience.ServeInfo{Method: "/b.B/Watch", Stream: true, Begun: begun})
		s.End(resilience.ServeEnd{Ended: end})
		_, s = p.Observer().BeginServe(t.Context(), resilience.ServeInfo{Protocol: resilience.HTTP, Method: "GET", Begun: begun})
		s.End(resilience.ServeEnd{Ended: end, Status: 200, Stream: true})
		if got := p.spans(t); len(got) > 0 {
			t.Errorf("%v", got.names())
		}
	})
}

func TestAStreamHasNothingLeftOfItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("a", telemetry.Config{Ratio: 1})
		begun := time.Now()
		end := begun.Add(time.Hour)
		c := p.Observer().BeginCall(t.Context(), resilience.CallInfo{Service: "b", Method: "/b.B/Watch", Stream: true, Begun: begun, Deadline: begun.Add(5 * time.Second)})
		c.BeginAttempt(resilience.AttemptInfo{Begun: begun, Deadline: begun.Add(5 * time.Second)})
		c.EndAttempt(resilience.AttemptEnd{Ended: end, Outcome: resilience.OK})
		c.End(resilience.CallEnd{Ended: end})
		want(t, p.spans(t).of(trace.SpanKindInternal)[0], map[string]any{"holdfast.call.deadline_ms": 5000.0, "holdfast.call.remaining_ms": nil})
	})
}

// Streams are in no duration of calls, so that what counts attempts has to tell them from those of calls.
func TestAttemptsOfStreamsAreCountedApart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("a", telemetry.Config{})
		for i := range 5 {
			begun := time.Now()
			c := p.Observer().BeginCall(t.Context(), resilience.CallInfo{Service: "b", Method: "/b.B/Watch", Stream: i < 2, Begun: begun, Deadline: begun.Add(5 * time.Second)})
			c.BeginAttempt(resilience.AttemptInfo{Begun: begun, Deadline: begun.Add(5 * time.Second)})
			c.EndAttempt(resilience.AttemptEnd{Ended: begun, Outcome: resilience.OK})
			c.End(resilience.CallEnd{Ended: begun})
		}
		points(t, "attempts", p.metrics(t, "holdfast.client.attempts"), map[string]float64{
			"hedge=false,outcome=ok,service=b,stream=false": 3,
			"hedge=false,outcome=ok,service=b,stream=true":  2,
		})
	})
}
