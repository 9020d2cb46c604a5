package queue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
)

// world is an engine in memory and a Queue on it, in virtual time.
type world struct {
	t      *testing.T
	engine *memqueue.Engine
	q      *queue.Queue
	log    *logBuffer
	events events
}

func newWorld(t *testing.T, change ...func(*queue.Config)) *world {
	w := &world{t: t, engine: memqueue.New(memqueue.Config{}), log: &logBuffer{}}
	cfg := queue.Config{Source: "test", Instance: "one", Logger: w.logger(), Observer: &w.events}
	for _, f := range change {
		f(&cfg)
	}
	w.q = queue.New(w.engine, cfg)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", w.log)
		}
		ok(t, w.q.Close())
		ok(t, w.engine.Close())
	})
	return w
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// logBuffer is what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// events counts what an Observer is told.
type events struct {
	mu  sync.Mutex
	all []queue.Event
}

func (e *events) Observe(event queue.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// count is the sum of the counts of a kind, of those with or without an error.
func (e *events) count(kind queue.EventKind, failed bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, event := range e.all {
		if event.Kind == kind && (event.Err != nil) == failed {
			n += event.Count
		}
	}
	return n
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a subscription until the returned function is called, or the test ends.
func (w *world) run(q *queue.Queue, topic, group string, h queue.Handler, cfg queue.SubscriptionConfig) (s *queue.Subscription, stop func()) {
	w.t.Helper()
	s, err := queue.NewSubscription(q, topic, group, h, cfg)
	ok(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("run: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return s, stop
}

// declare makes sure that a topic and its groups exist.
func (w *world) declare(topic string, groups ...string) {
	w.t.Helper()
	ok(w.t, w.engine.Declare(w.t.Context(), driver.Topic{Name: topic, Groups: groups}))
}

// dead are a group's dead letters.
func (w *world) dead(topic, group string) []queue.DeadLetter {
	w.t.Helper()
	letters, err := w.q.DeadLetters(topic, group).List(w.t.Context(), "", 1000)
	ok(w.t, err)
	return letters
}

// lag is how far a group is behind.
func (w *world) lag(topic, group string) driver.Lag {
	w.t.Helper()
	lag, err := w.q.Lag(w.t.Context(), topic, group)
	ok(w.t, err)
	return lag
}

// journal is what handlers did.
type journal struct {
	mu   sync.Mutex
	list []string
	at   []time.Time
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, s)
	j.at = append(j.at, time.Now())
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.list...)
}

func (j *journal) times() []time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]time.Time(nil), j.at...)
}

var errBroken = errors.New("broken")

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }
