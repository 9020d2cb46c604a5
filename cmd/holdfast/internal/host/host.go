//go:build unix

package host

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/platform/agent"
	"github.com/holdfast-go/holdfast/platform/autoscale"
	"github.com/holdfast-go/holdfast/platform/breakage"
	"github.com/holdfast-go/holdfast/platform/console"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/edge"
	"github.com/holdfast-go/holdfast/platform/netns"
	"github.com/holdfast-go/holdfast/platform/sight"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/platform/wallclock"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
)

// stopTimeout bounds the whole stop. Each process has its own, far shorter bound; this one ends a stop that hangs for
// a reason nobody thought of.
const stopTimeout = 5 * time.Minute

// Config says what to run and where. System, Data, Control and Self are required.
type Config struct {
	System  *system.System
	Data    string   // directory for everything the system keeps; created
	Control string   // host:port of the control API; beyond loopback it takes ControlTLS
	Self    []string // command line of this program; "member" and "guard" are appended to it
	Version string   // of this program, for those who ask
	Env     []string // environment of all processes; the platform adds its own
	NoBuild bool     // take the programs that the last run built
	// ControlTLS is for every connection to the control API; nil is plaintext, on loopback.
	ControlTLS *tls.Config
	// Token is one with every right at the control API; empty: one is made. See control.Config.
	Token string
	// Insecure allows edges, and an outside registry, beyond loopback without TLS.
	Insecure bool
	// Netns gives each instance a network namespace of its own: Linux, as root.
	Netns bool
	// Clock builds the services so that their wall clocks can be moved.
	Clock  bool
	Logger *slog.Logger // default: discarded
}

// Host is one system on this machine. Its methods may be called at once; Run once.
type Host struct {
	cfg   Config
	sys   *system.System
	plane plane
	url   string // of the registry
	queue string // URL of the engine for messages; "" for none

	net    *netns.Network    // nil without Netns
	clocks *wallclock.Clocks // nil without Clock
	api    *control.Server
	sup    *supervise.Supervisor
	events *supervise.Events
	driver driver.Registry
	reg    *registry.Registry
	edges  []*edge.Edge
	// outside watches the registry; nil if it is the platform's own.
	outside *outside

	agent    *agent.Server
	injector *fault.Injector // what the platform itself suffers
	keeper   *breakage.Keeper

	policies policies
	scaler   *autoscale.Scaler // nil if no service is scaled by its load
	lags     *lags             // what the scaler asks; nil without it
	queues   *queues           // nil without an engine for messages

	sight sighted

	moved    chan struct{} // an edge has ejected an instance, or takes it again
	feed     *feed
	downOnce sync.Once
	down     chan struct{}

	mu       sync.Mutex
	progress Progress                   // Services as they were last seen
	failure  error                      // why the start failed, or the system cannot go on
	seen     map[string]supervise.Phase // by instance: what the feed has been told; without stopped ones
	pumped   chan struct{}              // closed and replaced when seen changes
}

// New takes every address and the data directory, so that whatever is in the way is known before anything is built.
// Its errors say who is in the way and what to do about it. A Host that is not run must be closed.
func New(ctx context.Context, cfg Config) (_ *Host, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Host{
		cfg: cfg, sys: cfg.System, url: cfg.System.Registry, progress: newProgress(cfg.System, time.Now()),
		feed: newFeed(), moved: make(chan struct{}, 1), down: make(chan struct{}), seen: make(map[string]supervise.Phase), pumped: make(chan struct{}),
		injector: fault.New(),
	}
	// Who starts and stops processes is no business of these.
	h.cfg.Env = slices.DeleteFunc(slices.Clone(cfg.Env), func(kv string) bool { return strings.HasPrefix(kv, control.TokenVariable+"=") })
	h.sight.store = sight.New(sight.Config{})
	h.keeper = breakage.New(broken{h}, breakage.Config{Logger: cfg.Logger})
	defer func() {
		if err != nil {
			_ = h.Close()
		}
	}()
	if h.api, err = control.NewServer(h, control.Config{
		Addr: cfg.Control, TLS: cfg.ControlTLS, Token: cfg.Token, Sight: h.sight.store, Steering: steering{h}, Console: console.Handler(), Logger: cfg.Logger,
	}); err != nil {
		return nil, explainControl(ctx, cfg.Control, err)
	}
	if h.agent, err = agent.Listen(agent.Config{Logger: cfg.Logger}); err != nil {
		return nil, err
	}
	supervised := supervise.Config{
		Dir:      cfg.Data,
		Guardian: append(slices.Clone(cfg.Self), "guard"),
		Env:      append(slices.Clone(h.cfg.Env), h.agent.Env()),
		Logger:   cfg.Logger,
	}
	if cfg.Netns {
		if h.net, err = openNetwork(cfg); err != nil {
			return nil, err
		}
		supervised.Network = h.net
	}
	h.sup, err = supervise.New(supervised)
	if err != nil {
		return nil, explainData(err)
	}
	h.events = h.sup.Events()
	// From here on the directory is ours alone.
	if n := h.sys.Control.Members; n > 0 {
		p, err := chooseMembers(cfg.Data, h.net, n, h.sys.Queue == "")
		if err != nil {
			return nil, err
		}
		h.plane, h.url, h.queue = p, p.registry, p.queue
	}
	if cfg.Clock {
		if h.clocks, err = wallclock.Open(filepath.Join(cfg.Data, "clocks")); err != nil {
			return nil, err
		}
	}
	if h.net != nil {
		if err := nameServices(h.net, h.sys.Services); err != nil {
			return nil, err
		}
	}
	if h.sys.Queue != "" && h.sys.Queue != system.NoQueue {
		if err := checkQueue(h.sys.Queue); err != nil {
			return nil, err
		}
		h.queue = h.sys.Queue
	}
	if err = h.openSight(ctx); err != nil {
		return nil, err
	}
	if h.driver, err = openDriver(h.url, h.insecure(), h.injector.Dial); err != nil {
		return nil, err
	}
	h.outside = h.newOutside()
	h.reg = registry.New(h.driver, registry.Config{CacheDir: filepath.Join(cfg.Data, "registry"), Logger: cfg.Logger})
	if err = h.openPolicies(); err != nil {
		return nil, err
	}
	for _, s := range h.sys.Services {
		if s.HTTP == "" {
			continue
		}
		if h.net != nil && !cfg.Insecure && !loopback(s.HTTP) { // Insecure below is about the instances
			return nil, explainEdge(s, h.api.Addr(), false, errors.New("beyond loopback"))
		}
		e, err := edge.New(h.reg, s.Name, s.HTTP, edge.Config{Idempotency: s.Idempotency, Policies: h.policies.live, Insecure: h.insecure(), Dial: h.dial(), OnEject: h.edgeMoved, Observer: h.sight.observer(), Logger: cfg.Logger})
		if err != nil {
			return nil, explainEdge(s, h.api.Addr(), cfg.Insecure, err)
		}
		h.edges = append(h.edges, e)
	}
	if err = h.openScaler(); err != nil {
		return nil, err
	}
	if h.queue != "" {
		h.queues = newQueues(h.queue, h.insecure())
	}
	return h, nil
}

// Addr is the address of the control API.
func (h *Host) Addr() string { return h.api.Addr() }

// Console makes a link to the console that lets a browser in once.
func (h *Host) Console() string { return h.api.Invite(control.Operate).URL }

// Close gives up a Host that was not run.
func (h *Host) Close() error {
	var errs []error
	for _, e := range h.edges {
		errs = append(errs, e.Close())
	}
	errs = append(errs, h.closeRegistry())
	if h.sight.receiver != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel() // nobody listens
		errs = append(errs, h.closeSight(ended), h.sight.receiver.Close())
	}
	if h.sup != nil {
		h.events.Stop()
		errs = append(errs, h.sup.Close())
	}
	if h.agent != nil {
		errs = append(errs, h.agent.Close())
	}
	if h.api != nil {
		errs = append(errs, h.api.Close())
	}
	return errors.Join(append(errs, h.closeNetwork())...)
}

// insecure says whether the platform may speak to instances and control members beyond loopback in plaintext: in a network
// of namespaces nobody else listens.
func (h *Host) insecure() bool { return h.cfg.Insecure || h.net != nil }

func (h *Host) closeNetwork() error {
	if h.net == nil {
		return nil
	}
	return h.net.Close()
}

func (h *Host) closeRegistry() error {
	var errs []error
	if h.reg != nil {
		errs = append(errs, h.reg.Close())
	}
	if h.driver != nil {
		errs = append(errs, h.driver.Close())
	}
	return errors.Join(append(errs, h.policies.close())...)
}

// Run builds and starts the system, and keeps it running until ctx ends, Down is called, or the start fails; then it
// stops everything and returns. The error is why the start failed, or what did not stop.
func (h *Host) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watchers sync.WaitGroup
	watchers.Go(func() {
		select {
		case <-h.down:
		case <-ctx.Done():
		}
		h.enter(control.Stopping)
		cancel()
	})

	parts := append([]lifecycle.Component{h.api}, h.sightComponents()...)
	parts = append(parts, lifecycle.Named("events", lifecycle.Func(h.pump)), h.agent, lifecycle.Named("news", lifecycle.Func(h.tellNews)), h.sup)
	if h.queues != nil {
		parts = append(parts, lifecycle.Named("queues", lifecycle.Func(func(ctx context.Context) error {
			<-ctx.Done()
			h.queues.close()
			return nil
		})))
	}
	if h.outside != nil {
		parts = append(parts, lifecycle.Named("registry", lifecycle.Func(h.outside.run)))
	}
	if c := h.policies.component(); c != nil {
		parts = append(parts, c)
	}
	for _, e := range h.edges {
		parts = append(parts, e)
	}
	parts = append(parts, lifecycle.Named("faults", lifecycle.Func(h.keepFaults))) // mended before anything is stopped
	parts = append(parts, lifecycle.Named("start", lifecycle.Func(func(ctx context.Context) error {
		if err := h.start(ctx); err != nil && ctx.Err() == nil {
			h.fail(err)
			return nil // what has been started goes down again
		}
		return h.autoscale(ctx)
	})))
	// No delay between drain and stop: only the edges drain, and their users have nowhere else to go.
	err := lifecycle.Config{DrainDelay: -1, StopTimeout: stopTimeout, Logger: h.cfg.Logger}.Run(ctx, parts...)
	cancel()
	watchers.Wait()
	h.feed.close()
	err = errors.Join(err, h.closeRegistry(), h.closeNetwork())
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.failure, err)
}

// fail remembers why the start failed, or the system cannot go on, and begins the stop.
func (h *Host) fail(err error) {
	h.mu.Lock()
	h.failure = err
	h.mu.Unlock()
	h.enter(control.Stopping) // before anything stops, which the end of the start begins, too
	h.Down()
}

// KillAll ends all processes with SIGKILL, for those who cannot wait for a stop that is under way. None comes back.
func (h *Host) KillAll() { h.sup.Abort() }
