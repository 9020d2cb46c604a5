package telemetry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/telemetry"
)

// queueOf returns a queue whose telemetry is p's.
func queueOf(p *process, engine driver.Engine) *queue.Queue {
	with := p.Queue("memory")
	return queue.New(engine, queue.Config{Source: "test", Instance: "one", Logger: quiet, Observer: with, Tracer: with, Propagator: with})
}

// handled runs a subscription until done says so.
func handled(t *testing.T, q *queue.Queue, topic string, done <-chan struct{}, h func(ctx context.Context, m queue.Message[string]) error) {
	t.Helper()
	sub, err := queue.NewSubscription(q, topic, "g", queue.Handle(h), queue.SubscriptionConfig{Retry: queue.Retry{Base: time.Nanosecond, Max: time.Nanosecond}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	select {
	case <-done:
	case <-ctx.Done():
		t.Error("it was not handled")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestMessagesAreTracedFromWhoPublishedThem(t *testing.T) {
	engine := memqueue.New(memqueue.Config{})
	defer engine.Close()
	if err := engine.Declare(t.Context(), driver.Topic{Name: "paid", Groups: []string{"g"}}); err != nil {
		t.Fatal(err)
	}
	from, to := open(t, "orders", telemetry.Config{Ratio: 1}), open(t, "shipping", telemetry.Config{})
	defer from.Shutdown(context.Background())
	defer to.Shutdown(context.Background())

	ctx, request := from.TracerProvider().Tracer("test").Start(t.Context(), "request")
	if err := queueOf(from, engine).Publish(ctx, "paid", "x", queue.ID("m1")); err != nil {
		t.Fatal(err)
	}
	kept, err := queue.NewMessage(ctx, "test", "paid", "y", from.Queue("memory"), queue.ID("m2"))
	if err != nil {
		t.Fatal(err)
	}
	request.End()
	if errs := queueOf(from, engine).PublishMessages(t.Context(), "paid", []*driver.Message{kept}); errs != nil {
		t.Fatal(errs)
	}
	done := make(chan struct{})
	var n atomic.Int64
	handled(t, queueOf(to, engine), "paid", done, func(ctx context.Context, m queue.Message[string]) error {
		parent, _ := queue.TraceParent(ctx)
		if span := trace.SpanContextFromContext(ctx); !strings.Contains(parent, span.SpanID().String()) {
			t.Errorf("an outbox would take along %q, of the span %s", parent, span.SpanID())
		}
		if m.ID == "m1" && m.Attempt == 1 {
			return errors.New("broken")
		}
		if n.Add(1) == 2 {
			close(done)
		}
		return nil
	})

	sent := from.spans(t).of(trace.SpanKindProducer)
	if got := sent.names(); len(got) != 2 || got[0] != "producer publish paid" {
		t.Fatalf("got %q", got)
	}
	for _, s := range sent {
		below(t, s, from.spans(t).of(trace.SpanKindInternal)[0])
	}
	want(t, sent[0], map[string]any{"messaging.message.id": "m1", "messaging.system": "memory", "messaging.destination.name": "paid"})
	want(t, sent[1], map[string]any{"messaging.message.id": "m2", "holdfast.message.outbox": true})
	got := to.spans(t).of(trace.SpanKindConsumer)
	if len(got) != 3 {
		t.Fatalf("got %q", got.names())
	}
	attempts := 0
	for _, s := range got {
		switch attributes(s)["messaging.message.id"] {
		case "m1":
			attempts++
			below(t, s, sent[0])
		case "m2":
			below(t, s, sent[1])
			want(t, s, map[string]any{"holdfast.message.verdict": "done", "holdfast.message.attempt": int64(1), "messaging.consumer.group.name": "g"})
		}
	}
	if attempts != 2 {
		t.Errorf("%d attempts of m1", attempts)
	}
}

// Of what was not chosen, attempts that failed and those after them are kept all the same, and what went well is not.
func TestRetriesAndDeadLettersAreKept(t *testing.T) {
	engine := memqueue.New(memqueue.Config{})
	defer engine.Close()
	if err := engine.Declare(t.Context(), driver.Topic{Name: "paid", Groups: []string{"g"}}); err != nil {
		t.Fatal(err)
	}
	p := open(t, "shipping", telemetry.Config{})
	defer p.Shutdown(context.Background())
	q := queueOf(p, engine)
	for _, id := range []string{"well", "again", "bad"} {
		if err := q.Publish(t.Context(), "paid", "x", queue.ID(id)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	var n atomic.Int64
	handled(t, q, "paid", done, func(_ context.Context, m queue.Message[string]) error {
		if n.Add(1) == 4 {
			close(done)
		}
		switch {
		case m.ID == "bad":
			return queue.Reject(errors.New("it is bad"))
		case m.ID == "again" && m.Attempt == 1:
			return errors.New("broken")
		}
		return nil
	})
	verdicts := make(map[string]int)
	for _, s := range p.spans(t).of(trace.SpanKindConsumer) {
		a := attributes(s)
		verdicts[a["messaging.message.id"].(string)+" "+a["holdfast.message.verdict"].(string)]++
		if a["holdfast.message.verdict"] == "dead" {
			want(t, s, map[string]any{"holdfast.message.reason": "rejected by its handler", "exception.message": "it is bad"})
		}
	}
	if len(verdicts) != 3 || verdicts["again retry"] != 1 || verdicts["again done"] != 1 || verdicts["bad dead"] != 1 {
		t.Errorf("got %v", verdicts)
	}

	page := httptest.NewRecorder()
	p.Metrics().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		`holdfast_queue_dead_total{group="g",topic="paid"} 1`,
		`holdfast_queue_handled_total{group="g",outcome="done",topic="paid"} 2`,
		`holdfast_queue_handled_total{group="g",outcome="failed",topic="paid"} 2`,
		`holdfast_queue_retried_total{group="g",topic="paid"} 1`,
		`messaging_client_sent_messages_total{messaging_destination_name="paid",messaging_operation_name="publish",messaging_system="memory"} 3`,
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(page.Body.String(), line) {
			t.Errorf("%s is not in\n%s", line, page.Body)
		}
	}
}

// While the engine does not answer nobody knows how far behind a group is. The last that was known would look like all being well.
func TestALagThatNobodyKnowsIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t, "shipping", telemetry.Config{})
		q := p.Queue("memory")
		told := func() map[string]bool {
			page := httptest.NewRecorder()
			p.Metrics().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			found := make(map[string]bool)
			for _, series := range []string{"lag", "letters", "slowed"} {
				found[series] = strings.Contains(page.Body.String(), "holdfast_queue_"+series+`{group="g",topic="paid"} `)
			}
			return found
		}
		q.Observe(queue.Event{Kind: queue.Behind, Topic: "paid", Group: "g", Lag: driver.Lag{Waiting: 7, Dead: 1}})
		<-time.After(30 * time.Second)
		if got := told(); !got["lag"] || !got["letters"] || !got["slowed"] {
			t.Errorf("after two reports that did not come: %v", got)
		}
		<-time.After(30 * time.Second)
		if got := told(); got["lag"] || got["letters"] || !got["slowed"] {
			t.Errorf("after a minute without a report: %v", got)
		}
	})
}
