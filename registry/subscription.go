package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/registry/driver"
)

const (
	// coldWait is how long the engine may take for its first answer before the copy on disk is used. Addresses of
	// yesterday are worth less than a moment's patience.
	coldWait = 500 * time.Millisecond

	listBackoffBase = 50 * time.Millisecond
	// listBackoffMax is short because it is also how late a consumer sees that the engine is back.
	listBackoffMax = 2 * time.Second

	// heldUp is how late a process is, at the end of a watch, that must have stood still.
	heldUp = time.Second
)

// subscription follows one service for all its watches: list, watch until told to list again, for ever.
type subscription struct {
	reg     *Registry
	service string
	log     *slog.Logger
	refs    int // guarded by reg.mu

	cancel context.CancelFunc
	done   chan struct{} // closed when the loop is told to end

	mu      sync.Mutex
	view    *view
	current Set
	version uint64        // grows with every change of current; 0 means nothing is known
	changed chan struct{} // closed and replaced at every change
	lastErr error         // of the engine; nil when it answers
	down    time.Time     // since when it has not answered
	told    map[string]string

	copy *diskCopy // nil without CacheDir
}

func newSubscription(r *Registry, service string) *subscription {
	s := &subscription{
		reg: r, service: service, log: r.cfg.Logger.With("service", service),
		done: make(chan struct{}), changed: make(chan struct{}),
		view: newView(r.cfg.TTL, r.cfg.SuspectFor), told: make(map[string]string),
	}
	if r.cfg.CacheDir != "" {
		s.copy = newDiskCopy(r.cfg.CacheDir, service, s.log)
	}
	return s
}

// start runs the loop until stop. seed is what an earlier subscription of this process knew, if there was one.
func (s *subscription) start(seed []Instance) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.reg.loops.Go(func() { s.run(ctx, seed) })
	if s.copy != nil {
		s.reg.loops.Go(func() { s.copy.run(ctx) })
	}
}

func (s *subscription) stop() {
	s.cancel()
	close(s.done)
}

func (s *subscription) run(ctx context.Context, seed []Instance) {
	source, fresh := Stale, true
	if len(seed) == 0 && s.copy != nil {
		source = Disk
		seed, fresh = s.copy.load()
	}
	if fresh { // an engine that answers may have just lost all it knew
		s.mu.Lock()
		s.view.prime(seed)
		s.mu.Unlock()
	}
	cold := time.AfterFunc(coldWait, func() { s.seed(seed, source) })
	defer cold.Stop()

	b := backoff.Backoff{Base: listBackoffBase, Max: listBackoffMax}
	for ctx.Err() == nil {
		l, err := s.list(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.seed(seed, source)
				s.failed(err)
			}
			backoff.Pause(ctx, b.Next())
			continue
		}
		cold.Stop()
		s.apply(func(v *view) notes { return v.replace(l, time.Now()) })
		started := time.Now()
		err = s.follow(ctx, l.Revision)
		if time.Since(started) > listBackoffMax {
			b.Reset()
		}
		if err != nil && ctx.Err() == nil {
			s.log.Debug("registry watch ended, listing again", "error", err)
			backoff.Pause(ctx, b.Next())
		}
	}
}

func (s *subscription) list(ctx context.Context) (driver.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, s.reg.cfg.CallTimeout)
	defer cancel()
	return s.reg.driver.List(ctx, s.service)
}

// follow applies what a watch reports until the watch fails, which is an error, or it is time to list again. A process that
// does not notice in time that it is was frozen, and cannot tell whether the engine was away meanwhile: it takes that to be so.
func (s *subscription) follow(ctx context.Context, revision uint64) error {
	every := s.reg.cfg.RelistEvery
	ctx, cancel := context.WithTimeout(ctx, backoff.Jitter(every*8/10, every*12/10))
	defer cancel()
	deadline, _ := ctx.Deadline()
	w, err := s.open(ctx, revision)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // it is over either way
	for {
		u, err := w.Next(ctx)
		switch {
		case time.Since(deadline) > heldUp:
			s.missed()
			return fmt.Errorf("held up for %v", time.Since(deadline).Round(time.Millisecond))
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return nil
		case err != nil:
			return err
		}
		s.apply(func(v *view) notes {
			if u.Full != nil {
				return v.replace(*u.Full, time.Now())
			}
			return v.change(u.Changes, time.Now())
		})
	}
}

func (s *subscription) open(ctx context.Context, revision uint64) (driver.Watcher, error) {
	ctx, cancel := context.WithTimeout(ctx, s.reg.cfg.CallTimeout)
	defer cancel()
	return s.reg.driver.Watch(ctx, s.service, revision)
}

// apply runs one step of the view on an answer of the engine, and publishes and logs what came of it.
func (s *subscription) apply(step func(*view) notes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := step(s.view)
	if s.lastErr != nil {
		s.log.Info("registry answers again", "down", time.Since(s.down).Round(time.Millisecond))
		s.lastErr = nil
	}
	s.publish()
	s.report(n)
}

func (s *subscription) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr == nil {
		s.down = time.Now()
		s.log.Warn("registry does not answer, going on with what is known",
			"error", err, "instances", len(s.current.Instances), "source", s.view.source.String())
	}
	s.lastErr = err
	s.view.fail()
	s.publish()
}

// missed says that until the next list the engine may have been away, and nobody has seen it. Nothing is published: there is
// no failure to tell of.
func (s *subscription) missed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.fail()
}

// seed publishes what was known earlier, unless the engine was quicker.
func (s *subscription) seed(instances []Instance, source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.seed(instances, source)
	s.publish()
}

func (s *subscription) unreachable(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view.drop(id, time.Now()) {
		s.log.Info("suspect instance does not answer either, dropped", "instance", id)
		s.publish()
	}
}

// publish makes the view's set the current one if it differs. s.mu is held.
func (s *subscription) publish() {
	if !s.view.known {
		return
	}
	set := s.view.set()
	if s.version > 0 && sameSet(set, s.current) {
		s.save(false)
		return
	}
	s.current = set
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
	s.save(true)
}

// save hands what the engine confirmed to the disk copy; it is never worth more than that.
func (s *subscription) save(changed bool) {
	if s.copy != nil && s.current.Source == Live {
		s.copy.put(s.current.Instances, changed)
	}
}

// report logs the notes of a step; the same unreadable record is reported once per cause.
func (s *subscription) report(n notes) {
	for _, e := range []struct {
		level slog.Level
		msg   string
		ids   []string
	}{
		{slog.LevelWarn, "registry lost most instances at once, keeping them until they fail to connect", n.suspected},
		{slog.LevelInfo, "suspect instances are registered again", n.cleared},
		{slog.LevelWarn, "suspect instances were not registered again, dropped", n.aged},
	} {
		if len(e.ids) > 0 {
			slices.Sort(e.ids)
			s.log.Log(context.Background(), e.level, e.msg, "instances", e.ids)
		}
	}
	if n.ignored > 0 {
		s.log.Warn("registry holds more records than are used", "limit", maxInstances, "ignored", n.ignored)
	}
	for id, err := range n.unreadable {
		if s.told[id] != err.Error() {
			s.told[id] = err.Error()
			s.log.Warn("registry record cannot be read, skipped", "instance", id, "error", err)
		}
	}
	maps.DeleteFunc(s.told, func(id, _ string) bool { return !s.view.unreadable[id] })
}

// snapshot returns the current set, its version, and what is closed when that changes.
func (s *subscription) snapshot() (Set, uint64, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.version, s.changed, s.lastErr
}

func sameSet(a, b Set) bool {
	return a.Source == b.Source && maps.Equal(a.Suspect, b.Suspect) && slices.Equal(a.Unreadable, b.Unreadable) &&
		slices.EqualFunc(a.Instances, b.Instances, equal)
}
