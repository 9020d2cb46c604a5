package registry

import (
	"context"
	"fmt"
	"sync"
)

// Source says how good a Set is.
type Source int

const (
	// Live: the engine answers, and this is what it says (Suspects aside).
	Live Source = iota
	// Stale: the engine does not answer; this is what it said last.
	Stale
	// Disk: the engine has not answered since the process started; this is what was known before.
	Disk
)

// String returns "live", "stale" or "disk".
func (s Source) String() string {
	switch s {
	case Live:
		return "live"
	case Stale:
		return "stale"
	case Disk:
		return "disk"
	default:
		return "unknown"
	}
}

// Set is the instances of one service at one moment. It is shared between watches: its contents must not be changed.
type Set struct {
	// Instances are all candidates, sorted by ID, draining ones and suspects included. Empty means that the engine
	// said so, and that either nobody was known before or those who were known have left in an orderly way or do
	// not answer. It never means that something failed.
	Instances []Instance
	// Suspect holds the IDs that vanished from the engine in a distrusted update and are still candidates.
	Suspect map[string]bool
	// Unreadable are the IDs of records that are in the engine and cannot be decoded. If one of them could be decoded
	// before, that content is still in Instances.
	Unreadable []string
	Source     Source
}

// Watch follows the instances of one service. Next is for one goroutine; Unreachable and Stop may be called by any.
type Watch struct {
	service string
	reg     *Registry
	sub     *subscription // nil when err is set
	err     error

	seen uint64 // version of what Next returned last
	last Set

	once sync.Once
	done chan struct{}
}

// Watch starts to follow service. It makes no call itself. Watches of the same service share one subscription with
// the engine, which ends when the last of them is stopped. A name that ValidateService rejects, or a Registry that
// is closed, is reported by Next.
func (r *Registry) Watch(service string) *Watch {
	w := &Watch{service: service, reg: r, done: make(chan struct{})}
	if err := ValidateService(service); err != nil {
		w.err = fmt.Errorf("watch: %w", err)
		return w
	}
	w.sub, w.err = r.subscribe(service)
	return w
}

// Next blocks until the set differs from the one returned last, and returns it. The first call returns as soon as
// anything is known. That is the engine's answer, or the copy on disk once the engine has failed to answer or has
// taken longer than half a second. Intermediate sets may be skipped. The error is ctx's, or ErrClosed.
func (w *Watch) Next(ctx context.Context) (Set, error) {
	if w.err != nil {
		return Set{}, w.err
	}
	for {
		set, version, changed, _ := w.sub.snapshot()
		select {
		case <-w.done:
			return Set{}, fmt.Errorf("watch %s: %w", w.service, ErrClosed)
		case <-w.sub.done:
			return Set{}, fmt.Errorf("watch %s: %w", w.service, ErrClosed)
		default:
		}
		if version != w.seen && (w.seen == 0 || !sameSet(set, w.last)) {
			w.seen, w.last = version, set
			return set, nil
		}
		w.seen = version
		select {
		case <-ctx.Done():
			if _, version, _, lastErr := w.sub.snapshot(); version == 0 && lastErr != nil {
				return Set{}, fmt.Errorf("watch %s: %w: registry does not answer: %w", w.service, ctx.Err(), lastErr)
			}
			return Set{}, fmt.Errorf("watch %s: %w", w.service, ctx.Err())
		case <-w.done:
		case <-w.sub.done:
		case <-changed:
		}
	}
}

// Unreachable reports that a connection to the instance could not be made. A suspect is dropped; an instance that the
// engine vouches for is kept, since it is for the balancer to avoid it, but it is no candidate if the engine loses
// it soon after. Cheap; call it for every failed attempt to connect.
func (w *Watch) Unreachable(id string) {
	if w.sub != nil {
		w.sub.unreachable(id)
	}
}

// Stop ends the watch and a Next that is blocked. It is idempotent.
func (w *Watch) Stop() {
	w.once.Do(func() {
		close(w.done)
		if w.sub != nil {
			w.reg.release(w.sub)
		}
	})
}
