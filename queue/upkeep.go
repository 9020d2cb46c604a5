package queue

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// extend keeps what is in hand, and tells of handlers that take longer than they may.
func (r *runner) extend() {
	every := r.s.cfg.Hold / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-tick.C:
		}
		now := time.Now()
		var ds []*driver.Delivery
		r.mu.Lock()
		for t := range r.sched.tasks {
			if now.Sub(t.extended) >= every/2 {
				t.extended = now
				ds = t.deliveries(ds)
			}
			if t.state == running && !t.warned && now.Sub(t.begun) > 2*r.s.cfg.Timeout {
				t.warned = true
				r.log.Warn("queue: a handler goes on long after its time", "id", t.m.ID, "begun", t.begun)
			}
		}
		r.mu.Unlock()
		if len(ds) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), every)
		if err := r.rec.Extend(ctx, ds); err != nil && !errors.Is(err, driver.ErrLost) {
			r.complain(r.base, "extend", err)
		}
		cancel()
	}
}

// measure tells the observer how far behind the group is.
func (r *runner) measure() {
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), lagEvery/2)
		lag, err := r.s.q.engine.Lag(ctx, r.s.topic, r.s.group)
		cancel()
		if err == nil {
			r.observe(Event{Kind: Behind, Count: int(lag.Waiting + lag.Unsettled), Lag: lag})
		}
		select {
		case <-r.quit:
			return
		case <-tick.C:
		}
	}
}

// finish stops receiving, gives back what is not begun, waits for what is, and closes.
func (r *runner) finish(ctx context.Context) {
	r.rec.Stop()
	r.mu.Lock()
	unbegun := r.sched.stop()
	r.mu.Unlock()
	r.returnAll(unbegun)
	select {
	case <-r.waitIdle():
	case <-ctx.Done():
		r.await(r.s.cfg.DrainTimeout)
	}
	r.cancel(failure.Wrap(errStopping, failure.Canceled, "handle a message"))
	r.await(stopGrace)
	r.mu.Lock()
	r.closing = true
	if r.alarm != nil {
		r.alarm.Stop()
	}
	running := r.sched.running
	r.mu.Unlock()
	close(r.quit)
	r.settler.finish()
	if running > 0 {
		r.log.Error("queue: handlers do not end with their context; their messages go to other instances", "handlers", running)
	}
	if err := r.rec.Close(); err != nil {
		r.log.Warn("queue: close", "error", err)
	}
}

// waitIdle returns what is closed when nothing runs.
func (r *runner) waitIdle() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sched.running == 0 {
		idle := make(chan struct{})
		close(idle)
		return idle
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	return r.idle
}

// await waits until nothing runs, for d at most.
func (r *runner) await(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.waitIdle():
	case <-t.C:
	}
}
