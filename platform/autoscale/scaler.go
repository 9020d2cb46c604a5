package autoscale

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

// interval is how often a decision is made: as often as processes say how they are.
const interval = 500 * time.Millisecond

// System is what is scaled. Its methods are called at once.
type System interface {
	// Instances lists what runs now, and Stats what the processes last said; both answer from memory.
	Instances() []control.Instance
	Stats() control.Stats
	// Replicas is how many instances of a service there should be by now.
	Replicas(service string) int
	// Scale sets how many there should be and returns when that is reached: added ones serve, removed ones have drained and
	// ended. When ctx ends before, the number stays in force. why is for people.
	Scale(ctx context.Context, service string, replicas int, why string) error
}

// Config says what to scale. System and Policies are required.
type Config struct {
	System   System
	Policies map[string]scale.Policy // by service
	// Lag returns how many messages wait for a group of a topic. nil: that is not known.
	Lag func(ctx context.Context, topic, group string) (int64, error)
	// Tell is told, in a line for people, what keeps a service from being scaled, once for each time that begins. nil: nobody.
	Tell func(service, message string)
	// Processors is how many this machine has for all services. Default: those that this process may use.
	Processors float64
	Logger     *slog.Logger // default: discarded

	kernel *kernel // default: this machine's
}

// Scaler scales the services of one system. It is a lifecycle Component. Methods other than Run may be called at once, also
// before and after Run, and on a nil Scaler, which scales nothing.
type Scaler struct {
	cfg   Config
	meter *meter
	polls map[string][]poll // by service, in the order of its targets; nil for those that are not polled

	mu       sync.Mutex
	services map[string]*service
}

// New returns a Scaler. The error names everything that is wrong with the policies.
func New(cfg Config) (*Scaler, error) {
	if cfg.Tell == nil {
		cfg.Tell = func(string, string) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Processors == 0 {
		cfg.Processors = float64(runtime.GOMAXPROCS(0))
	}
	if cfg.kernel == nil {
		cfg.kernel = machine()
	}
	s := &Scaler{
		cfg: cfg, meter: newMeter(cfg.kernel, cfg.Processors),
		polls: make(map[string][]poll), services: make(map[string]*service),
	}
	for name, p := range cfg.Policies {
		if err := p.Validate(); err != nil {
			return nil, failure.Wrap(err, failure.InvalidArgument, "autoscale %s: %s", name, err.Error())
		}
		s.services[name] = &service{name: name, policy: p, holds: make(map[*hold]struct{})}
		s.polls[name] = s.pollsOf(name, p)
	}
	return s, nil
}

// Name implements lifecycle.Namer.
func (s *Scaler) Name() string { return "autoscale" }

// Run scales until ctx ends, and returns when nothing that it began is under way any more.
func (s *Scaler) Run(ctx context.Context) error {
	var joined sync.WaitGroup
	defer joined.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, polls := range s.polls {
		for _, p := range polls {
			if p != nil {
				joined.Go(func() { p.run(ctx) })
			}
		}
	}
	names := slices.Sorted(maps.Keys(s.services))
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		seen := s.look(time.Now())
		for _, name := range names {
			s.decide(ctx, &joined, name, seen)
		}
	}
}

// view is the system at one time.
type view struct {
	now       time.Time
	instances []control.Instance
	stats     map[string]control.InstanceStats
	cpu       map[string]float64 // processors in use, by instance
	full      bool
	kernel    *kernel
}

// said is what the process of an instance says of itself; ok is false if it has not said anything of late.
func (v view) said(i control.Instance) (s control.InstanceStats, ok bool) {
	s = v.stats[i.ID]
	return s, v.kernel.says(i.PID, s, v.now)
}

func (s *Scaler) look(now time.Time) view {
	v := view{now: now, instances: s.cfg.System.Instances(), kernel: s.cfg.kernel}
	said := s.cfg.System.Stats()
	v.stats = said.Instances
	v.cpu, v.full = s.meter.read(now, v.instances, said)
	return v
}

// decide makes one decision about a service, and begins to act on it.
func (s *Scaler) decide(ctx context.Context, joined *sync.WaitGroup, name string, v view) {
	for _, message := range s.begin(ctx, joined, name, s.cfg.System.Replicas(name), v) {
		s.cfg.Tell(name, message)
	}
}

// begin begins the step that is due, if one is, and returns what people should know.
func (s *Scaler) begin(ctx context.Context, joined *sync.WaitGroup, name string, wanted int, v view) (messages []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := s.services[name]
	x, silent := sample(svc, wanted, v, s.polls[name])
	messages = svc.reportSilent(v.now, silent)
	if svc.held() != "" {
		svc.state, svc.last = scale.State{}, scale.Decision{}
		return messages
	}
	svc.last, svc.state = scale.Decide(svc.policy, svc.state, v.now, x)
	messages = append(messages, svc.reportFull(s.cfg.Processors)...)
	n, why := svc.last.Replicas, svc.last.Why
	switch {
	case n == wanted, n > wanted && v.now.Before(svc.retryAt):
		return messages
	case svc.step != nil: // it waits for what is under way, such as a drain, which the new number must not wait for
		svc.step.cancel()
		return messages
	}
	stepCtx, cancel := context.WithCancel(ctx)
	svc.step = &step{cancel: cancel, done: make(chan struct{})}
	joined.Go(func() {
		err := s.cfg.System.Scale(stepCtx, name, n, why)
		given := stepCtx.Err() != nil
		cancel()
		s.ended(svc, wanted, n, err, given)
	})
	return messages
}

// ended notes what came of a step; given says that it was given up.
func (s *Scaler) ended(svc *service, from, to int, err error, given bool) {
	message := ""
	s.mu.Lock()
	close(svc.step.done)
	svc.step = nil
	switch {
	case err == nil:
		svc.failures, svc.retryAt = 0, time.Time{}
	case given, failure.CodeOf(err) == failure.Aborted: // a restart is under way: it is tried again
	default:
		wait := min(retryMin<<min(svc.failures, 10), retryMax)
		svc.failures++
		svc.retryAt = time.Now().Add(wait)
		message = fmt.Sprintf("%s could not be scaled %d → %d: %s; no further step up for %s", svc.name, from, to, brief(err), wait)
	}
	s.mu.Unlock()
	if message != "" {
		s.cfg.Tell(svc.name, message)
		s.cfg.Logger.Warn("autoscale: a step failed", "service", svc.name, "from", from, "to", to, "error", err)
	}
}
