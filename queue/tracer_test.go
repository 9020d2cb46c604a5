package queue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// spans is a Tracer that numbers what it is told of: its trace parents are "1", "2", …
type spans struct {
	mu   sync.Mutex
	last int
	said []string
}

func (s *spans) begin(ctx context.Context, what string) (context.Context, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	parent, _ := queue.TraceParent(ctx)
	s.said = append(s.said, fmt.Sprintf("%d of %q: %s", s.last, parent, what))
	return queue.WithTraceParent(ctx, fmt.Sprint(s.last), ""), s.last
}

func (s *spans) end(n int, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, fmt.Sprintf("%d %s", n, how))
}

func (s *spans) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

// pair puts the end of each publication behind its beginning: whoever receives the message is told of it at the same time.
func (s *spans) pair() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, line := range s.said {
		at := len(out)
		if number, _, published := strings.Cut(line, " published "); published {
			at = 1 + slices.IndexFunc(out, func(l string) bool { return strings.HasPrefix(l, number+" of ") })
		}
		out = slices.Insert(out, at, line)
	}
	s.said = out
}

func (s *spans) BeginPublish(ctx context.Context, p queue.Publication) (context.Context, queue.PublishTracer) {
	what := fmt.Sprintf("publish %d to %s", p.Count, p.Topic)
	if p.Kept {
		what += ", kept"
	}
	ctx, n := s.begin(ctx, what)
	return ctx, spanOf{s, n}
}

func (s *spans) BeginAttempt(ctx context.Context, a queue.Attempt) (context.Context, queue.AttemptTracer) {
	ctx, n := s.begin(ctx, fmt.Sprintf("attempt %d of %s by %s/%s", a.Number, a.ID, a.Topic, a.Group))
	return ctx, spanOf{s, n}
}

type spanOf struct {
	s *spans
	n int
}

func (s spanOf) EndPublish(id string, err error) {
	s.s.end(s.n, fmt.Sprintf("published %q: %v", id, err))
}

func (s spanOf) EndAttempt(e queue.AttemptEnd) {
	s.s.end(s.n, fmt.Sprintf("%s %q: %v", e.Verdict, e.Reason, e.Err))
}

func wantSaid(t *testing.T, s *spans, want ...string) {
	t.Helper()
	if got := s.all(); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// A publication is below what it was made in, and the attempts below the publication; what a handler publishes is below its
// attempt.
func TestTracer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spans{}
		w := newWorld(t, func(c *queue.Config) { c.Tracer = s })
		w.declare("a", "g")
		w.declare("b", "g")
		failed := false
		w.run(w.q, "a", "g", queue.Handle(func(ctx context.Context, m queue.Message[string]) error {
			if !failed {
				failed = true
				return errBroken
			}
			return w.q.Publish(ctx, "b", "x", queue.ID("two"))
		}), queue.SubscriptionConfig{})
		ok(t, w.q.Publish(queue.WithTraceParent(t.Context(), "request", ""), "a", "x", queue.ID("one")))
		pass(time.Minute)
		s.pair()
		wantSaid(
			t, s,
			`1 of "request": publish 1 to a`, `1 published "one": <nil>`,
			`2 of "1": attempt 1 of one by a/g`, `2 retry "": broken`,
			`3 of "1": attempt 2 of one by a/g`, `4 of "3": publish 1 to b`, `4 published "two": <nil>`, `3 done "": <nil>`,
		)
	})
}

// A dead letter says why it is one.
func TestTracerOfDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spans{}
		w := newWorld(t, func(c *queue.Config) { c.Tracer = s })
		w.declare("a", "g")
		ok(t, w.q.Publish(t.Context(), "a", "x", queue.ID("one")))
		w.run(w.q, "a", "g", queue.Handle(func(context.Context, queue.Message[string]) error { return queue.Reject(errBroken) }),
			queue.SubscriptionConfig{})
		pass(time.Minute)
		wantSaid(
			t, s, `1 of "": publish 1 to a`, `1 published "one": <nil>`,
			`2 of "1": attempt 1 of one by a/g`, `2 dead "rejected by its handler": broken`,
		)
	})
}

// What was kept is published below what it was written in, message by message, and what it is kept as is not changed.
func TestTracerOfKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spans{}
		w := newWorld(t, func(c *queue.Config) { c.Tracer = s })
		w.declare("a", "g")
		var messages []*driver.Message
		for _, request := range []string{"first", "", "third"} {
			m, err := queue.NewMessage(queue.WithTraceParent(t.Context(), request, ""), "test", "a", "x", nil, queue.ID("of-"+request))
			ok(t, err)
			messages = append(messages, m)
		}
		if errs := w.q.PublishMessages(t.Context(), "a", messages); errs != nil {
			t.Fatal(errs)
		}
		w.run(w.q, "a", "g", queue.Handle(func(context.Context, queue.Message[string]) error { return nil }), // now: what both say has one order
			queue.SubscriptionConfig{Concurrency: 1})
		pass(time.Minute)
		wantSaid(
			t, s, `1 of "first": publish 1 to a, kept`, `2 of "third": publish 1 to a, kept`,
			`1 published "of-first": <nil>`, `2 published "of-third": <nil>`,
			`3 of "1": attempt 1 of of-first by a/g`, `3 done "": <nil>`,
			`4 of "": attempt 1 of of- by a/g`, `4 done "": <nil>`,
			`5 of "2": attempt 1 of of-third by a/g`, `5 done "": <nil>`,
		)
		if got := messages[0].Attributes["traceparent"]; got != "first" {
			t.Errorf("the message that is kept has now %q", got)
		}
	})
}
