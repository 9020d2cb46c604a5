// Package memlock keeps locks in memory, with the faults of a real engine: for tests and for a process that is its own
// system. Its time is package time's, so that testing/synctest works on it.
package memlock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
)

var (
	errCut     = errors.New("connection refused")
	errRestart = errors.New("engine restarted")
)

// engine is what all drivers on it share.
type engine struct {
	mu       sync.Mutex
	sessions map[string]*session
	locks    map[string]*queue
	token    uint64 // the largest given out, of all locks: so that locks nobody wants leave nothing behind
	epoch    driver.Epoch
	revision uint64
	restart  chan struct{} // closed and replaced: waits end
}

// queue is the tickets of one lock, first come first; of one that has no tickets there is none.
type queue struct {
	tickets []*ticket
	holder  *ticket
	changed chan struct{} // closed and replaced when the holder changes
	changes uint64        // the revision of the last change of the holder
}

type ticket struct {
	id, value string
	session   *session
	token     uint64
	gone      chan struct{} // closed when it leaves the queue
}

// Driver implements driver.Engine: one client and its way to the engine. All methods are safe for concurrent use. The
// methods beyond the interface break things on purpose (faults.go).
type Driver struct {
	e    *engine
	link link
}

// New returns a client of an empty engine. It is settled from the start: what a process has in its memory, nobody held
// before.
func New() *Driver {
	return &Driver{
		e: &engine{
			sessions: make(map[string]*session), locks: make(map[string]*queue),
			epoch: driver.Epoch{ID: rand.Text(), Settled: true}, restart: make(chan struct{}),
		},
		link: newLink(),
	}
}

// Another returns another client of the same engine, with a way of its own.
func (d *Driver) Another() *Driver { return &Driver{e: d.e, link: newLink()} }

// Close does nothing: an engine in memory lives as long as somebody holds it.
func (d *Driver) Close() error { return nil }

// do runs f on the engine, there and back over the link.
func (d *Driver) do(ctx context.Context, what string, f func(*engine) error) error {
	err := d.link.there(ctx)
	if err == nil {
		d.e.mu.Lock()
		err = f(d.e)
		d.e.mu.Unlock()
		if lost := d.link.back(ctx); lost != nil {
			err = lost
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Open implements driver.Engine.
func (d *Driver) Open(ctx context.Context, ttl time.Duration, holder string) (driver.Session, error) {
	s := &session{d: d, id: rand.Text(), ttl: ttl, holder: holder}
	err := d.do(ctx, "open", func(e *engine) error {
		e.sessions[s.id] = s
		s.timer = time.AfterFunc(ttl, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			if !time.Now().Before(s.expires) {
				e.drop(s)
			}
		})
		s.expires = time.Now().Add(ttl)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Holder implements driver.Engine.
func (d *Driver) Holder(ctx context.Context, name string) (h driver.Holder, revision uint64, err error) {
	err = d.do(ctx, "holder of "+name, func(e *engine) error {
		revision = e.revision
		if q := e.locks[name]; q != nil && q.holder != nil {
			h = driver.Holder{Name: q.holder.session.holder, Value: q.holder.value, Token: q.holder.token}
		}
		return nil
	})
	return h, revision, err
}

// Await implements driver.Engine.
func (d *Driver) Await(ctx context.Context, name string, revision uint64) error {
	for {
		var changed, restart <-chan struct{}
		over := false
		err := d.do(ctx, "await "+name, func(e *engine) error {
			q := e.queue(name)
			over = q.changes > revision || revision > e.revision
			changed, restart = q.changed, e.restart
			return nil
		})
		if err != nil || over {
			return err
		}
		if err := d.link.wait(ctx, changed, restart); err != nil {
			return fmt.Errorf("await %s: %w", name, err)
		}
	}
}

// Epoch implements driver.Engine.
func (d *Driver) Epoch(ctx context.Context) (out driver.Epoch, err error) {
	err = d.do(ctx, "epoch", func(e *engine) error {
		if e.epoch.ID == "" {
			e.epoch.ID = rand.Text()
		}
		out = e.epoch
		return nil
	})
	return out, err
}

// Settle implements driver.Engine.
func (d *Driver) Settle(ctx context.Context, id string) error {
	return d.do(ctx, "settle", func(e *engine) error {
		if e.epoch.ID == id {
			e.epoch.Settled = true
		}
		return nil
	})
}

func (e *engine) queue(name string) *queue {
	q := e.locks[name]
	if q == nil {
		q = &queue{changed: make(chan struct{}), changes: e.revision} // the one before may have changed until now
		e.locks[name] = q
	}
	return q
}

// find returns the place of a ticket, or -1.
func (q *queue) find(id string) int {
	if q == nil {
		return -1
	}
	return slices.IndexFunc(q.tickets, func(t *ticket) bool { return t.id == id })
}

// held changes the holder.
func (e *engine) held(q *queue, t *ticket) {
	q.holder = t
	e.revision++
	q.changes = e.revision
	close(q.changed)
	q.changed = make(chan struct{})
}

// remove takes the ticket at place i out.
func (e *engine) remove(name string, i int) {
	q := e.locks[name]
	t := q.tickets[i]
	q.tickets = slices.Delete(q.tickets, i, i+1)
	close(t.gone)
	if q.holder == t {
		e.held(q, nil)
	}
	if len(q.tickets) == 0 {
		delete(e.locks, name)
		close(q.changed) // who awaits it looks for the next one
	}
}

// drop ends a session.
func (e *engine) drop(s *session) {
	if e.sessions[s.id] != s {
		return
	}
	delete(e.sessions, s.id)
	s.timer.Stop()
	for name, q := range e.locks {
		for i := len(q.tickets) - 1; i >= 0; i-- {
			if q.tickets[i].session == s {
				e.remove(name, i)
			}
		}
	}
}
