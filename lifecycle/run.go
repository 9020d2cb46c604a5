package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	defaultDrainDelay  = 2 * time.Second
	defaultStopTimeout = 25 * time.Second
	// maxDrainCall bounds the Drain calls: a registry that is down must not keep the service from stopping.
	maxDrainCall = 2 * time.Second
	// graceOfDrain is for Drain calls that return when their context ends, so that their error is seen.
	graceOfDrain = 100 * time.Millisecond
)

// errExited stands for a component that left its goroutine with runtime.Goexit.
var errExited = errors.New("goroutine exited")

// Config says how Run stops. The zero value is good.
type Config struct {
	// DrainDelay is the time between the end of the Drain calls and the first stop: how long others need to notice.
	// Too short, and requests arrive at a closed door. It is not waited for when no component is a Drainer or when the
	// start failed. Default 2 s; negative means none.
	DrainDelay time.Duration
	// StopTimeout bounds Drain calls and stops together, DrainDelay not included. It should be shorter than what the
	// platform waits before it kills. Default 25 s.
	StopTimeout time.Duration
	// StartTimeout bounds the time until all components are ready. Zero means no bound.
	StartTimeout time.Duration
	// Logger receives one line for each phase, failed Drain calls, and panics with their stacks. Default slog.Default().
	Logger *slog.Logger
}

// Run is Config{}.Run.
func Run(ctx context.Context, components ...Component) error {
	return Config{}.Run(ctx, components...)
}

// Run starts the components in order, each after the one before is ready, and blocks until all have stopped. It stops
// them when ctx is done, when one returns (nil or an error) or panics, or when the start takes too long; the
// package comment has the sequence. Run returns within DrainDelay + StopTimeout of that.
//
// The error is nil if ctx ended and everything stopped cleanly in time. Otherwise it names the component that returned
// first, then those that failed while they stopped, then those that were still running when Run gave up on them;
// their goroutines are leaked. A component that returns nil early stops all without being an error.
// A Drain that fails is logged, not returned: the service stops all the same.
//
// The components' contexts have the values of ctx, but are canceled in the order of the stop.
func (c Config) Run(ctx context.Context, components ...Component) error {
	r := c.newRun(ctx, components)
	err := r.start(ctx)
	if err == nil {
		err = r.wait(ctx)
	}
	return errors.Join(err, r.stop())
}

// run is one call of Run. Only Run's own goroutine touches it; tasks report by closing done and by sending to exits.
type run struct {
	log          *slog.Logger
	delay        time.Duration // ≥ 0
	stopTimeout  time.Duration
	startTimeout time.Duration
	base         context.Context // the values of Run's ctx, never done

	pending []Component
	tasks   []*task    // started, in order
	exits   chan *task // buffered for all: nobody waits to report
	first   *task      // returned without being asked to, or nil
	started bool       // all of them
}

// task is one call, of Run or of Drain, in a goroutine of its own.
type task struct {
	component Component
	cancel    context.CancelFunc
	done      chan struct{} // closed after err is set
	err       error
}

func (t *task) running() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

// spawn calls fn; exited, if not nil, is called after done is closed.
func spawn(c Component, cancel context.CancelFunc, fn func() error, exited func(*task)) *task {
	t := &task{component: c, cancel: cancel, done: make(chan struct{}), err: errExited}
	go func() {
		defer func() {
			close(t.done)
			if exited != nil {
				exited(t)
			}
		}()
		t.err = Recover(fn)
	}()
	return t
}

func (c Config) newRun(ctx context.Context, components []Component) *run {
	r := &run{
		log:          c.Logger,
		delay:        max(0, c.DrainDelay),
		stopTimeout:  c.StopTimeout,
		startTimeout: c.StartTimeout,
		base:         context.WithoutCancel(ctx),
		pending:      components,
		exits:        make(chan *task, len(components)),
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	if c.DrainDelay == 0 {
		r.delay = defaultDrainDelay
	}
	if r.stopTimeout <= 0 {
		r.stopTimeout = defaultStopTimeout
	}
	return r
}

// start returns nil when all are ready or when it is time to stop without an error.
func (r *run) start(ctx context.Context) error {
	var late <-chan time.Time
	if r.startTimeout > 0 {
		timer := time.NewTimer(r.startTimeout)
		defer timer.Stop()
		late = timer.C
	}
	for _, c := range r.pending {
		if ctx.Err() != nil {
			return nil
		}
		r.launch(c)
		select {
		case <-readyOf(c):
		case r.first = <-r.exits:
			r.delay = 0 // nobody counts on a service that never was complete
			r.tellPanics(r.first)
			return r.first.failure()
		case <-ctx.Done():
			return nil // with the delay: what is ready may have been found already
		case <-late:
			r.delay = 0
			return fmt.Errorf("start %s: not ready within %v", nameOf(c), r.startTimeout)
		}
	}
	r.started = true
	return nil
}

func (r *run) launch(c Component) {
	ctx, cancel := context.WithCancel(r.base)
	r.tasks = append(r.tasks, spawn(c, cancel,
		func() error { return c.Run(ctx) },
		func(t *task) { r.exits <- t }))
}

// wait blocks until it is time to stop.
func (r *run) wait(ctx context.Context) error {
	if !r.started || len(r.tasks) == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case r.first = <-r.exits:
		r.tellPanics(r.first)
		return r.first.failure()
	}
}

func (t *task) failure() error {
	if t.err == nil {
		return nil
	}
	return fmt.Errorf("run %s: %w", nameOf(t.component), t.err)
}

// tellPanics logs the panics that t's error has in it: their stacks are not in the text of an error that is wrapped.
func (r *run) tellPanics(t *task) {
	for _, p := range panics(t.err) {
		r.log.Error("component panicked", "component", nameOf(t.component), "error", p)
	}
}
