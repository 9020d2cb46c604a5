//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/system"
)

const (
	// crashOutput is how many lines of output a CrashError has.
	crashOutput = 10
	// crashLine is how many bytes of each: all of it fits into an answer of the control API.
	crashLine = 1 << 10
)

// CrashError says that an instance crashes whenever it is started.
type CrashError struct {
	// ID of the instance.
	ID string
	// Reason says how it ended last: "exit status 1".
	Reason string
	// Output is the last lines that its last process wrote, of which all is there, oldest first, each cut at 1 KiB.
	Output []string
}

// Error is the reason and, below it, the output.
func (e *CrashError) Error() string {
	message := e.ID + " keeps crashing: " + e.Reason
	if len(e.Output) > 0 {
		message += "; its last output:\n  " + strings.Join(e.Output, "\n  ")
	}
	return message
}

// Kill sends SIGKILL to the process group of an instance, which is then started again. It works on frozen instances and
// shortens draining. An unknown id is a failure.NotFound, one without a process a failure.FailedPrecondition; the same
// for Freeze and Thaw.
func (s *Supervisor) Kill(id string) error { return s.command(id, cmdKill) }

// Freeze stops an instance as SIGSTOP does. Its connections stay open; it answers nothing.
func (s *Supervisor) Freeze(id string) error { return s.command(id, cmdFreeze) }

// Thaw lets a frozen instance go on.
func (s *Supervisor) Thaw(id string) error { return s.command(id, cmdThaw) }

// Slow lets an instance run only a share of the time, from 0.01 to below 1, by stopping and continuing its process a few times
// in a tenth of a second; 0 is all of it again. It is no freeze: the instance's state does not show it. It ends with the process.
func (s *Supervisor) Slow(id string, share float64) error {
	if share != 0 && (!(share >= 0.01) || share >= 1) {
		return failure.New(failure.OutOfRange, "%s: a share of %v is not from 0.01 to below 1, nor 0", id, share)
	}
	return s.order(id, event{kind: cmdSlow, share: share})
}

// Abort kills all processes at once, whatever they are about to finish, and from then on nothing is started. It is for those
// who cannot wait for the stop that the end of Run's context began; Run still ends by its context.
func (s *Supervisor) Abort() {
	s.mu.Lock()
	if s.life == running {
		s.life = stopping
	}
	var all []*instance
	for _, g := range s.groups {
		all = append(all, g.instances...)
	}
	s.broadcast()
	s.mu.Unlock()
	var told sync.WaitGroup
	for _, i := range all {
		told.Go(func() {
			_ = i.command(cmdStop) // first, or it would be started again
			_ = i.command(cmdKill) // it may have ended by itself
		})
	}
	told.Wait()
}

func (s *Supervisor) command(id string, k kind) error { return s.order(id, event{kind: k}) }

func (s *Supervisor) order(id string, e event) error {
	s.mu.Lock()
	var found *instance
	for _, g := range s.groups {
		if i := g.member(id); i != nil {
			found = i
		}
	}
	s.mu.Unlock()
	if found == nil {
		return failure.New(failure.NotFound, "no instance %q", id)
	}
	return found.order(e)
}

// WaitReady blocks until every instance of the services (none named: of all services) is ready. It ends early with a
// *CrashError if an instance is crash looping, with a failure.NotFound for an unknown service, and with a
// failure.Unavailable when the Supervisor is stopping.
func (s *Supervisor) WaitReady(ctx context.Context, services ...string) error {
	return s.await(ctx, "wait until ready", func() (bool, error) {
		for _, name := range services {
			if s.group(name) == nil {
				return false, notFound(name)
			}
		}
		ready := true
		for _, g := range s.groups {
			if len(services) > 0 && !slices.Contains(services, g.Service) {
				continue
			}
			if len(g.instances) < g.desired {
				ready = false
			}
			for _, i := range g.instances {
				ok, err := s.isReady(i)
				if err != nil {
					return false, err
				}
				ready = ready && ok
			}
		}
		return ready, nil
	})
}

// WaitMajority blocks until of each instance of a service it is known whether it becomes ready, and more than half of them are. It
// returns those that are crash looping instead, in the order of States. It ends early with the *CrashError of one of them if more
// than half cannot be ready for that, and otherwise as WaitReady does.
func (s *Supervisor) WaitMajority(ctx context.Context, service string) (crashing []*CrashError, err error) {
	err = s.await(ctx, "wait for a majority of "+service, func() (bool, error) {
		g := s.group(service)
		if g == nil {
			return false, notFound(service)
		}
		crashing = nil
		ready := 0
		for _, i := range g.instances {
			ok, err := s.isReady(i)
			var crash *CrashError
			switch {
			case ok:
				ready++
			case errors.As(err, &crash):
				crashing = append(crashing, crash)
			}
		}
		if len(crashing) > 0 && 2*(g.desired-len(crashing)) <= g.desired {
			return false, crashing[0]
		}
		return ready+len(crashing) == g.desired, nil
	})
	if err != nil {
		return nil, err
	}
	return crashing, nil
}

// isComing reports whether an instance was started by a command that did not wait for it, with mu held.
func (i *instance) isComing() bool { return i.state.State == Starting && i.state.Restarts == 0 }

// isReady is called with mu held. A crash loop is an error.
func (s *Supervisor) isReady(i *instance) (bool, error) {
	if i.state.State != Looping {
		return i.state.State == Ready, nil
	}
	crash := &CrashError{ID: i.id, Reason: i.state.Reason}
	for _, line := range lastOutput(s.logs.last(i.id, 2*crashOutput), i.read) {
		crash.Output = append(crash.Output, strings.ToValidUTF8(line.Text[:min(len(line.Text), crashLine)], ""))
	}
	return false, crash
}

// lastOutput returns the last of some lines of an instance that are of one process: of that start, whose output has been read to its
// end, or else of the last one that wrote any. What those before it wrote is mostly the same again.
func lastOutput(lines []Line, start int) []Line {
	of := func(l Line) bool { return l.start == start }
	if n := len(lines); n > 0 && !slices.ContainsFunc(lines, of) {
		start = lines[n-1].start
	}
	lines = slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return !of(l) })
	return lines[max(0, len(lines)-crashOutput):]
}

// await blocks until cond, called with mu held, is true or an error.
func (s *Supervisor) await(ctx context.Context, what string, cond func() (bool, error)) error {
	for {
		s.mu.Lock()
		done, err := cond()
		changed, life := s.changed, s.life
		begun := isClosed(s.ready)
		s.mu.Unlock()
		switch {
		case done || err != nil:
			return err
		case life == over || life == stopping && begun:
			return errStopping
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// group finds a group, with mu held.
func (s *Supervisor) group(service string) *group {
	for _, g := range s.groups {
		if g.Service == service {
			return g
		}
	}
	return nil
}

func notFound(service string) error { return failure.New(failure.NotFound, "no service %q", service) }

// begin reserves a service for a command that changes its instances. end has to be called if there is no error.
func (s *Supervisor) begin(service string) (*group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.group(service)
	switch {
	case g == nil:
		return nil, notFound(service)
	case s.life != running:
		return nil, errStopping
	case g.busy:
		return nil, failure.New(failure.Aborted, "%s is being restarted, scaled or stopped already", service)
	}
	g.busy = true
	return g, nil
}

func (s *Supervisor) end(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.busy = false
}

// Scale sets the number of instances and waits until new ones are ready and surplus ones, the highest numbers, are gone. Of
// new ones a crash loop is a *CrashError; how those do that were there already, frozen ones for example, does not matter.
// When ctx ends before, the new number stays in force. A fixed group is a failure.FailedPrecondition, a number that is not
// between 0 and 64 a failure.OutOfRange, an unknown service a failure.NotFound, and another Restart, Scale or Stop of the
// same service at the same time a failure.Aborted.
func (s *Supervisor) Scale(ctx context.Context, service string, n int) error {
	if n < 0 || n > system.MaxReplicas {
		return failure.New(failure.OutOfRange, "%s: %d instances are not between 0 and %d", service, n, system.MaxReplicas)
	}
	g, err := s.begin(service)
	if err != nil {
		return err
	}
	defer s.end(g)
	if len(g.Members) > 0 {
		return failure.New(failure.FailedPrecondition, "%s has a fixed number of instances: %d", service, len(g.Members))
	}
	return s.resize(ctx, g, n)
}

// Replicas is the number of instances that a service should have by now, 0 for one that is unknown.
func (s *Supervisor) Replicas(service string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.group(service); g != nil {
		return g.desired
	}
	return 0
}

// Busy reports whether a Restart, Scale or Stop of a service is under way, so that another one would be refused.
func (s *Supervisor) Busy(service string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.group(service)
	return g != nil && g.busy
}

// Stop stops all instances of a service. It stays known: Scale starts it again or, for a fixed group, Restart. Errors are
// those of Scale.
func (s *Supervisor) Stop(ctx context.Context, service string) error {
	g, err := s.begin(service)
	if err != nil {
		return err
	}
	defer s.end(g)
	return s.resize(ctx, g, 0)
}

func (s *Supervisor) resize(ctx context.Context, g *group, n int) error {
	s.mu.Lock()
	if s.life != running {
		s.mu.Unlock()
		return errStopping
	}
	g.desired = n
	staying := g.staying() // what a command before this one began to stop, and did not wait for, does not count
	surplus := slices.Clone(staying[min(n, len(staying)):])
	// Those that were there already are no part of this: one that is sick, such as by the load that others are started for, would
	// keep them from coming.
	fresh := slices.DeleteFunc(staying[:min(n, len(staying))], func(i *instance) bool { return !i.isComing() })
	fresh = append(fresh, s.launchAll(g)...)
	s.broadcast()
	s.mu.Unlock()
	for _, i := range surplus {
		if err := i.command(cmdStop); err != nil {
			return err
		}
	}
	return s.await(ctx, "scale "+g.Service, func() (bool, error) {
		settled := len(g.instances) == n
		for _, i := range fresh {
			ok, err := s.isReady(i)
			if err != nil {
				return false, err
			}
			settled = settled && ok
		}
		return settled, nil
	})
}
