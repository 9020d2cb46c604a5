package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/holdfast-go/holdfast/lifecycle"
)

const (
	// maxQueued is how many spans wait to be sent at most; what is beyond is dropped.
	maxQueued = 8192
	// maxBatch is how many are sent at a time, or as many as have so many bytes.
	maxBatch      = 512
	maxBatchBytes = 1 << 20
	// sendAfter is how long a span waits for others at most.
	sendAfter = time.Second
	// sendTimeout bounds one sending.
	sendTimeout = 10 * time.Second
	// complainEvery is the time between two lines about what cannot be sent.
	complainEvery = time.Minute
)

// batch sends spans, many at a time, in a goroutine of its own. Whoever adds one never waits: where the receiver is slow or
// gone, spans are dropped and counted. It is a SpanProcessor for the spans that the SDK makes.
//
// Spans for OTLP are written at once, so what waits for others is bytes; for any other exporter they wait as they are.
type batch struct {
	exporter sdktrace.SpanExporter
	otlp     *otlp // the exporter, if it is one
	dropped  *atomic.Uint64
	complain *complaint

	mu    sync.Mutex
	full  []*load // oldest first
	last  *load   // that is being filled
	spare *load   // that was sent, for its memory
	over  bool

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
		last: new(load), wake: make(chan struct{}, 1), flush: make(chan chan struct{}),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	b.otlp, _ = exporter.(*otlp)
	b.sending, b.cancel = context.WithCancel(context.Background())
	go b.run()
	return b
}

// load is what is sent at once: the one or the other.
type load struct {
	parcel parcel
	spans  []sdktrace.ReadOnlySpan
}

func (l *load) len() int { return l.parcel.spans + len(l.spans) }

func (l *load) full() bool { return l.len() >= maxBatch || l.parcel.size >= maxBatchBytes }

// add has s sent, or drops it. Hardly ever it wakes who sends: for the first that waits, and whenever there are enough.
func (b *batch) add(s sdktrace.ReadOnlySpan) {
	if !b.room() {
		return
	}
	if b.otlp == nil {
		b.put(func(l *load) { l.spans = append(l.spans, s) })
		return
	}
	w := write(s)
	b.put(func(l *load) { l.parcel.add(w) })
	w.recycle()
}

// room reports whether another span is taken. One that is not is counted.
func (b *batch) room() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.roomLocked()
}

func (b *batch) roomLocked() bool {
	if b.over {
		return false
	}
	if len(b.full) == maxQueued/maxBatch {
		b.dropped.Add(1)
		return false
	}
	return true
}

// put takes a span, if there still is room for it.
func (b *batch) put(into func(*load)) {
	b.mu.Lock()
	if !b.roomLocked() {
		b.mu.Unlock()
		return
	}
	into(b.last)
	first, full := b.last.len() == 1 && len(b.full) == 0, b.last.full()
	if full {
		b.full = append(b.full, b.last)
		b.begin()
	}
	b.mu.Unlock()
	if first || full {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// take returns what is to be sent next, or nil: what is full, and then, if it is to be all, what is not; that is the last.
func (b *batch) take(all bool) (l *load, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.full) > 0 {
		l := b.full[0]
		b.full = slices.Delete(b.full, 0, 1)
		return l, false
	}
	if l := b.last; all && l.len() > 0 {
		b.begin()
		return l, true
	}
	return nil, false
}

// begin has spans wait in another one. b.mu is held.
func (b *batch) begin() {
	b.last = b.spare
	if b.spare = nil; b.last == nil {
		b.last = new(load)
	}
}

// sent has l used again.
func (b *batch) sent(l *load) {
	l.parcel.empty()
	clear(l.spans)
	l.spans = l.spans[:0]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spare = l
}

func (b *batch) run() {
	defer close(b.done)
	var due <-chan time.Time
	// All is what there is now: what comes while it is being sent waits for others.
	send := func(all bool) {
		for {
			l, last := b.take(all)
			if l == nil {
				return
			}
			if b.send(b.sending, l) {
				b.sent(l)
			}
			all = all && !last
		}
	}
	for {
		select {
		case <-b.wake:
			send(false)
			if due == nil {
				due = time.After(sendAfter)
			}
		case <-due:
			due = nil
			send(true)
		case reply := <-b.flush:
			send(true)
			close(reply)
		case <-b.stop:
			send(true)
			return
		}
	}
}

// send reports whether l was sent.
func (b *batch) send(ctx context.Context, l *load) bool {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := lifecycle.Recover(func() error {
		if b.otlp != nil {
			return b.otlp.send(ctx, &l.parcel)
		}
		return b.exporter.ExportSpans(ctx, l.spans)
	})
	if err != nil {
		b.dropped.Add(uint64(l.len())) //nolint:gosec // not negative
		b.complain.say(err)
	}
	return err == nil
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
