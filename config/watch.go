package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/backoff"
)

const (
	// coldWait is how long the engine may take for its first answer before the copy on disk is used. Settings of
	// yesterday are worth less than a moment's patience.
	coldWait = 500 * time.Millisecond

	listBackoffBase = 50 * time.Millisecond
	// listBackoffMax is short because a change must be in force within a second of the engine being back.
	listBackoffMax = time.Second

	// heldUp is how late a process is, at the end of a watch, that must have stood still.
	heldUp = time.Second
)

// Watch follows the settings below a prefix. Next is for one goroutine; the other methods may be called by any.
type Watch[T any] struct {
	store  *Store
	prefix string
	log    *slog.Logger
	copy   *diskCopy // nil without CacheDir
	cancel context.CancelFunc
	done   chan struct{} // closed when the watch is to end
	once   sync.Once

	current atomic.Pointer[Set[T]] // nil as long as nothing is known; without mu, which is held while documents are decoded

	mu      sync.Mutex
	view    *view[T]
	version uint64        // grows with every change of current; 0 means nothing is known
	changed chan struct{} // closed and replaced at every change
	lastErr error         // of the engine; nil when it answers
	down    time.Time     // since when it has not answered
	told    map[string]uint64

	seen uint64 // version of what Next returned last
	err  error  // why there is no watch
}

// Follow starts to follow the settings whose keys begin with prefix, in a goroutine that ends with Stop or with the Store.
// decode validates a document and returns what it means; what it refuses, or panics at, is logged with its reason and is
// not applied. It is called by one goroutine at a time, with keys that are as they are in the engine. It must not keep
// value. Follow makes no call itself. A prefix that ValidatePrefix rejects, or a Store that is closed, is reported by Next.
func Follow[T any](s *Store, prefix string, decode func(key string, value []byte) (T, error)) *Watch[T] {
	return follow(s, prefix, false, decode)
}

func follow[T any](s *Store, prefix string, exact bool, decode func(key string, value []byte) (T, error)) *Watch[T] {
	w := &Watch[T]{
		store: s, prefix: prefix, log: s.cfg.Logger.With("settings", prefix),
		view: newView(prefix, exact, s.cfg.KeepFor, decode), done: make(chan struct{}),
		changed: make(chan struct{}), told: make(map[string]uint64),
	}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(s.ctx)
	validate := ValidatePrefix
	if exact {
		validate = ValidateKey
	}
	if err := validate(prefix); err != nil {
		w.err = fmt.Errorf("follow settings: %w", err)
		if exact { // whose Get has no error to return
			w.log.Warn("setting is not followed: no setting can have this key", "error", err)
		}
		w.Stop()
		return w
	}
	if s.cfg.CacheDir != "" {
		w.copy = newDiskCopy(s.cfg.CacheDir, identity(s.driver), prefix, w.log)
	}
	if !s.spawn(func() { w.run(ctx) }) {
		w.err = fmt.Errorf("follow settings %s: %w", prefix, ErrClosed)
		w.Stop()
	}
	return w
}

// Current returns what is known now, without waiting; known is false as long as that is nothing: the engine has not
// answered, and there is no copy on disk.
func (w *Watch[T]) Current() (set Set[T], known bool) {
	if current := w.current.Load(); current != nil {
		return *current, true
	}
	return Set[T]{}, false
}

// Next blocks until something differs from what it returned last, and returns all. The first call returns as soon as
// anything is known. That is the engine's answer, or the copy on disk once the engine has failed to answer or has taken
// longer than half a second. Intermediate states may be skipped. The error is ctx's, or ErrClosed.
func (w *Watch[T]) Next(ctx context.Context) (Set[T], error) {
	if w.err != nil {
		return Set[T]{}, w.err
	}
	for {
		w.mu.Lock()
		current, version, changed, lastErr := w.current.Load(), w.version, w.changed, w.lastErr
		w.mu.Unlock()
		select {
		case <-w.done:
			return Set[T]{}, fmt.Errorf("settings %s: %w", w.prefix, ErrClosed)
		case <-w.store.ctx.Done():
			return Set[T]{}, fmt.Errorf("settings %s: %w", w.prefix, ErrClosed)
		default:
		}
		if version != w.seen {
			w.seen = version
			return *current, nil
		}
		select {
		case <-ctx.Done():
			if version == 0 && lastErr != nil {
				return Set[T]{}, fmt.Errorf("settings %s: %w: the engine does not answer: %w", w.prefix, ctx.Err(), lastErr)
			}
			return Set[T]{}, fmt.Errorf("settings %s: %w", w.prefix, ctx.Err())
		case <-w.done:
		case <-w.store.ctx.Done():
		case <-changed:
		}
	}
}

// Stop ends the watch and a Next that is blocked. What was in force stays with whoever has it. It is idempotent.
func (w *Watch[T]) Stop() {
	w.once.Do(func() {
		w.cancel()
		close(w.done)
	})
}

func (w *Watch[T]) run(ctx context.Context) {
	if w.copy != nil {
		values := w.copy.load()
		w.mu.Lock()
		w.report(w.view.seed(values))
		w.mu.Unlock()
		defer w.copy.flush()
	}
	cold := time.AfterFunc(coldWait, w.cold)
	defer cold.Stop()

	b := backoff.Backoff{Base: listBackoffBase, Max: listBackoffMax}
	for ctx.Err() == nil {
		l, err := w.list(ctx)
		if err != nil {
			if ctx.Err() == nil {
				cold.Stop()
				w.failed(err)
			}
			backoff.Pause(ctx, b.Next())
			continue
		}
		cold.Stop()
		w.apply(func(v *view[T]) []note { return v.replace(l, time.Now()) })
		started := time.Now()
		err = w.follow(ctx, l.Revision)
		if time.Since(started) > listBackoffMax {
			b.Reset()
		}
		if err != nil && ctx.Err() == nil {
			w.log.Debug("watch of settings ended, listing again", "error", err)
			w.missed()
			backoff.Pause(ctx, b.Next())
		}
	}
}

func (w *Watch[T]) list(ctx context.Context) (driver.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, w.store.cfg.CallTimeout)
	defer cancel()
	return w.store.driver.List(ctx, w.prefix)
}

// follow applies what a watch reports until the watch fails, which is an error, or it is time to list again. A process that
// does not notice in time that it is, because it was frozen, cannot tell whether the watch failed meanwhile: that is an error,
// too.
func (w *Watch[T]) follow(ctx context.Context, revision uint64) error {
	every := w.store.cfg.RelistEvery
	ctx, cancel := context.WithTimeout(ctx, backoff.Jitter(every*8/10, every*12/10))
	defer cancel()
	deadline, _ := ctx.Deadline()
	watcher, err := w.open(ctx, revision)
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Close() }() // it is over either way
	for {
		u, err := watcher.Next(ctx)
		switch {
		case time.Since(deadline) > heldUp:
			return fmt.Errorf("held up for %v", time.Since(deadline).Round(time.Millisecond))
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return nil
		case err != nil:
			return err
		}
		w.apply(func(v *view[T]) []note {
			if u.Full != nil {
				return v.replace(*u.Full, time.Now())
			}
			return v.change(u.Changes, time.Now())
		})
	}
}

func (w *Watch[T]) open(ctx context.Context, revision uint64) (driver.Watcher, error) {
	ctx, cancel := context.WithTimeout(ctx, w.store.cfg.CallTimeout)
	defer cancel()
	return w.store.driver.Watch(ctx, w.prefix, revision)
}

// apply runs one step of the view on an answer of the engine, and publishes and logs what came of it.
func (w *Watch[T]) apply(step func(*view[T]) []note) {
	w.mu.Lock()
	before := w.view.source
	first := w.version == 0
	notes := step(w.view)
	if w.lastErr != nil {
		w.log.Info("settings: the engine answers again", "down", time.Since(w.down).Round(time.Millisecond))
		w.lastErr = nil
	}
	news := slices.ContainsFunc(notes, func(n note) bool { return n.kind != ignored })
	if first || news || before != w.view.source {
		w.publish()
	}
	w.report(notes)
	var values map[string][]byte
	if w.copy != nil && (news || w.copy.stale(time.Now())) {
		values = w.view.values()
	}
	w.mu.Unlock()
	if values != nil {
		w.copy.save(values)
	}
}

func (w *Watch[T]) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.fail()
	w.view.show()
	if w.lastErr == nil {
		w.down = time.Now()
		w.log.Warn("settings: the engine does not answer, going on with what is known",
			"error", err, "settings", len(w.view.settings), "source", w.view.source.String())
		if w.view.known {
			w.publish()
		}
	}
	w.lastErr = err
}

// missed says that a watch has ended: until the next list something may have happened that was not seen.
func (w *Watch[T]) missed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.gap = true
}

// cold publishes what was known earlier, unless the engine was quicker.
func (w *Watch[T]) cold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.version > 0 {
		return
	}
	if w.view.show(); w.view.known {
		w.publish()
	}
}

// publish makes what the view has the current set. w.mu is held.
func (w *Watch[T]) publish() {
	set := w.view.set()
	w.current.Store(&set)
	w.version++
	close(w.changed)
	w.changed = make(chan struct{})
}

// report logs what a step has to say, one line a setting. A key that is ignored is reported once a revision.
func (w *Watch[T]) report(notes []note) {
	for _, n := range notes {
		log := w.log.With("key", n.key, "revision", n.revision)
		switch n.kind {
		case applied:
			log.Info("setting applied")
		case refused:
			inForce := "nothing"
			if s := w.view.settings[n.key]; s.InForce {
				inForce = "the former one"
			}
			log.Warn("setting refused", "error", n.err, "in_force", inForce)
		case removed:
			log.Info("setting removed")
		case kept:
			log.Warn("most settings were gone when the engine answered again; this one stays in force until that is sure",
				"keep_for", w.store.cfg.KeepFor)
		case confirmed:
			log.Warn("setting let go of: the engine has gone on without it")
		case ignored:
			if w.told[n.key] == n.revision || len(w.told) > maxSettings {
				continue
			}
			w.told[n.key] = n.revision
			log.Warn("setting ignored: no valid key, or more settings than are kept", "error", n.err, "limit", maxSettings)
		}
	}
}
