package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/registry/driver"
)

const (
	registerBackoffBase = 50 * time.Millisecond
	// registerBackoffMax keeps the return after an outage well within the TTL.
	registerBackoffMax = 2 * time.Second

	// leaveTimeout bounds the end of Run: half for a call that is under way, half for the removal.
	leaveTimeout = 2 * time.Second
	drainTimeout = 2 * time.Second
)

// Announcement keeps one instance in the registry for as long as its Run runs. It is a lifecycle component:
// Run, Ready, Drain, Name. Safe for concurrent use.
type Announcement struct {
	reg     *Registry
	owner   string
	log     *slog.Logger
	invalid error
	ready   chan struct{}

	mu         sync.Mutex
	inst       Instance // what should be announced
	want       uint64   // grows with every change of inst
	have       uint64   // the want that the engine has confirmed
	running    bool
	began      bool
	confirmed  chan struct{} // closed and replaced when have grows or Run ends
	change     chan struct{} // capacity 1: inst has changed
	registered chan struct{}
	once       sync.Once
}

// Announce prepares the announcement of inst; Run does it. An Instance that Validate rejects is reported by Run.
func (r *Registry) Announce(inst Instance) *Announcement {
	a := &Announcement{
		reg: r, owner: rand.Text(), inst: clone(inst), invalid: Validate(inst), want: 1,
		log:   r.cfg.Logger.With("service", inst.Service, "instance", inst.ID),
		ready: make(chan struct{}), confirmed: make(chan struct{}),
		change: make(chan struct{}, 1), registered: make(chan struct{}),
	}
	close(a.ready)
	return a
}

// Name returns "registry SERVICE/ID".
func (a *Announcement) Name() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return "registry " + a.inst.Service + "/" + a.inst.ID
}

// Ready is closed from the start: a service boots and serves while its registry is down.
func (a *Announcement) Ready() <-chan struct{} { return a.ready }

// Registered is closed when the engine has confirmed the record for the first time.
func (a *Announcement) Registered() <-chan struct{} { return a.registered }

// Run registers the instance and keeps it registered until ctx ends: every failure is retried with back-off for ever,
// and a lost lease or record is written again at once. When ctx ends, the record is removed, which takes at most
// 2 s; nil is returned then. The error is the instance's own (Validate), or that Run was called before.
//
// If another process announces the same service and ID, the later one keeps the record. The earlier one says so in
// the log and stands by until the record is free.
func (a *Announcement) Run(ctx context.Context) error {
	a.mu.Lock()
	began := a.began
	a.began = true
	a.running = !began && a.invalid == nil
	a.mu.Unlock()
	if began {
		return fmt.Errorf("announce %s: Run called twice", a.Name())
	}
	if a.invalid != nil {
		return fmt.Errorf("announce: %w", a.invalid)
	}
	defer func() {
		a.mu.Lock()
		a.running = false
		a.broadcast()
		a.mu.Unlock()
	}()

	// The first registration replaces whatever is there: a restarted process finds the record of the one before it,
	// whose lease still runs. A later one must not, or two processes with one ID would take it from each other for ever.
	takeOver := true
	b := backoff.Backoff{Base: registerBackoffBase, Max: registerBackoffMax}
	var down outage
	again := false
	for ctx.Err() == nil {
		held, err := a.register(ctx, takeOver)
		switch {
		case errors.Is(err, driver.ErrTaken):
			a.log.Error("another process announces this instance, standing by", "error", err)
			backoff.Pause(ctx, backoff.Jitter(a.reg.cfg.TTL/2, a.reg.cfg.TTL))
		case err != nil:
			down.begin(ctx, a.log, "registration failed, trying on", err)
			backoff.Pause(ctx, b.Next())
		default:
			if again && down.tries == 0 {
				a.log.Info("registered again")
			}
			down.end(a.log, "registered")
			takeOver, again = false, true
			started := time.Now()
			a.hold(ctx, held)
			if bugRegister {
				<-ctx.Done()
			}
			// What is lost is written again at once; what is lost over and over, with back-off.
			if time.Since(started) >= a.reg.cfg.TTL/6 {
				b.Reset()
			} else if ctx.Err() == nil {
				backoff.Pause(ctx, b.Next())
			}
		}
	}
	return nil
}

// hold keeps a registration until it is lost or ctx ends; in that case it removes it. It is renewed also while what it says
// cannot be changed: an instance whose weight is not the latest is better than none.
func (a *Announcement) hold(ctx context.Context, held driver.Registration) {
	every := a.reg.cfg.TTL / 3
	next := backoff.Backoff{Base: registerBackoffBase, Max: min(registerBackoffMax, every)}
	again := next
	renewal, change := time.NewTimer(backoff.Jitter(every*8/10, every)), time.NewTimer(every)
	change.Stop() // none has failed
	defer renewal.Stop()
	defer change.Stop()
	var down, stuck outage
	for {
		if ctx.Err() != nil { // also where something else is due
			a.leave(held)
			return
		}
		var err error
		select {
		case <-ctx.Done():
		case <-renewal.C:
			if err = a.call(ctx, held.Renew); err == nil {
				down.end(a.log, "registry answers again, registration is held")
				next.Reset()
				renewal.Reset(backoff.Jitter(every*8/10, every))
				continue
			}
			renewal.Reset(next.Next())
			if !lost(err) { // the lease may run out meanwhile; if it did, the first answer says so
				down.begin(ctx, a.log, "registration cannot be renewed, trying on", err)
			}
		case <-a.change:
			err = a.alter(ctx, held, change, &again, &stuck)
		case <-change.C:
			err = a.alter(ctx, held, change, &again, &stuck)
		}
		if lost(err) {
			a.log.Warn("registration lost, registering again", "error", err)
			return
		}
	}
}

// lost reports whether err says that a registration is not held any more.
func lost(err error) bool { return errors.Is(err, driver.ErrLost) || errors.Is(err, driver.ErrTaken) }

// alter writes the record if it has changed, and has that tried again if it fails.
func (a *Announcement) alter(ctx context.Context, held driver.Registration, retry *time.Timer, b *backoff.Backoff, stuck *outage) error {
	err := a.update(ctx, held)
	switch {
	case err == nil:
		stuck.end(a.log, "what is announced was changed")
		b.Reset()
		retry.Stop()
	case !lost(err):
		stuck.begin(ctx, a.log, "what is announced cannot be changed, trying on", err)
		retry.Reset(b.Next())
	}
	return err
}

// register writes the record as it should be now.
func (a *Announcement) register(ctx context.Context, takeOver bool) (driver.Registration, error) {
	rec, want := a.record()
	var held driver.Registration
	err := a.call(ctx, func(ctx context.Context) (err error) {
		held, err = a.reg.driver.Register(ctx, rec, a.reg.cfg.TTL, takeOver)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.once.Do(func() { close(a.registered) })
	a.confirm(want)
	return held, nil
}

// update writes the record if it has changed since it was confirmed.
func (a *Announcement) update(ctx context.Context, held driver.Registration) error {
	rec, want := a.record()
	a.mu.Lock()
	done := a.have >= want
	a.mu.Unlock()
	if done {
		return nil
	}
	if err := a.call(ctx, func(ctx context.Context) error { return held.Update(ctx, rec) }); err != nil {
		return err
	}
	a.confirm(want)
	return nil
}

// leave removes the record. One that was not drained is marked first, so that watchers see an orderly end and not
// one more instance that vanished. The mark has half of the time: an engine that cannot take it may be able to remove.
func (a *Announcement) leave(held driver.Registration) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout/2)
	defer cancel()
	rec, _ := a.record()
	var err error
	if !rec.Draining {
		rec.Draining = true
		mark, done := context.WithTimeout(ctx, leaveTimeout/4)
		err = held.Update(mark, rec)
		done()
	}
	if !lost(err) {
		err = held.Deregister(ctx)
	}
	if err != nil && !lost(err) {
		a.log.Warn("not deregistered, the record ends with its lease", "error", err)
	}
}

// call runs one call to the engine. A call that is under way when ctx ends gets leaveTimeout/2 more, because what it
// writes has to be known in order to be removed.
func (a *Announcement) call(ctx context.Context, f func(context.Context) error) error {
	callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.reg.cfg.CallTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if backoff.Pause(callCtx, leaveTimeout/2) {
			cancel()
		}
	})
	defer stop()
	return f(callCtx)
}

func (a *Announcement) record() (driver.Record, uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return driver.Record{Instance: clone(a.inst), Owner: a.owner}, a.want
}

func (a *Announcement) confirm(want uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.have = max(a.have, want)
	a.broadcast()
}

// broadcast wakes the Drains. a.mu is held.
func (a *Announcement) broadcast() {
	close(a.confirmed)
	a.confirmed = make(chan struct{})
}

// poke has hold look at the record again.
func (a *Announcement) poke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.have < a.want {
		select {
		case a.change <- struct{}{}:
		default:
		}
	}
}

// Drain marks the instance as draining and returns nil when the engine has confirmed it: consumers then send no new
// work here. Serving goes on. It gives up after 2 s or when ctx ends, with an error; the mark is still written as
// soon as the engine answers.
func (a *Announcement) Drain(ctx context.Context) error {
	if err := a.Update(func(inst *Instance) { inst.Draining = true }); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for {
		a.mu.Lock()
		done, confirmed := a.have >= a.want || !a.running, a.confirmed
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain %s: registry did not confirm: %w", a.Name(), ctx.Err())
		case <-confirmed:
		}
	}
}

// Update changes what is announced, by calling change with a copy, and returns at once. Service and ID cannot be
// changed. The engine learns of it in the background. A change that Validate rejects is returned and dropped.
func (a *Announcement) Update(change func(*Instance)) error {
	a.mu.Lock()
	next := clone(a.inst)
	change(&next)
	if next.Service != a.inst.Service || next.ID != a.inst.ID {
		a.mu.Unlock()
		return fmt.Errorf("announce %s/%s: service and id cannot be changed", a.inst.Service, a.inst.ID)
	}
	if err := Validate(next); err != nil {
		a.mu.Unlock()
		return fmt.Errorf("announce: %w", err)
	}
	if !equal(next, a.inst) {
		a.inst = next
		a.want++
	}
	a.mu.Unlock()
	a.poke()
	return nil
}

// outage logs the first failure of a row and the end of it, not each try.
type outage struct {
	since time.Time
	tries int
}

func (o *outage) begin(ctx context.Context, log *slog.Logger, msg string, err error) {
	if ctx.Err() != nil {
		return
	}
	if o.tries == 0 {
		o.since = time.Now()
		log.Warn(msg, "error", err)
	}
	o.tries++
}

func (o *outage) end(log *slog.Logger, msg string) {
	if o.tries > 0 {
		log.Info(msg, "down", time.Since(o.since).Round(time.Millisecond), "tries", o.tries)
	}
	*o = outage{}
}
