package registry

import (
	"context"
)

// Announcement keeps one instance in the registry for as long as its Run runs. It is a lifecycle component:
// Run, Ready, Drain, Name.
type Announcement struct{}

// Announce prepares the announcement of inst; Run does it. An Instance that Validate rejects is reported by Run.
func (r *Registry) Announce(inst Instance) *Announcement { panic("not yet") }

// Name returns "registry SERVICE/ID".
func (a *Announcement) Name() string { panic("not yet") }

// Ready is closed from the start: a service boots and serves while its registry is down.
func (a *Announcement) Ready() <-chan struct{} { panic("not yet") }

// Registered is closed when the engine has confirmed the record for the first time.
func (a *Announcement) Registered() <-chan struct{} { panic("not yet") }

// Run registers the instance and keeps it registered until ctx ends: every failure is retried with back-off for ever,
// and a lost lease or record is written again at once. When ctx ends, the record is removed, which takes at most
// 2 s; nil is returned then. The error is the instance's own (Validate), or a second Run.
//
// If another process announces the same service and ID, the later one keeps the record. The earlier one says so in
// the log and stands by until the record is free.
func (a *Announcement) Run(ctx context.Context) error { panic("not yet") }

// Drain marks the instance as draining and returns when the engine has confirmed it, or ctx ends, or 2 s have passed:
// consumers then send no new work here. Serving goes on.
func (a *Announcement) Drain(ctx context.Context) error { panic("not yet") }

// Update changes what is announced, by calling change with a copy, and returns at once. Service and ID cannot be
// changed. The engine learns of it in the background. A change that Validate rejects is returned and dropped.
func (a *Announcement) Update(change func(*Instance)) error { panic("not yet") }
