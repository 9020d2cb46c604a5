package work

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/registry"
)

// Roster is what a registry says about the servers. Safe for concurrent use.
type Roster struct {
	reg   *registry.Registry
	close func()

	mu      sync.Mutex
	set     registry.Set
	changed chan struct{}
}

// OpenRoster follows the servers in the registry at url.
func OpenRoster(url string) (*Roster, error) {
	settings, err := settingsOf(Spec{Registry: url, ID: "bench"})
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	svc := newService("bench", settings)
	r := &Roster{reg: svc.Registry(), changed: make(chan struct{})}
	w := r.reg.Watch(ServiceName)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			set, err := w.Next(ctx)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.set = set
			close(r.changed)
			r.changed = make(chan struct{})
			r.mu.Unlock()
		}
	})
	r.close = func() {
		cancel()
		wg.Wait()
		w.Stop()
		_ = svc.Close() // of what it had open, nothing is left to be written
	}
	return r, nil
}

// Registry returns the registry itself.
func (r *Roster) Registry() *registry.Registry { return r.reg }

// Close ends it.
func (r *Roster) Close() { r.close() }

// Addrs returns where the servers are that are not leaving.
func (r *Roster) Addrs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, inst := range r.set.Instances {
		if !inst.Draining {
			out = append(out, inst.Endpoints["grpc"])
		}
	}
	return out
}

// Changed returns a channel that is closed with the next change.
func (r *Roster) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// has reports whether the engine says that the instance is there in this version.
func (r *Roster) has(id, version string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set.Source != registry.Live {
		return false
	}
	for _, inst := range r.set.Instances {
		if inst.ID == id && inst.Version == version && !r.set.Suspect[id] {
			return true
		}
	}
	return false
}

// Await waits until the engine says that the instances are there in this version, and returns how long that took.
func (r *Roster) Await(ctx context.Context, version string, ids ...string) (time.Duration, error) {
	begun := time.Now()
	for _, id := range ids {
		for {
			changed := r.Changed()
			if r.has(id, version) {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return 0, fmt.Errorf("%s %s is not in the registry: %w", id, version, context.Cause(ctx))
			}
		}
	}
	return time.Since(begun), nil
}
