// Package memregistry is a registry in memory, with the faults of a real one: for tests and for a process that is
// its own system. Its time is package time's, so that testing/synctest works on it.
package memregistry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// history is how many changes can be watched from; older revisions are compacted.
const history = 4096

var (
	errDown      = errors.New("registry down")
	errRestarted = errors.New("registry restarted")
	errCompacted = errors.New("revision compacted")
	errFuture    = errors.New("revision in the future")
	errClosed    = errors.New("watch closed")
	errGarbage   = errors.New("invalid character 'g' looking for beginning of value")
)

// Driver implements driver.Registry. All methods are safe for concurrent use. The methods beyond the interface
// break it on purpose (faults.go).
type Driver struct {
	mu       sync.Mutex
	records  map[key]record
	leases   map[uint64]*lease
	nextID   uint64
	revision uint64
	log      []event       // the last changes, oldest first
	changed  chan struct{} // closed and replaced at every change of state
	down     bool
	frozen   bool
	restarts int // ends watches
	hung     int // watches opened before are silent
}

type key struct{ service, id string }

type record struct {
	driver.Record
	lease   uint64
	corrupt bool
}

type lease struct {
	ttl     time.Duration
	expires time.Time
	timer   *time.Timer
}

type event struct {
	revision uint64
	service  string
	change   driver.Change
}

// New returns an empty registry. It may be shared by any number of registry.Registry values.
func New() *Driver {
	return &Driver{records: make(map[key]record), leases: make(map[uint64]*lease), changed: make(chan struct{})}
}

// Register implements driver.Registry.
func (d *Driver) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	if err := d.enter(ctx); err != nil {
		return nil, fmt.Errorf("register %s/%s: %w", rec.Service, rec.ID, err)
	}
	defer d.mu.Unlock()
	k := key{rec.Service, rec.ID}
	if old, ok := d.records[k]; ok && !old.corrupt && old.Owner != rec.Owner && !takeOver {
		return nil, fmt.Errorf("register %s/%s: %w", rec.Service, rec.ID, driver.ErrTaken)
	}
	d.nextID++
	id := d.nextID
	l := &lease{ttl: ttl, expires: time.Now().Add(ttl)}
	l.timer = time.AfterFunc(ttl, func() { d.expire(id) })
	d.leases[id] = l
	d.put(k, record{Record: copyRecord(rec), lease: id})
	return &registration{d: d, key: k, owner: rec.Owner, lease: id}, nil
}

// List implements driver.Registry.
func (d *Driver) List(ctx context.Context, service string) (driver.Listing, error) {
	if err := d.enter(ctx); err != nil {
		return driver.Listing{}, fmt.Errorf("list %s: %w", service, err)
	}
	defer d.mu.Unlock()
	out := driver.Listing{Revision: d.revision}
	for k, r := range d.records {
		switch {
		case k.service != service:
		case r.corrupt:
			out.Unreadable = append(out.Unreadable, driver.Unreadable{ID: k.id, Err: errGarbage})
		default:
			out.Records = append(out.Records, r.Record)
		}
	}
	slices.SortFunc(out.Records, func(a, b driver.Record) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Watch implements driver.Registry.
func (d *Driver) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	if err := d.enter(ctx); err != nil {
		return nil, fmt.Errorf("watch %s: %w", service, err)
	}
	defer d.mu.Unlock()
	return &watcher{d: d, service: service, after: after, restarts: d.restarts, hung: d.hung, done: make(chan struct{})}, nil
}

// Close does nothing: a registry in memory lives as long as somebody holds it.
func (d *Driver) Close() error { return nil }

// enter waits until the registry is not frozen and returns with d.mu held, or an error without.
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

func (d *Driver) emit(k key, c driver.Change) {
	d.revision++
	c.ID = k.id
	d.log = append(d.log, event{d.revision, k.service, c})
	if len(d.log) > history {
		d.log = slices.Delete(d.log, 0, len(d.log)-history)
	}
	d.wake()
}

func (d *Driver) put(k key, r record) {
	d.records[k] = r
	rec := r.Record
	d.emit(k, driver.Change{Record: &rec})
}

func (d *Driver) remove(k key) {
	if _, ok := d.records[k]; ok {
		delete(d.records, k)
		d.emit(k, driver.Change{})
	}
}

// expire ends a lease that is due, unless the registry is down or frozen: then Up and Thaw see to it.
func (d *Driver) expire(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.leases[id]; l != nil && !d.down && !d.frozen && !time.Now().Before(l.expires) {
		d.endLease(id)
	}
}

// endLease removes a lease and the records under it. d.mu is held.
func (d *Driver) endLease(id uint64) {
	l := d.leases[id]
	if l == nil {
		return
	}
	l.timer.Stop()
	delete(d.leases, id)
	for k, r := range d.records {
		if r.lease == id {
			d.remove(k)
		}
	}
}

func (d *Driver) renew(l *lease) {
	l.expires = time.Now().Add(l.ttl)
	l.timer.Reset(l.ttl)
}

type registration struct {
	d     *Driver
	key   key
	owner string
	lease uint64
}

// check says whether the record is still held. d.mu is held.
func (r *registration) check() error {
	cur, ok := r.d.records[r.key]
	switch {
	case ok && !cur.corrupt && cur.Owner != r.owner:
		return driver.ErrTaken
	case !ok || cur.corrupt || cur.lease != r.lease || r.d.leases[r.lease] == nil:
		return driver.ErrLost
	}
	return nil
}

func (r *registration) Renew(ctx context.Context) error {
	if err := r.d.enter(ctx); err != nil {
		return fmt.Errorf("renew %s/%s: %w", r.key.service, r.key.id, err)
	}
	defer r.d.mu.Unlock()
	if err := r.check(); err != nil {
		return fmt.Errorf("renew %s/%s: %w", r.key.service, r.key.id, err)
	}
	r.d.renew(r.d.leases[r.lease])
	return nil
}

func (r *registration) Update(ctx context.Context, rec driver.Record) error {
	if err := r.d.enter(ctx); err != nil {
		return fmt.Errorf("update %s/%s: %w", r.key.service, r.key.id, err)
	}
	defer r.d.mu.Unlock()
	if err := r.check(); err != nil {
		return fmt.Errorf("update %s/%s: %w", r.key.service, r.key.id, err)
	}
	r.d.put(r.key, record{Record: copyRecord(rec), lease: r.lease})
	return nil
}

func (r *registration) Deregister(ctx context.Context) error {
	if err := r.d.enter(ctx); err != nil {
		return fmt.Errorf("deregister %s/%s: %w", r.key.service, r.key.id, err)
	}
	defer r.d.mu.Unlock()
	r.d.endLease(r.lease)
	return nil
}

type watcher struct {
	d        *Driver
	service  string
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
			return driver.Update{}, fmt.Errorf("watch %s: %w", w.service, err)
		}
		if len(u.Changes) > 0 {
			return u, nil
		}
		select {
		case <-ctx.Done():
			return driver.Update{}, ctx.Err()
		case <-w.done:
			return driver.Update{}, fmt.Errorf("watch %s: %w", w.service, errClosed)
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
		if e.revision > w.after && e.service == w.service {
			u.Changes = append(u.Changes, e.change)
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

func copyRecord(r driver.Record) driver.Record {
	r.Endpoints = maps.Clone(r.Endpoints)
	r.Metadata = maps.Clone(r.Metadata)
	return r
}
