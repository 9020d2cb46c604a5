package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/holdfast-go/holdfast/lifecycle"
)

const (
	// maxQueued is how many spans wait to be sent at most; what is beyond is dropped.
	maxQueued = 8192
	// maxBatch is how many are sent at a time.
	maxBatch = 512
	// sendAfter is how long a span waits for others at most.
	sendAfter = time.Second
	// sendTimeout bounds one sending.
	sendTimeout = 10 * time.Second
	// complainEvery is the time between two lines about what cannot be sent.
	complainEvery = time.Minute
)

// batch sends spans, many at a time, in a goroutine of its own. Whoever adds one never waits: where the receiver is slow or
// gone, spans are dropped and counted. It is a SpanProcessor for the spans that the SDK makes.
type batch struct {
	exporter sdktrace.SpanExporter
	dropped  *atomic.Uint64
	complain *complaint

	mu      sync.Mutex
	waiting []sdktrace.ReadOnlySpan
	over    bool

	wake  chan struct{}
	flush chan chan struct{}
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	sending context.Context //nolint:containedctx // of what is sent; it ends with Shutdown
	cancel  context.CancelFunc
	stopped sync.Once
	err     error // of stopping the exporter
}

func newBatch(exporter sdktrace.SpanExporter, dropped *atomic.Uint64, log *slog.Logger) *batch {
	b := &batch{
		exporter: exporter, dropped: dropped, complain: &complaint{log: log, what: "spans cannot be sent"},
		wake: make(chan struct{}, 1), flush: make(chan chan struct{}),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	b.sending, b.cancel = context.WithCancel(context.Background())
	go b.run()
	return b
}

// add has s sent, or drops it. Hardly ever it wakes who sends: for the first that waits, and whenever there are enough.
func (b *batch) add(s sdktrace.ReadOnlySpan) {
	b.mu.Lock()
	n := len(b.waiting)
	switch {
	case b.over:
		b.mu.Unlock()
		return
	case n == maxQueued:
		b.mu.Unlock()
		b.dropped.Add(1)
		return
	}
	b.waiting = append(b.waiting, s)
	b.mu.Unlock()
	if n == 0 || (n+1)%maxBatch == 0 {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// take moves spans that wait to room, as many as it has capacity for, if there are at least so many.
func (b *batch) take(room []sdktrace.ReadOnlySpan, least int) []sdktrace.ReadOnlySpan {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), cap(room))
	if n < least {
		return room[:0]
	}
	room = append(room[:0], b.waiting[:n]...)
	left := copy(b.waiting, b.waiting[n:])
	clear(b.waiting[left:])
	b.waiting = b.waiting[:left]
	return room
}

func (b *batch) run() {
	defer close(b.done)
	room := make([]sdktrace.ReadOnlySpan, 0, maxBatch)
	var due <-chan time.Time
	send := func(least int) {
		for {
			if room = b.take(room, least); len(room) == 0 {
				return
			}
			b.send(b.sending, room)
			clear(room)
		}
	}
	for {
		select {
		case <-b.wake:
			send(maxBatch)
			if due == nil {
				due = time.After(sendAfter)
			}
		case <-due:
			due = nil
			send(1)
		case reply := <-b.flush:
			send(1)
			close(reply)
		case <-b.stop:
			send(1)
			return
		}
	}
}

func (b *batch) send(ctx context.Context, spans []sdktrace.ReadOnlySpan) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := lifecycle.Recover(func() error { return b.exporter.ExportSpans(ctx, spans) })
	if err != nil {
		b.dropped.Add(uint64(len(spans)))
		b.complain.say(err)
	}
}

// OnStart implements sdktrace.SpanProcessor.
func (b *batch) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (b *batch) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		b.add(s)
	}
}

// ForceFlush implements sdktrace.SpanProcessor.
func (b *batch) ForceFlush(ctx context.Context) error {
	reply := make(chan struct{})
	select {
	case b.flush <- reply:
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-reply:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown implements sdktrace.SpanProcessor: it sends what there is, until ctx ends, then breaks off what is being sent, and
// stops the exporter in any case. It may be called more than once.
func (b *batch) Shutdown(ctx context.Context) error {
	b.end()
	var late error
	select {
	case <-b.done:
	case <-ctx.Done():
		select {
		case <-b.done:
		default:
			late = fmt.Errorf("spans were not sent in time: %w", context.Cause(ctx))
		}
	}
	b.cancel()
	b.stopped.Do(func() { b.err = b.exporter.Shutdown(ctx) })
	return errors.Join(late, b.err)
}

// complaint is a line of the log that is written at most once a minute.
type complaint struct {
	log  *slog.Logger
	what string
	last atomic.Int64 // Unix nanoseconds
}

func (c *complaint) say(err error) {
	now := time.Now().UnixNano()
	last := c.last.Load()
	if (last == 0 || now-last >= int64(complainEvery)) && c.last.CompareAndSwap(last, now) {
		c.log.Warn("telemetry: "+c.what, slog.Any("error", err))
	}
}

// end has run send what there is, and end. It may be called more than once.
func (b *batch) end() {
	b.once.Do(func() {
		b.mu.Lock()
		b.over = true
		b.mu.Unlock()
		close(b.stop)
	})
}
