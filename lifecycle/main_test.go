package lifecycle_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transcript records what happened when, by the bubble's clock.
type transcript struct {
	begin time.Time
	mu    sync.Mutex
	lines []string
}

func newTranscript() *transcript { return &transcript{begin: time.Now()} }

func (r *transcript) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%v %s", time.Since(r.begin), fmt.Sprintf(format, args...)))
}

func (r *transcript) expect(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	got := strings.Join(r.lines, "\n")
	if want := strings.Join(want, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// part is a component that writes down what is done to it. Zero durations and nil functions do nothing.
type part struct {
	*transcript
	name      string
	readyTime time.Duration
	drain     func(ctx context.Context) error
	after     time.Duration // how long it takes to stop
	run       func(ctx context.Context) error

	ready chan struct{}
}

func (r *transcript) part(name string, change ...func(*part)) *part {
	p := &part{transcript: r, name: name, ready: make(chan struct{})}
	for _, c := range change {
		c(p)
	}
	return p
}

func (p *part) Name() string           { return p.name }
func (p *part) Ready() <-chan struct{} { return p.ready }

func (p *part) Run(ctx context.Context) error {
	p.add("%s starts", p.name)
	if p.run != nil {
		close(p.ready)
		return p.run(ctx)
	}
	if !pause(ctx, p.readyTime) {
		p.add("%s stops unready", p.name)
		return nil
	}
	close(p.ready)
	<-ctx.Done()
	p.add("%s stops", p.name)
	pause(context.Background(), p.after)
	return ctx.Err()
}

// Drain makes every part a Drainer; parts without a drain function are wrapped by quiet in tests where it matters.
func (p *part) Drain(ctx context.Context) error {
	p.add("%s drains", p.name)
	if p.drain != nil {
		return p.drain(ctx)
	}
	return nil
}

// quiet hides Drain.
type quiet struct{ p *part }

func (q quiet) Name() string                  { return q.p.name }
func (q quiet) Ready() <-chan struct{}        { return q.p.ready }
func (q quiet) Run(ctx context.Context) error { return q.p.Run(ctx) }

// pause lets time pass in a bubble; it reports false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// logs is a logger for tests that keeps its lines without their time.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

var silent = slog.New(slog.DiscardHandler)

// runFor runs the components and ends their context after d.
func runFor(d time.Duration, c lifecycle.Config, components ...lifecycle.Component) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if c.Logger == nil {
		c.Logger = silent
	}
	return c.Run(ctx, components...)
}
