package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// stuck does not send before it is let go on, and then fails.
type stuck struct {
	release chan struct{}
	sent    atomic.Int64
	stopped atomic.Bool
}

func (s *stuck) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	s.sent.Add(int64(len(spans)))
	return errors.New("nobody there")
}

func (s *stuck) Shutdown(context.Context) error {
	s.stopped.Store(true)
	return nil
}

func TestASlowReceiverSlowsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		var mu sync.Mutex
		var dropped atomic.Uint64
		s := &stuck{release: make(chan struct{})}
		b := newBatch(s, &dropped, slog.New(slog.NewTextHandler(locked{&mu, &lines}, nil)))
		start := time.Now()
		const n = 3 * maxQueued
		one := newSnapshot()
		for range n {
			b.add(one)
		}
		synctest.Wait()
		if since := time.Since(start); since > 0 {
			t.Errorf("adding took %v", since)
		}
		if got := dropped.Load(); got < n-maxQueued-2*maxBatch {
			t.Errorf("%d of %d dropped", got, n)
		}
		close(s.release)
		if err := b.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := dropped.Load(); got != n {
			t.Errorf("%d of %d counted as dropped", got, n)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Count(lines.String(), "spans cannot be sent"); got != 1 {
			t.Errorf("%d lines:\n%s", got, lines.String())
		}
	})
}

type locked struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// What has to be sent when a process stops is waited for only so long.
func TestShutdownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		s := &stuck{release: make(chan struct{})}
		b := newBatch(s, &dropped, slog.New(slog.DiscardHandler))
		b.add(newSnapshot())
		<-time.After(2 * sendAfter)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		<-b.done // what was being sent is broken off
		if !s.stopped.Load() {
			t.Error("the exporter was not stopped")
		}
	})
}

func TestSpansAreSentWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		s := &stuck{release: make(chan struct{})}
		close(s.release)
		b := newBatch(s, &dropped, slog.New(slog.DiscardHandler))
		b.add(newSnapshot())
		<-time.After(sendAfter + time.Millisecond)
		synctest.Wait()
		if s.sent.Load() != 1 {
			t.Error(s.sent.Load())
		}
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
