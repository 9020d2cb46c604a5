package memlock

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
)

// link is the way between one client and the engine.
type link struct {
	mu      sync.Mutex
	cut     bool
	frozen  bool
	deaf    bool
	delay   time.Duration
	changed chan struct{} // closed and replaced
	broken  chan struct{} // closed and replaced by Cut
}

func newLink() link { return link{changed: make(chan struct{}), broken: make(chan struct{})} }

func (l *link) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// there brings a call to the engine.
func (l *link) there(ctx context.Context) error { return l.pass(ctx, false) }

// back brings an answer.
func (l *link) back(ctx context.Context) error { return l.pass(ctx, true) }

func (l *link) pass(ctx context.Context, answer bool) error {
	l.mu.Lock()
	delay := l.delay
	l.mu.Unlock()
	if delay > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
	}
	for {
		l.mu.Lock()
		cut, hangs, changed := l.cut, l.frozen || answer && l.deaf, l.changed
		l.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case cut:
			return errCut
		case !hangs:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// wait waits for the engine to say something, which it can when the link is good.
func (l *link) wait(ctx context.Context, something, restart <-chan struct{}) error {
	l.mu.Lock()
	broken := l.broken
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-broken:
		return errCut
	case <-restart:
		return errRestart
	case <-something:
		return nil // the caller asks what, which waits for the link
	}
}

// Cut makes calls of this client fail at once, and ends those that wait, until Restore.
func (d *Driver) Cut() {
	d.link.change(func() {
		d.link.cut = true
		close(d.link.broken)
		d.link.broken = make(chan struct{})
	})
}

// Restore ends Cut.
func (d *Driver) Restore() { d.link.change(func() { d.link.cut = false }) }

// Freeze makes calls of this client hang without an error, until Thaw.
func (d *Driver) Freeze() { d.link.change(func() { d.link.frozen = true }) }

// Thaw ends Freeze and Deafen.
func (d *Driver) Thaw() { d.link.change(func() { d.link.frozen, d.link.deaf = false, false }) }

// Deafen lets calls of this client reach the engine and no answer come back, until Thaw.
func (d *Driver) Deafen() { d.link.change(func() { d.link.deaf = true }) }

// Slow makes each call of this client take delay to the engine, and as long back.
func (d *Driver) Slow(delay time.Duration) { d.link.change(func() { d.link.delay = delay }) }

// Restart ends what waits, of all clients. Sessions live a whole TTL from now on, as etcd's leases do.
func (d *Driver) Restart() {
	e := d.e
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.sessions {
		s.expires = time.Now().Add(s.ttl)
		s.timer.Reset(s.ttl)
	}
	e.wake()
}

// Wipe loses everything, as a restart with an empty disk does.
func (d *Driver) Wipe() {
	e := d.e
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.sessions {
		e.drop(s)
	}
	e.token, e.revision, e.epoch = 0, 0, driver.Epoch{}
	clear(e.locks)
	e.wake()
}

func (e *engine) wake() {
	close(e.restart)
	e.restart = make(chan struct{})
}

// EndSession ends a session before its time, as a person may.
func (d *Driver) EndSession(id string) {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	if s := d.e.sessions[id]; s != nil {
		d.e.drop(s)
	}
}

// DeleteTickets removes all who hold or wait for a lock, and leaves their sessions alive.
func (d *Driver) DeleteTickets(name string) {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	for q := d.e.locks[name]; q != nil && len(q.tickets) > 0; {
		d.e.remove(name, 0)
	}
}

// Waiting returns how many hold or wait for a lock.
func (d *Driver) Waiting(name string) int {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	if q := d.e.locks[name]; q != nil {
		return len(q.tickets)
	}
	return 0
}
