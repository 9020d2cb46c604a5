package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	defaultMinBackoff = 100 * time.Millisecond
	defaultMaxBackoff = 30 * time.Second
	defaultResetAfter = time.Minute
	defaultCrashLoop  = 5
)

// errAlreadyRun is the answer to a second Run.
var errAlreadyRun = errors.New("supervisor run: already run")

// SupervisorConfig says how failed tasks are restarted. The zero value is good.
type SupervisorConfig struct {
	// MinBackoff is the shortest pause before a restart and the unit of the exponential: the n-th restart in a row waits
	// for a random time up to MinBackoff * 2^n (full jitter), at most MaxBackoff, at least MinBackoff.
	// Defaults 100 ms and 30 s.
	MinBackoff, MaxBackoff time.Duration
	// ResetAfter is how long a run has to last to be counted as a success, from which the backoff begins anew.
	// Shorter than a task takes to fail, and it never backs off. Default 1 min.
	ResetAfter time.Duration
	// CrashLoop is the number of failures in a row from which on a task counts as crash looping. Default 5.
	CrashLoop int
	// Logger receives a warning for each failure up to the crash loop, one error when that begins, nothing more while it
	// lasts, and one line when it is over. Default slog.Default().
	Logger *slog.Logger
}

// Supervisor is a Component that runs tasks: it restarts those that fail, for ever but ever more slowly, and contains
// their panics. Its methods may be called from any goroutine.
type Supervisor struct {
	cfg SupervisorConfig

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before. Tasks added later start under it.
	ended bool            // no task starts any more
	tasks []*supervised   // not done; in the order of Go
	wg    sync.WaitGroup  // of those that were started; Add only while !ended
}

// supervised is one task. Its state is guarded by the Supervisor's mu.
type supervised struct {
	fn    func(ctx context.Context) error
	state TaskState
}

// TaskState is what is known of a task that is not done.
type TaskState struct {
	Name string
	// Running is false before Run and during the pause before a restart.
	Running bool
	// Restarts counts all of them; it is never reset.
	Restarts int
	// LastError is what the last failed run returned, a *PanicError if it panicked; nil if none failed.
	LastError error
	// Since is the time of the last change of Running.
	Since time.Time
	// CrashLooping says that the last CrashLoop runs all failed soon. A run that lasts ends it.
	CrashLooping bool
}

// NewSupervisor returns a Supervisor without tasks.
func NewSupervisor(cfg SupervisorConfig) *Supervisor {
	if cfg.MinBackoff <= 0 {
		cfg.MinBackoff = defaultMinBackoff
	}
	if cfg.MaxBackoff <= 0 {
		cfg.MaxBackoff = defaultMaxBackoff
	}
	cfg.MaxBackoff = max(cfg.MinBackoff, cfg.MaxBackoff)
	if cfg.ResetAfter <= 0 {
		cfg.ResetAfter = defaultResetAfter
	}
	if cfg.CrashLoop <= 0 {
		cfg.CrashLoop = defaultCrashLoop
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Supervisor{cfg: cfg}
}

// Go adds a task. It starts with Run, or at once if Run runs; after the stop has begun it never does. fn returns nil when it
// is done for good, and then is forgotten; an error or a panic restarts it. It must return soon after ctx is done.
// The name is for logs and States and need not be unique. Tasks are for what lasts: nothing bounds their number.
func (s *Supervisor) Go(name string, fn func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	t := &supervised{fn: fn, state: TaskState{Name: name, Since: time.Now()}}
	s.tasks = append(s.tasks, t)
	if s.ctx != nil {
		s.start(s.ctx, t)
	}
}

// Run runs the tasks until ctx is done, then waits for all of them. It returns nil, whatever happened to the tasks; it
// does not return early when there are none left. It may be called once.
func (s *Supervisor) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.ctx != nil {
		s.mu.Unlock()
		return errAlreadyRun
	}
	s.ctx = ctx
	for _, t := range s.tasks {
		s.start(ctx, t)
	}
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Name is "tasks" with the names of those that are not done, so that an error of Run says which of them hangs.
func (s *Supervisor) Name() string {
	const most = 8
	var names []string
	for _, t := range s.States() {
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return "tasks"
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return "tasks (" + strings.Join(names, ", ") + ")"
}

// States returns the state of every task that is not done, in the order of Go. The slice is the caller's.
func (s *Supervisor) States() []TaskState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]TaskState, len(s.tasks))
	for i, t := range s.tasks {
		states[i] = t.state
	}
	return states
}

// start needs mu.
func (s *Supervisor) start(ctx context.Context, t *supervised) {
	s.wg.Go(func() {
		defer s.forget(t)
		s.supervise(ctx, t)
	})
}

func (s *Supervisor) forget(t *supervised) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks = slices.DeleteFunc(s.tasks, func(o *supervised) bool { return o == t })
}

// supervise runs t until it is done or ctx is.
func (s *Supervisor) supervise(ctx context.Context, t *supervised) {
	log := s.cfg.Logger.With("task", t.state.Name)
	for failures := 0; ; {
		began := s.began(t)
		err := s.once(ctx, t, log)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			if !errors.Is(err, context.Canceled) {
				log.Warn("task failed while it stopped", "error", err)
			}
			return
		}
		if time.Since(began) >= s.cfg.ResetAfter {
			failures = 0
		}
		failures++
		s.failed(t, err, failures)
		pause := s.cfg.pause(failures)
		switch {
		case failures < s.cfg.CrashLoop:
			log.Warn("task failed, restarting", "error", err, "pause", pause)
		case failures == s.cfg.CrashLoop:
			log.Error("task is crash looping", "error", err, "failures", failures)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// once runs the task's function and, while that lasts, watches for the moment from which on it counts as recovered.
func (s *Supervisor) once(ctx context.Context, t *supervised, log *slog.Logger) error {
	recovered := time.AfterFunc(s.cfg.ResetAfter, func() { s.recovered(t, log) })
	defer recovered.Stop()
	return Recover(func() error { return t.fn(ctx) })
}

func (s *Supervisor) began(t *supervised) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.state.Running, t.state.Since = true, time.Now()
	return t.state.Since
}

func (s *Supervisor) failed(t *supervised, err error, failures int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.state.Running, t.state.Since = false, time.Now()
	t.state.LastError = err
	t.state.Restarts++
	t.state.CrashLooping = failures >= s.cfg.CrashLoop
}

func (s *Supervisor) recovered(t *supervised, log *slog.Logger) {
	s.mu.Lock()
	was := t.state.CrashLooping
	t.state.CrashLooping = false
	s.mu.Unlock()
	if was {
		log.Info("task recovered")
	}
}

// pause is the wait after the n-th failure in a row, n ≥ 1: full jitter, which spreads those that failed together the
// widest (AWS, "Exponential Backoff And Jitter"), but never shorter than MinBackoff, so that the rate has a bound and
// not only an average.
func (c SupervisorConfig) pause(n int) time.Duration {
	ceiling := c.MaxBackoff
	if shift := min(n, 62); c.MinBackoff <= c.MaxBackoff>>shift {
		ceiling = c.MinBackoff << shift
	}
	return max(c.MinBackoff, rand.N(ceiling)) //nolint:gosec // jitter is no secret
}
