//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Restart restarts all instances of a service, or those named, one at a time and each under its own number, so that what an
// instance keeps on disk stays with its name. Before the first is stopped another one is started under the lowest free
// number, which stands in and is stopped after the last, with what an earlier Restart left beside it. Those that are not ready
// come first: nothing is lost by stopping them. If the stand-in does not become ready in ReadyTimeout, or
// crash loops, it is taken away, the old ones stay, and Restart fails; if one of the others does not, it is taken away, the
// stand-in stays in its place, and Restart fails. So it does, and no further one is stopped, when one that was started for it, or one
// that is not to be restarted and was ready before, is not ready any more, and not again within ReadyTimeout: the stand-in stays, too. In a
// fixed group there is no stand-in, and if a member does not become ready, the others are left alone; members that had been stopped
// are started. When ctx ends, no further one is begun. Errors are those of Scale.
func (s *Supervisor) Restart(ctx context.Context, service string, ids ...string) error {
	g, err := s.begin(service)
	if err != nil {
		return err
	}
	defer s.end(g)
	s.mu.Lock()
	old := g.staying()
	for _, id := range ids {
		if g.member(id) == nil {
			s.mu.Unlock()
			return failure.New(failure.NotFound, "%s has no instance %q", service, id)
		}
	}
	s.mu.Unlock()
	if len(ids) > 0 {
		old = slices.DeleteFunc(old, func(i *instance) bool { return !slices.Contains(ids, i.id) })
	}
	if len(g.Members) > 0 {
		return s.restartMembers(ctx, g, ids)
	}
	if len(old) == 0 {
		return nil
	}
	return s.roll(ctx, g, old)
}

// roll restarts instances in their places, with another one standing in.
func (s *Supervisor) roll(ctx context.Context, g *group, old []*instance) error {
	// No further one is stopped, and the stand-in is not, while one of those that can be relied on is not ready: what was well when it
	// began and stays, and what has been started since.
	relied := s.wellOf(g, old)
	standIn, err := s.start(g, 0)
	if err != nil {
		return err
	}
	if err := s.awaitOne(ctx, standIn); err != nil {
		return fmt.Errorf("restart %s: %w", old[0].id, s.takeAway(ctx, standIn, err))
	}
	relied = append(relied, standIn)
	for left := old; len(left) > 0; {
		if err = s.awaitAll(ctx, relied); err != nil {
			break
		}
		i := s.worst(left)
		left = slices.DeleteFunc(left, func(o *instance) bool { return o == i })
		next, err := s.renew(ctx, i)
		if err != nil {
			return refused(err, "restart %s: %s stays in its place", i.id, standIn.id)
		}
		relied = append(relied, next)
	}
	if err == nil {
		err = s.awaitAll(ctx, slices.DeleteFunc(relied, func(r *instance) bool { return r == standIn }))
	}
	if err != nil && ctx.Err() == nil {
		return refused(err, "restart %s: %s stays beside it", g.Service, standIn.id)
	}
	err = s.takeAway(ctx, standIn, err)
	for _, i := range s.surplus(g) {
		err = s.takeAway(ctx, i, err)
	}
	return err
}

// refused says why something was not done to the end, after what is left of it: all of it is for the user.
func refused(err error, format string, args ...any) error {
	code, why := failure.CodeOf(err), err.Error()
	var crash *CrashError
	var coded *failure.Error
	switch {
	case errors.As(err, &crash):
		code, why = failure.FailedPrecondition, crash.Error()
	case errors.As(err, &coded):
		why = coded.Message
	}
	return failure.Wrap(err, code, "%s: %s", fmt.Sprintf(format, args...), why)
}

// wellOf returns the instances of a group that are ready and can be expected to stay so, without some of them. One that crashes again
// and again, and is up for a moment, cannot.
func (s *Supervisor) wellOf(g *group, without []*instance) (all []*instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range g.staying() {
		lasts := i.crashes <= 1 || time.Since(i.state.Since) >= steady
		if i.state.State == Ready && lasts && !slices.Contains(without, i) {
			all = append(all, i)
		}
	}
	return all
}

// worst returns the first of some instances that is not ready, or the first.
func (s *Supervisor) worst(of []*instance) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return of[max(0, slices.IndexFunc(of, func(i *instance) bool { return i.state.State != Ready }))]
}

// surplus returns what a group has beyond what it should have: stand-ins that an earlier restart left.
func (s *Supervisor) surplus(g *group) []*instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	staying := g.staying()
	return slices.Clone(staying[min(g.desired, len(staying)):])
}

// awaitAll waits until all of them are ready at one time.
func (s *Supervisor) awaitAll(ctx context.Context, all []*instance) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var late string
	waiting, cancel := context.WithTimeout(ctx, s.cfg.ReadyTimeout)
	defer cancel()
	err := s.await(waiting, "wait for all others", func() (bool, error) {
		late = ""
		for _, i := range all {
			ok, err := s.isReady(i)
			if err != nil {
				return false, err
			}
			if !ok {
				late = i.id
			}
		}
		return late == "", nil
	})
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return failure.New(failure.DeadlineExceeded, "%s is not ready any more, and was not again within %s", late, s.cfg.ReadyTimeout)
	}
	return err
}

// renew stops an instance, and starts it again under its number.
func (s *Supervisor) renew(ctx context.Context, old *instance) (*instance, error) {
	ctx = context.WithoutCancel(ctx) // one that was stopped and not started would be missing
	if err := old.command(cmdStop); err != nil {
		return nil, err
	}
	if err := s.awaitGone(ctx, old); err != nil {
		return nil, err
	}
	next, err := s.start(old.g, old.number)
	if err != nil {
		return nil, err
	}
	if err := s.awaitOne(ctx, next); err != nil {
		return nil, s.takeAway(ctx, next, err)
	}
	return next, nil
}

// start starts an instance under a number, 0 for the lowest that is free.
func (s *Supervisor) start(g *group, number int) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != running {
		return nil, errStopping
	}
	if number == 0 {
		number = g.lowestFree()
	}
	i := s.launch(g, number, nil)
	s.broadcast()
	return i, nil
}

// takeAway stops an instance and waits for that, and returns err, why it does.
func (s *Supervisor) takeAway(ctx context.Context, i *instance, err error) error {
	if stop := i.command(cmdStop); stop != nil {
		return errors.Join(err, stop)
	}
	return errors.Join(err, s.awaitGone(context.WithoutCancel(ctx), i))
}

// awaitOne waits until an instance is ready.
func (s *Supervisor) awaitOne(ctx context.Context, i *instance) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.ReadyTimeout,
		failure.New(failure.DeadlineExceeded, "%s is not ready after %s", i.id, s.cfg.ReadyTimeout))
	defer cancel()
	err := s.await(ctx, "wait for "+i.id, func() (bool, error) { return s.isReady(i) })
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// awaitGone waits until an instance is gone. It is killed after StopTimeout, so that this is bounded.
func (s *Supervisor) awaitGone(ctx context.Context, i *instance) error {
	select {
	case <-i.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
