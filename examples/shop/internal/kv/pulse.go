package kv

import (
	"sync"
	"time"
)

// pulse knows whether a store is away: nothing has answered for as long as a call may take. To wait that long once more
// would be to no avail, so calls are then cut to one short try. That try is what notices that the store is back.
// Safe for concurrent use.
type pulse struct {
	mu       sync.Mutex
	failures int       // in a row
	since    time.Time // the first of them
	last     time.Time
}

const (
	// enoughFailures is more than the tries that a single frozen member of three can spoil in a row.
	enoughFailures = 3
	// forgetAfter is how long failures are remembered without new ones: a service that asks rarely knows less.
	forgetAfter = 5 * time.Second
)

// beat notes a try that was begun at start and ended at now.
func (p *pulse) beat(start, now time.Time, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case answered:
		p.failures = 0
		return
	case p.failures == 0 || now.Sub(p.last) > forgetAfter:
		p.failures, p.since = 0, start
	}
	p.failures++
	p.last = now
}

// gone reports whether the store is away.
func (p *pulse) gone(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures >= enoughFailures && now.Sub(p.since) >= callTimeout && now.Sub(p.last) <= forgetAfter
}
