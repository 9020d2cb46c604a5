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
	if !slices.ContainsFunc(r.tasks, drains) {
		r.delay = 0
	}
	begin := time.Now()
	hurry := time.NewTimer(r.delay + r.stopTimeout/10*9)
	defer hurry.Stop()
	deadline := time.NewTimer(r.delay + r.stopTimeout)
	defer deadline.Stop()

	calls := r.drain()
	r.log.Info("stopping")
	r.cancelAll(hurry.C)
	join(append(slices.Clone(r.tasks), calls...), deadline.C)

	var errs []error
	for _, t := range r.tasks {
		switch {
		case t.running():
			errs = append(errs, fmt.Errorf("stop %s: still running after %v", nameOf(t.component), time.Since(begin)))
		case t != r.first:
			r.tellPanics(t)
			if !canceled(t.err) {
				errs = append(errs, t.failure())
			}
		}
	}
	for _, t := range calls {
		if t.running() {
			errs = append(errs, fmt.Errorf("drain %s: still running after %v", nameOf(t.component), time.Since(begin)))
		}
	}
	return errors.Join(errs...)
}

// drains reports whether there is something to drain.
func drains(t *task) bool {
	_, ok := drainer(t.component)
	return ok && t.running()
}

// drain calls Drain of every component that runs, waits for the calls as long as they may take, then for the delay.
// The calls are made at once, so that a registry that does not answer delays nobody's health check.
func (r *run) drain() []*task {
	timeout := min(maxDrainCall, r.stopTimeout/4)
	ctx, cancel := context.WithTimeout(r.base, timeout)
	defer cancel()
	var calls []*task
	for _, t := range slices.Backward(r.tasks) {
		if d, ok := drainer(t.component); ok && t.running() {
			calls = append(calls, spawn(t.component, cancel, func() error { return d.Drain(ctx) }, nil))
		}
	}
	if len(calls) == 0 {
		return nil
	}
	r.log.Info("draining", "delay", r.delay)
	late := time.NewTimer(timeout + graceOfDrain)
	defer late.Stop()
	join(calls, late.C)
	for _, t := range calls {
		if !t.running() && t.err != nil {
			r.log.Warn("drain failed", "component", nameOf(t.component), "error", t.err)
			r.tellPanics(t)
		}
	}
	delay := time.NewTimer(r.delay)
	defer delay.Stop()
	<-delay.C
	return calls
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
