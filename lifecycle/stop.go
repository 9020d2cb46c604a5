package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// stop drains, waits and stops what was started. It returns what went wrong on the way, r.first's own error aside.
func (r *run) stop() error {
	if !r.started {
		r.delay = 0 // nobody can count on a service that never was complete
	}
	begin := time.Now()
	hurry := time.NewTimer(r.delay + r.stopTimeout/10*9)
	defer hurry.Stop()
	deadline := time.NewTimer(r.delay + r.stopTimeout)
	defer deadline.Stop()

	drains := r.drain()
	r.log.Info("stopping")
	r.cancelAll(hurry.C)
	join(append(slices.Clone(r.tasks), drains...), deadline.C)

	var errs []error
	for _, t := range r.tasks {
		switch {
		case t.running():
			errs = append(errs, fmt.Errorf("stop %s: still running after %v", nameOf(t.component), time.Since(begin)))
		case t != r.first && !errors.Is(t.err, context.Canceled):
			errs = append(errs, t.failure())
		}
	}
	for _, t := range drains {
		if t.running() {
			errs = append(errs, fmt.Errorf("drain %s: still running after %v", nameOf(t.component), time.Since(begin)))
		}
	}
	return errors.Join(errs...)
}

// drain calls Drain of every component that runs, waits for the calls as long as they may take, then for the delay.
// The calls are made at once, so that a registry that does not answer delays nobody's health check.
func (r *run) drain() []*task {
	timeout := min(maxDrainCall, r.stopTimeout/4)
	ctx, cancel := context.WithTimeout(r.base, timeout)
	defer cancel()
	var drains []*task
	for _, t := range slices.Backward(r.tasks) {
		if d, ok := drainer(t.component); ok && t.running() {
			drains = append(drains, spawn(t.component, cancel, func() error { return d.Drain(ctx) }, nil))
		}
	}
	if len(drains) == 0 {
		return nil
	}
	r.log.Info("draining", "delay", r.delay)
	late := time.NewTimer(timeout)
	defer late.Stop()
	join(drains, late.C)
	for _, t := range drains {
		if !t.running() && t.err != nil {
			r.log.Warn("drain failed", "component", nameOf(t.component), "error", t.err)
		}
	}
	delay := time.NewTimer(r.delay)
	defer delay.Stop()
	<-delay.C
	return drains
}

// cancelAll cancels the tasks last first, each after the one before has returned, until hurry: then all that are left.
func (r *run) cancelAll(hurry <-chan time.Time) {
	late := false
	for _, t := range slices.Backward(r.tasks) {
		t.cancel()
		if late {
			continue
		}
		select {
		case <-t.done:
		case <-hurry:
			late = true
		}
	}
}

// join waits for all tasks, or until deadline.
func join(tasks []*task, deadline <-chan time.Time) {
	for _, t := range tasks {
		select {
		case <-t.done:
		case <-deadline:
			return
		}
	}
}
