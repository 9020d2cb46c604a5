// Package registry lets services find each other, and keeps them finding each other while the engine behind it
// (etcd, Consul) is slow, frozen, restarted, wiped or gone.
//
// A service says where it is with Announce, a consumer follows a service with Watch. Neither needs the engine to be
// up when it starts, neither ever gives up, and no error of the engine takes an instance away from a consumer.
// DESIGN.md in this folder has the states and the failure table.
package registry

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// ErrClosed is returned by a Watch that was stopped or whose Registry was closed.
var ErrClosed = errors.New("registry closed")

// Config is the part of a Registry that has defaults. The zero value works.
type Config struct {
	// TTL is how long a record outlives an instance that died without a word; default 10 s. An announcement renews
	// every third of it. Shorter finds dead instances earlier and is lost on shorter stalls; below 1 s engines round up.
	TTL time.Duration

	// RelistEvery is how often a watch lists everything again although nothing seems to have changed, ±20 %; default
	// 30 s. It is the bound on how long a watch that hangs silently can be wrong.
	RelistEvery time.Duration

	// CallTimeout bounds every call to the engine; default 3 s. Shorter than the engine's own failover (etcd elects
	// within about 1 s) turns a failover into an outage.
	CallTimeout time.Duration

	// SuspectFor is how long an instance stays a candidate after it vanished in a distrusted update, while the engine
	// keeps answering without it; default 10 min. Time in which the engine does not answer does not count.
	SuspectFor time.Duration

	// CacheDir is where the last known instances of each watched service are kept for a cold start without the engine.
	// It is created when missing and may be shared by processes. Empty means no disk copy.
	CacheDir string

	// Logger gets what this package survives; default slog.Default().
	Logger *slog.Logger
}

// Validate reports every field that cannot work.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"TTL", c.TTL}, {"RelistEvery", c.RelistEvery}, {"CallTimeout", c.CallTimeout}, {"SuspectFor", c.SuspectFor}} {
		if d.v < 0 {
			errs = append(errs, fmt.Errorf("registry config %s: negative", d.name))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.TTL, 10*time.Second)
	def(&c.RelistEvery, 30*time.Second)
	def(&c.CallTimeout, 3*time.Second)
	def(&c.SuspectFor, 10*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Registry announces and watches services on one engine. Safe for concurrent use.
type Registry struct {
	driver driver.Registry
	cfg    Config

	mu     sync.Mutex
	closed bool
	subs   map[string]*subscription
	memory map[string][]Instance // last known instances of services that are no longer watched
	loops  sync.WaitGroup        // subscriptions' loops, so that Close can join them
}

// New returns a Registry on d. It makes no call and cannot fail; fields of cfg that Validate rejects get their
// default. The caller keeps d and closes it after the Registry.
func New(d driver.Registry, cfg Config) *Registry {
	return &Registry{driver: d, cfg: cfg.withDefaults(), subs: make(map[string]*subscription), memory: make(map[string][]Instance)}
}

// Close stops all watches and joins their goroutines. Announcements end with the ctx of their Run. It does not close
// the driver. It is idempotent and returns nil.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	for service, sub := range r.subs {
		delete(r.subs, service)
		sub.stop()
	}
	r.mu.Unlock()
	r.loops.Wait()
	return nil
}

// maxMemory bounds the services remembered after their last watch.
const maxMemory = 256

// subscribe returns the subscription of service, starting it for the first watch.
func (r *Registry) subscribe(service string) (*subscription, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("watch %s: %w", service, ErrClosed)
	}
	sub := r.subs[service]
	if sub == nil {
		sub = newSubscription(r, service)
		r.subs[service] = sub
		sub.start(r.memory[service])
		delete(r.memory, service)
	}
	sub.refs++
	return sub, nil
}

// release gives back one reference and ends the subscription with the last. What it knew is remembered, so that a
// client that went idle and comes back while the engine is down still finds its service.
func (r *Registry) release(sub *subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sub.refs--
	if sub.refs > 0 || r.subs[sub.service] != sub {
		return
	}
	delete(r.subs, sub.service)
	sub.stop()
	set, version, _, _ := sub.snapshot()
	if version == 0 || len(set.Instances) == 0 {
		return
	}
	for other := range r.memory {
		if len(r.memory) < maxMemory {
			break
		}
		delete(r.memory, other)
	}
	r.memory[sub.service] = set.Instances
}
