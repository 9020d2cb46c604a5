package memqueue

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Faults breaks an engine on purpose. Each fault has taken hold when its method returns.
type Faults struct{ b *broker }

// Faults returns the ways to break the engine for all its clients.
func (e *Engine) Faults() Faults { return Faults{e.b} }

// Down makes every call fail, and breaks all connections: what was received comes again.
func (f Faults) Down() {
	f.b.link.set(func(l *link) { l.cut = true })
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.b.disconnect()
}

// Up ends Down, with everything that was kept.
func (f Faults) Up() { f.b.link.set(func(l *link) { l.cut = false }) }

// Restart is Down and Up.
func (f Faults) Restart() { f.Down(); f.Up() }

// Wipe restarts the engine without memory: topics, groups, messages and dead letters are gone.
func (f Faults) Wipe() {
	f.b.link.set(func(l *link) { l.cut = true })
	f.b.mu.Lock()
	f.b.disconnect()
	f.b.topics = make(map[string]*topic)
	f.b.bytes, f.b.kept = 0, 0
	f.b.mu.Unlock()
	f.Up()
}

// Freeze makes calls hang, without an error, until Thaw. What was begun stays so.
func (f Faults) Freeze() { f.b.link.set(func(l *link) { l.frozen = true }) }

// Thaw ends Freeze.
func (f Faults) Thaw() { f.b.link.set(func(l *link) { l.frozen = false }) }

// LoseConfirms makes the next n publications fail although their messages are taken.
func (f Faults) LoseConfirms(n int) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.b.lose = n
}

// Revoke takes the deliveries in hand from all instances of a group, as engines do that distribute parts of a topic anew:
// what is not settled within two seconds comes again.
func (f Faults) Revoke(topicName, groupName string) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	g, err := f.b.find(topicName, groupName)
	if err != nil {
		return
	}
	for r := range g.receivers {
		close(r.revoked)
		r.revoked = make(chan struct{})
		held := maps.Clone(r.held)
		time.AfterFunc(grace, func() {
			f.b.mu.Lock()
			defer f.b.mu.Unlock()
			keys := make(map[string]bool)
			for e := range held {
				if _, still := r.held[e]; !still || r.g != g {
					continue
				}
				if r.s.Ordered && e.m.Key != "" {
					keys[e.m.Key] = true
					continue
				}
				r.drop(e)
				g.back(e, time.Time{})
			}
			if r.g == g {
				r.giveBack(keys)
			}
		})
	}
}

// disconnect breaks all connections. It needs mu.
func (b *broker) disconnect() {
	for e := range b.engines {
		e.disconnect()
	}
}

func (e *Engine) disconnect() {
	for r := range e.receivers {
		r.detach()
		r.poke()
	}
}

// Cut breaks this client's connection, and keeps it from connecting until Restore: what it received comes again.
func (e *Engine) Cut() {
	e.link.set(func(l *link) { l.cut = true })
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	e.disconnect()
}

// Restore ends Cut.
func (e *Engine) Restore() { e.link.set(func(l *link) { l.cut = false }) }

// Freeze makes this client's calls hang until Thaw. The engine goes on, without hearing from it.
func (e *Engine) Freeze() { e.link.set(func(l *link) { l.frozen = true }) }

// Thaw ends Freeze.
func (e *Engine) Thaw() { e.link.set(func(l *link) { l.frozen = false }) }

// link is the way to an engine.
type link struct {
	err error // while it is cut

	mu          sync.Mutex
	cut, frozen bool
	changed     chan struct{} // closed and replaced
}

func newLink(err error) *link { return &link{err: err, changed: make(chan struct{})} }

func (l *link) set(change func(*link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) blocked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frozen || l.cut
}

func (l *link) change() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// pass returns when the way is free, or why it is not.
func (l *link) pass(ctx context.Context) error {
	for {
		l.mu.Lock()
		cut, frozen, changed := l.cut, l.frozen, l.changed
		l.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case cut:
			return l.err
		case !frozen:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// changes are channels that are closed when a way changes.
type changes struct{ link, broker <-chan struct{} }

func (e *Engine) changes() changes { return changes{e.link.change(), e.b.link.change()} }
