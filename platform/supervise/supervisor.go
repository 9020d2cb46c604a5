//go:build unix

package supervise

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/system"
)

// Supervisor runs processes. It is a lifecycle Component: Run stops all processes, highest wave first, when its context
// ends. All methods may be called at once.
type Supervisor struct {
	cfg  Config
	lock *os.File
	null *os.File // standard input of all processes

	ready    chan struct{}
	ports    *ports
	logs     *logs
	spawner  *spawner  // from Run on
	guardian *guardian // from Run on
	wg       sync.WaitGroup

	mu      sync.Mutex
	life    life
	groups  []*group      // in the order of Add
	changed chan struct{} // closed and replaced whenever an instance has changed
	feeds   map[*feed[Event]]bool
}

// life is where a Supervisor is in its own.
type life int

const (
	fresh life = iota
	running
	stopping
	over
)

// group is a Group that was added.
type group struct {
	Group
	desired   int         // number of instances that there should be
	busy      bool        // a command is changing the instances
	instances []*instance // by number, or in the order of Members
	listens   atomic.Bool // some instance was seen to listen on a port
}

// New opens the data directory and locks it. It waits a few seconds for the processes of a supervisor that was killed to
// be gone; a directory in use is a failure.AlreadyExists. Run or Close has to be called.
func New(cfg Config) (*Supervisor, error) {
	cfg.StopTimeout = cmp.Or(cfg.StopTimeout, 30*time.Second)
	cfg.ReadyTimeout = cmp.Or(cfg.ReadyTimeout, time.Minute)
	cfg.LogLines = cmp.Or(cfg.LogLines, 2000)
	cfg.LogFileBytes = cmp.Or(cfg.LogFileBytes, 8<<20)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" {
		return nil, failure.New(failure.InvalidArgument, "supervise: Config.Dir is empty")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	cfg.Dir = dir
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Supervisor{
		cfg: cfg, lock: lock, ready: make(chan struct{}), logs: newLogs(cfg.LogLines), ports: newPorts(firstPort, lastPort),
		changed: make(chan struct{}), feeds: make(map[*feed[Event]]bool),
	}
	if err := s.open(); err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Supervisor) open() error {
	for _, dir := range []string{s.logsDir(), s.servicesDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("open data directory: %w", err)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	s.null = null
	return nil
}

func (s *Supervisor) logsDir() string     { return filepath.Join(s.cfg.Dir, "logs") }
func (s *Supervisor) servicesDir() string { return filepath.Join(s.cfg.Dir, "services") }

// Close unlocks the data directory of a Supervisor that was never run. Otherwise it does nothing.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	if s.life != fresh {
		s.mu.Unlock()
		return nil
	}
	s.life = over
	s.mu.Unlock()
	s.release()
	return nil
}

// release gives back what New has opened, and ends all subscriptions.
func (s *Supervisor) release() {
	s.mu.Lock()
	s.life = over
	for f := range s.feeds {
		f.close()
	}
	clear(s.feeds)
	s.broadcast()
	s.mu.Unlock()
	s.logs.close()
	s.null.Close()
	s.ports.close()
	s.lock.Close()
}

// Name implements lifecycle.Namer.
func (s *Supervisor) Name() string { return "supervise" }

// Ready is closed when Run has begun and the guardian is there.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// Run runs the processes until ctx ends, then stops them and returns when all are gone: StopTimeout per wave at most.
// It fails only if it cannot begin. It can be called once.
func (s *Supervisor) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.life != fresh {
		s.mu.Unlock()
		return failure.New(failure.FailedPrecondition, "supervise: Run was called before, or Close")
	}
	s.life = stopping // until there is a guardian, nothing is started
	s.mu.Unlock()

	defer s.release()
	s.spawner = newSpawner()
	defer s.spawner.close()
	var err error
	s.guardian, err = startGuardian(ctx, s.cfg.Guardian, s.spawner, s.lock, s.cfg.Logger)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("supervise: %w", err)
	}
	defer s.guardian.close()

	s.mu.Lock()
	s.life = running
	for _, g := range s.groups {
		s.launchAll(g)
	}
	s.mu.Unlock()
	close(s.ready)

	<-ctx.Done()
	s.stopAll()
	s.wg.Wait()
	return nil
}

// stopAll stops wave after wave.
func (s *Supervisor) stopAll() {
	s.mu.Lock()
	s.life = stopping
	s.broadcast()
	waves := make(map[int][]*instance)
	for _, g := range s.groups {
		waves[g.Wave] = append(waves[g.Wave], g.instances...)
	}
	s.mu.Unlock()
	for _, wave := range slices.Backward(slices.Sorted(maps.Keys(waves))) {
		var joined sync.WaitGroup
		for _, i := range waves[wave] {
			joined.Go(func() {
				_ = i.command(cmdStop) // it cannot fail
				<-i.done
			})
		}
		joined.Wait()
	}
}

// Add starts a group, now or when Run begins. It does not wait; see WaitReady. A name that is taken is a
// failure.AlreadyExists, a Supervisor that is ending a failure.Unavailable.
func (s *Supervisor) Add(add Group) error {
	g := &group{Group: add, desired: add.Replicas}
	if len(g.Members) > 0 {
		g.desired = len(g.Members)
	}
	if err := g.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == over {
		return errStopping
	}
	for _, other := range s.groups {
		if other.Service == g.Service {
			return failure.New(failure.AlreadyExists, "there is a service %s already", g.Service)
		}
		for _, m := range g.Members {
			if slices.ContainsFunc(other.Members, func(o Member) bool { return o.ID == m.ID }) {
				return failure.New(failure.AlreadyExists, "there is an instance %s already", m.ID)
			}
		}
	}
	for _, m := range g.Members {
		for _, addr := range m.Addrs {
			s.ports.reserve(portOf(addr))
		}
	}
	s.groups = append(s.groups, g)
	if s.life == running {
		s.launchAll(g)
	}
	s.broadcast()
	return nil
}

var errStopping = failure.New(failure.Unavailable, "the system is stopping")

func (g *group) validate() error {
	switch {
	case g.Service == "":
		return failure.New(failure.InvalidArgument, "a group needs a service name")
	case len(g.Command) == 0 || g.Command[0] == "":
		return failure.New(failure.InvalidArgument, "%s: no command", g.Service)
	case g.Replicas < 0 || g.Replicas > system.MaxReplicas:
		return failure.New(failure.OutOfRange, "%s: %d instances are not between 0 and %d", g.Service, g.Replicas, system.MaxReplicas)
	}
	seen := make(map[string]bool)
	for _, m := range g.Members {
		if m.ID == "" || seen[m.ID] {
			return failure.New(failure.InvalidArgument, "%s: member %q is nameless or there twice", g.Service, m.ID)
		}
		seen[m.ID] = true
	}
	return nil
}

// launchAll starts what is missing of a group, and returns it, with mu held.
func (s *Supervisor) launchAll(g *group) (launched []*instance) {
	for n := range g.Members {
		if g.desired > 0 && g.member(g.Members[n].ID) == nil {
			launched = append(launched, s.launch(g, 0, &g.Members[n]))
		}
	}
	if len(g.Members) > 0 {
		return launched
	}
	for n := len(g.staying()); n < g.desired; n++ {
		launched = append(launched, s.launch(g, g.lowestFree(), nil))
	}
	return launched
}

// launch starts one instance, with mu held and the Supervisor running.
func (s *Supervisor) launch(g *group, number int, member *Member) *instance {
	id := fmt.Sprintf("%s-%d", g.Service, number)
	if member != nil {
		id = member.ID
	}
	i := newInstance(s, g, id, number, member)
	g.instances = append(g.instances, i)
	slices.SortFunc(g.instances, func(a, b *instance) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.id, b.id))
	})
	s.wg.Go(i.run)
	return i
}

// staying returns the instances that nobody has told to stop, with mu held. The slice is the caller's.
func (g *group) staying() []*instance {
	var staying []*instance
	for _, i := range g.instances {
		if i.state.State != Draining && i.state.State != Stopped {
			staying = append(staying, i)
		}
	}
	return staying
}

func (g *group) member(id string) *instance {
	for _, i := range g.instances {
		if i.id == id {
			return i
		}
	}
	return nil
}

// lowestFree is the smallest number that no instance has.
func (g *group) lowestFree() int {
	n := 1
	for _, i := range g.instances { // sorted
		if i.number == n {
			n++
		}
	}
	return n
}

// remove forgets an instance whose last process is gone.
func (s *Supervisor) remove(i *instance) {
	i.releaseAddrs()
	s.mu.Lock()
	defer s.mu.Unlock()
	i.g.instances = slices.DeleteFunc(i.g.instances, func(other *instance) bool { return other == i })
	s.broadcast()
}

// notify tells the subscribers about a change, with mu held.
func (s *Supervisor) notify(state State) {
	now := time.Now()
	for f := range s.feeds {
		f.push(Event{Time: now, State: state})
	}
	s.broadcast()
}

// broadcast wakes all who wait for a condition, with mu held.
func (s *Supervisor) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// States returns all instances, sorted by service in the order of Add, then by number. Instances that have been stopped
// are not among them.
func (s *Supervisor) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []State
	for _, g := range s.groups {
		for _, i := range g.instances {
			states = append(states, i.state)
		}
	}
	return states
}
