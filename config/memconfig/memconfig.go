// Package memconfig keeps settings in memory, with the faults of a real engine: for tests and for a process that is its
// own system. Its time is package time's, so that testing/synctest works on it.
package memconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-go/holdfast/config/driver"
)

// history is how many changes can be watched from; older revisions are compacted.
const history = 1024

var (
	errDown      = errors.New("settings down")
	errRestarted = errors.New("settings restarted")
	errCompacted = errors.New("revision compacted")
	errFuture    = errors.New("revision in the future")
	errClosed    = errors.New("watch closed")
)

// Driver implements driver.Store. All methods are safe for concurrent use. The methods beyond the interface break it on
// purpose.
type Driver struct {
	mu       sync.Mutex
	entries  map[string]driver.Entry
	revision uint64
	log      []event       // the last changes, oldest first
	changed  chan struct{} // closed and replaced at every change of state
	down     bool
	frozen   bool
	restarts int // ends watches
	hung     int // watches opened before are silent
}

type event struct {
	revision uint64
	change   driver.Change
}

// New returns an empty store. It may be shared by any number of config.Store values.
func New() *Driver {
	return &Driver{entries: make(map[string]driver.Entry), changed: make(chan struct{})}
}

// List implements driver.Store.
func (d *Driver) List(ctx context.Context, prefix string) (driver.Listing, error) {
	if err := d.enter(ctx); err != nil {
		return driver.Listing{}, fmt.Errorf("list %s: %w", prefix, err)
	}
	defer d.mu.Unlock()
	out := driver.Listing{Revision: d.revision}
	for key, e := range d.entries {
		if strings.HasPrefix(key, prefix) {
			out.Entries = append(out.Entries, clone(e))
		}
	}
	return out, nil
}

// Watch implements driver.Store.
func (d *Driver) Watch(ctx context.Context, prefix string, after uint64) (driver.Watcher, error) {
	if err := d.enter(ctx); err != nil {
		return nil, fmt.Errorf("watch %s: %w", prefix, err)
	}
	defer d.mu.Unlock()
	return &watcher{d: d, prefix: prefix, after: after, restarts: d.restarts, hung: d.hung, done: make(chan struct{})}, nil
}

// Put implements driver.Store.
func (d *Driver) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	if err := d.enter(ctx); err != nil {
		return 0, fmt.Errorf("put %s: %w", key, err)
	}
	defer d.mu.Unlock()
	e := driver.Entry{Key: key, Value: bytes.Clone(value), Revision: d.revision + 1}
	d.entries[key] = e
	d.emit(driver.Change{Key: key, Entry: &e})
	return e.Revision, nil
}

// Delete implements driver.Store.
func (d *Driver) Delete(ctx context.Context, key string) (bool, error) {
	if err := d.enter(ctx); err != nil {
		return false, fmt.Errorf("delete %s: %w", key, err)
	}
	defer d.mu.Unlock()
	if _, ok := d.entries[key]; !ok {
		return false, nil
	}
	delete(d.entries, key)
	d.emit(driver.Change{Key: key})
	return true, nil
}

// Close does nothing: a store in memory lives as long as somebody holds it.
func (d *Driver) Close() error { return nil }

// Down makes every call fail at once, as a dead process does, and ends all watches.
func (d *Driver) Down() { d.fault(func() { d.down = true; d.restarts++ }) }

// Up ends Down.
func (d *Driver) Up() { d.fault(func() { d.down = false }) }

// Freeze makes every call hang, as a stopped process or a black hole does.
func (d *Driver) Freeze() { d.fault(func() { d.frozen = true }) }

// Thaw ends Freeze.
func (d *Driver) Thaw() { d.fault(func() { d.frozen = false }) }

// Wipe loses everything, as a restart with an empty disk does; open watches end.
func (d *Driver) Wipe() {
	d.fault(func() {
		clear(d.entries)
		d.log, d.revision = nil, 0
		d.restarts++
	})
}

// HangWatches makes all open watches silent for ever, without an error. Watches opened later work.
func (d *Driver) HangWatches() { d.fault(func() { d.hung++ }) }

func (d *Driver) fault(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.wake()
}

// enter waits until the store is not frozen and returns with d.mu held, or an error without.
func (d *Driver) enter(ctx context.Context) error {
	d.mu.Lock()
	for {
		if err := ctx.Err(); err != nil {
			d.mu.Unlock()
			return err
		}
		if d.down {
			d.mu.Unlock()
			return errDown
		}
		if !d.frozen {
			return nil
		}
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
		d.mu.Lock()
	}
}

// wake lets everybody who waits look again. d.mu is held.
func (d *Driver) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Driver) emit(c driver.Change) {
	d.revision++
	d.log = append(d.log, event{d.revision, c})
	if len(d.log) > history {
		d.log = slices.Delete(d.log, 0, len(d.log)-history)
	}
	d.wake()
}

type watcher struct {
	d        *Driver
	prefix   string
	after    uint64
	restarts int
	hung     int
	once     sync.Once
	done     chan struct{}
}

// Next implements driver.Watcher.
func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	for {
		u, changed, err := w.poll()
		if err != nil {
			return driver.Update{}, fmt.Errorf("watch %s: %w", w.prefix, err)
		}
		if len(u.Changes) > 0 {
			return u, nil
		}
		select {
		case <-ctx.Done():
			return driver.Update{}, ctx.Err()
		case <-w.done:
			return driver.Update{}, fmt.Errorf("watch %s: %w", w.prefix, errClosed)
		case <-changed:
		}
	}
}

// poll returns what there is, and what to wait for when that is nothing.
func (w *watcher) poll() (u driver.Update, changed <-chan struct{}, err error) {
	d := w.d
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.hung > w.hung || d.frozen:
		return u, d.changed, nil
	case d.down:
		return u, nil, errDown
	case d.restarts > w.restarts:
		return u, nil, errRestarted
	case w.after > d.revision:
		return u, nil, errFuture
	case len(d.log) > 0 && d.log[0].revision > w.after+1:
		return u, nil, errCompacted
	}
	for _, e := range d.log {
		if e.revision > w.after && strings.HasPrefix(e.change.Key, w.prefix) {
			c := e.change
			if c.Entry != nil {
				entry := clone(*c.Entry)
				c.Entry = &entry
			}
			u.Changes = append(u.Changes, c)
		}
	}
	w.after = d.revision
	return u, d.changed, nil
}

// Close implements driver.Watcher.
func (w *watcher) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

func clone(e driver.Entry) driver.Entry {
	e.Value = bytes.Clone(e.Value)
	return e
}
