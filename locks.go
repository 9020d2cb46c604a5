package holdfast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/lock"
	lockdriver "github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/etcdlock"
	"github.com/holdfast-go/holdfast/lock/memlock"
	"github.com/holdfast-go/holdfast/lock/replicalock"
	"github.com/holdfast-go/holdfast/replica/kv"
)

const (
	// inProcess is what says that locks are those of this process alone.
	inProcess = "memory"
	// inReplica is what says that locks are in the replicated state of this service.
	inReplica = "replica"
	// lockGroup is the replicated group that they are in then.
	lockGroup = "holdfast-locks"
)

// locks is what Lock and Lead need, opened when one of them is called first.
type locks struct {
	once   sync.Once
	locker *lock.Locker      // the Service's mu
	eng    lockdriver.Engine // nil if it is the caller's, or there is none
	leads  *leaders

	mu       sync.Mutex
	elective map[string]bool // the names of elections that were asked for
}

// maxElections bounds what is remembered of elections, should somebody take names from outside.
const maxElections = 1024

// elect remembers that a lock is an election.
func (l *locks) elect(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.elective == nil {
		l.elective = make(map[string]bool)
	}
	if len(l.elective) < maxElections {
		l.elective[name] = true
	}
}

// elections are the names of the locks that are elections.
func (l *locks) elections() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.elective)
}

// Lock returns the lock of that name, which one at a time holds of all the processes that have the same engine of locks
// (Settings.Lock), whatever their service; with the engine "replica", of the instances of this service. It opens nothing and waits for nothing; package lock documents what a lock
// promises. Without an engine for locks, Run says so, and every call does.
func (s *Service) Lock(name string) *lock.Mutex {
	s.problemBefore(lock.ValidateName(name))
	return s.locker().Mutex(name)
}

// Lead runs fn on one instance of this service at a time, of all that have the same engine of locks. It is a task like those of Go: restarted with backoff when it fails or panics, joined on stop. It stands for
// election once the Service serves. The ctx of fn ends when leadership is lost, before another instance has it, or when
// the Service begins to drain: fn has to return soon then, and is called again when this instance leads again. When fn
// returns nil while it leads, this instance does not stand again.
//
// lock.Token(ctx) is the leader's fencing token: pass it on with what fn writes.
func (s *Service) Lead(name string, fn func(ctx context.Context) error) {
	e := s.Election(name)
	s.locks.leads.tasks.Go("lead "+name, func(ctx context.Context) error {
		for {
			err := e.Lead(ctx, s.cfg.Settings.Instance, func(ctx context.Context, token uint64) error {
				s.cfg.Logger.Info("leading", "election", name, "token", token)
				s.moved()
				defer s.moved()
				return fn(ctx)
			})
			if !errors.Is(err, lock.ErrLost) || ctx.Err() != nil {
				return err
			}
			s.cfg.Logger.Warn("leadership lost", "election", name, "error", err)
		}
	})
}

// Election returns this service's election of that name, to see who leads: svc.Election("nightly").Leader(ctx). Leaders
// made by Lead have their instance's name as the value. To other services it is the lock SERVICE/NAME.
func (s *Service) Election(name string) *lock.Election {
	name = s.name + "/" + name
	s.problemBefore(lock.ValidateName(name))
	s.locks.elect(name)
	return s.locker().Election(name)
}

// problemBefore is a problem that Run tells of; afterwards it is one of the calls.
func (s *Service) problemBefore(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == fresh {
		s.problem(err)
	}
}

// locker opens the engine of locks, which connects to nothing.
func (s *Service) locker() *lock.Locker {
	s.locks.once.Do(func() {
		engine, err := s.cfg.Locks, error(nil)
		switch {
		case engine != nil:
		case s.replicatesLocks():
			engine, err = s.openReplicaLocks()
		default:
			engine, err = openLocks(&s.cfg)
			s.warnOfOwnLocks()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			if s.state != fresh {
				s.cfg.Logger.Error("no locks", "error", err)
			} else if !s.replicatesLocks() { // Replicate has said so
				s.problem(err)
			}
			engine = noLocks{err}
		}
		if s.cfg.Locks == nil {
			s.locks.eng = engine
		}
		s.locks.locker = lock.New(engine, s.cfg.Lock)
		if s.state == closed {
			_ = s.locks.locker.Close() // so that its locks say so
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.locks.locker
}

// warnOfOwnLocks tells of locks that bind nobody else although the addresses say that there are others.
func (s *Service) warnOfOwnLocks() {
	c := &s.cfg
	if c.Settings.Lock != "" || !c.alone() ||
		onLoopback(c.RPCServer.Addr, c.RPCServer.Listener) && onLoopback(c.HTTPServer.Addr, c.HTTPServer.Listener) {
		return
	}
	c.Logger.Warn("locks and elections are of this process alone, each instance has its own: neither HOLDFAST_REGISTRY nor HOLDFAST_LOCK is set",
		"if_that_is_meant", "HOLDFAST_LOCK="+inProcess)
}

func (s *Service) replicatesLocks() bool {
	return s.cfg.Locks == nil && s.cfg.Settings.Lock == inReplica
}

// openReplicaLocks makes this instance a member of the group that the locks are in.
func (s *Service) openReplicaLocks() (lockdriver.Engine, error) {
	host, err := s.Replicate()
	if err != nil {
		return nil, err
	}
	store, err := kv.New(host, lockGroup, kv.Config{})
	if err != nil {
		return nil, fmt.Errorf("locks: %w", err)
	}
	s.tasks.Go("locks", store.Run)
	return replicalock.New(store, ""), nil
}

// giveBack is a component that ends what is held when all that may hold something has stopped, and what keeps the locks
// has not.
func (s *Service) giveBack(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	l := s.locks.locker
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Close()
}

// close is called with the Service's mu, after everything that holds locks has ended.
func (l *locks) close() error {
	var errs []error
	if l.locker != nil {
		errs = append(errs, l.locker.Close())
	}
	if l.eng != nil {
		errs = append(errs, l.eng.Close())
	}
	return errors.Join(errs...)
}

// openLocks opens the engine that the settings name.
func openLocks(c *Config) (lockdriver.Engine, error) {
	url, derived := c.Settings.Lock, c.Settings.Lock == ""
	if derived {
		scheme, _, _ := strings.Cut(c.Settings.Registry, ":")
		if c.Registry != nil || scheme == staticScheme {
			return nil, errors.New("locks: the registry has none: set HOLDFAST_LOCK, or Config.Locks")
		}
		url = c.Settings.Registry
	}
	if url == "" { // a service that runs alone
		url = inProcess
	}
	d, err := openLocksAt(c, url, derived)
	if err != nil && derived {
		return nil, fmt.Errorf("locks are the registry's unless HOLDFAST_LOCK says otherwise: %w", err)
	}
	return d, err
}

func openLocksAt(c *Config, url string, derived bool) (lockdriver.Engine, error) {
	if err := checkLocks(url); err != nil {
		return nil, wrongSetting("HOLDFAST_LOCK", url, err)
	}
	switch scheme, _, _ := strings.Cut(url, ":"); scheme {
	case inProcess:
		return memlock.New(), nil
	case etcdScheme:
		return openEtcdLocks(c, url, derived)
	default:
		o, ok := opener[lockdriver.Opener](c, scheme)
		err := notLinked(scheme, "lock")
		if ok {
			err = o.CheckURL(url)
		}
		if err != nil {
			return nil, wrongSetting("HOLDFAST_LOCK", url, err)
		}
		return o.OpenLocks(url, lockdriver.OpenOptions{Insecure: c.Settings.Insecure, WrapDial: c.wrapDial})
	}
}

// openEtcdLocks uses the client that code gave for the registry where the locks are the registry's, and lies beside its
// prefix.
func openEtcdLocks(c *Config, url string, derived bool) (lockdriver.Engine, error) {
	cfg, err := etcdlock.Parse(url)
	if err != nil {
		return nil, wrongSetting("HOLDFAST_LOCK", url, err)
	}
	cfg.TLS, cfg.Insecure, cfg.Username, cfg.Password, cfg.Dial = c.Etcd.TLS, c.Etcd.Insecure, c.Etcd.Username, c.Etcd.Password, c.Etcd.Dial
	if derived {
		cfg.Client = c.Etcd.Client
		if cfg.Prefix == "" {
			cfg.Prefix = strings.Trim(c.Etcd.Prefix, "/")
		}
		if cfg.Prefix != "" {
			cfg.Prefix += "-locks"
		}
	}
	d, err := etcdlock.Open(cfg)
	if err != nil { // not d: a nil *Driver would be an engine that is not nil
		return nil, err
	}
	return d, nil
}

// checkLocks reports what is wrong with the URL of locks. Whether another engine is linked, and what it says of the URL,
// is known when the options are.
func checkLocks(url string) error {
	scheme, _, ok := strings.Cut(url, ":")
	switch {
	case url == inProcess, url == inReplica:
		return nil
	case !ok || !isScheme(scheme) || scheme == staticScheme || scheme == inProcess:
		return errors.New("is not a URL such as etcd://127.0.0.1:2379, nor replica, nor memory")
	case scheme == etcdScheme:
		_, err := etcdlock.Parse(url)
		return err
	}
	return nil
}

// noLocks is the engine of a Service that has none: every call says why.
type noLocks struct{ err error }

func (n noLocks) fail() error { return fmt.Errorf("%w: %w", lockdriver.ErrUnusable, n.err) }

func (n noLocks) Open(context.Context, time.Duration, string) (lockdriver.Session, error) {
	return nil, n.fail()
}

func (n noLocks) Epoch(context.Context) (lockdriver.Epoch, error) {
	return lockdriver.Epoch{}, n.fail()
}
func (n noLocks) Settle(context.Context, string) error        { return n.fail() }
func (n noLocks) Await(context.Context, string, uint64) error { return n.fail() }
func (n noLocks) Close() error                                { return nil }
func (n noLocks) Holder(context.Context, string) (lockdriver.Holder, uint64, error) {
	return lockdriver.Holder{}, 0, n.fail()
}

// leaders runs what Lead was given, as the component that starts last and stops first.
type leaders struct {
	tasks    *lifecycle.Supervisor
	draining context.Context
	resign   context.CancelFunc
}

func newLeaders(cfg lifecycle.SupervisorConfig) *leaders {
	l := &leaders{tasks: lifecycle.NewSupervisor(cfg)}
	l.draining, l.resign = context.WithCancel(context.Background())
	return l
}

// Run implements lifecycle.Component. It returns at the end of ctx, not when all have resigned: that would be a stop.
func (l *leaders) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.draining, cancel)()
	err := l.tasks.Run(inner)
	<-ctx.Done()
	return err
}

// Drain implements lifecycle.Drainer: others lead before this instance stops to serve.
func (l *leaders) Drain(context.Context) error {
	l.resign()
	return nil
}

// Name implements lifecycle.Namer.
func (l *leaders) Name() string { return "leaders: " + l.tasks.Name() }
