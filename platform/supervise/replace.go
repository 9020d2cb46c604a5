//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// ErrLeave is an error of what Replace calls between, or in it: the members may not run as things are.
var ErrLeave = errors.New("left stopped")

// Replace stops members of a fixed group, all at once, calls between when they are gone, and starts them again, also if between
// fails, unless that is with ErrLeave. It returns when all are ready, or with the first error. Errors are those of Restart, and
// between's.
func (s *Supervisor) Replace(ctx context.Context, service string, ids []string, between func() error) error {
	g, err := s.begin(service)
	if err != nil {
		return err
	}
	defer s.end(g)
	var members []*Member
	for n := range g.Members {
		if slices.Contains(ids, g.Members[n].ID) {
			members = append(members, &g.Members[n])
		}
	}
	if len(members) < len(ids) {
		return failure.New(failure.FailedPrecondition, "%s has not all of %s in a fixed group", service, strings.Join(ids, ", "))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here on not ctx: a member that was stopped and not started would be missing for good.
	if err := s.stopMembers(context.WithoutCancel(ctx), g, members); err != nil {
		return err
	}
	err = between()
	if errors.Is(err, ErrLeave) {
		return err
	}
	s.mu.Lock()
	if s.life != running {
		s.mu.Unlock()
		return errors.Join(err, errStopping)
	}
	var next []*instance
	for _, m := range members {
		next = append(next, s.launch(g, 0, m))
	}
	s.broadcast()
	s.mu.Unlock()
	for _, i := range next {
		err = errors.Join(err, s.awaitOne(ctx, i))
	}
	return err
}

// stopMembers returns when the members are gone.
func (s *Supervisor) stopMembers(ctx context.Context, g *group, members []*Member) error {
	s.mu.Lock()
	var old []*instance
	for _, m := range members {
		if i := g.member(m.ID); i != nil {
			old = append(old, i)
		}
	}
	s.mu.Unlock()
	for _, i := range old {
		if err := i.command(cmdStop); err != nil {
			return err
		}
	}
	for _, i := range old {
		if err := s.awaitGone(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// restartMembers restarts the members of a fixed group in their places.
func (s *Supervisor) restartMembers(ctx context.Context, g *group, ids []string) error {
	s.mu.Lock()
	g.desired = len(g.Members)
	s.mu.Unlock()
	for n := range g.Members {
		m := &g.Members[n]
		if len(ids) > 0 && !slices.Contains(ids, m.ID) {
			continue
		}
		if err := s.restartMember(ctx, g, m); err != nil {
			return fmt.Errorf("restart %s: %w", m.ID, err)
		}
	}
	return nil
}

func (s *Supervisor) restartMember(ctx context.Context, g *group, m *Member) error {
	s.mu.Lock()
	old := g.member(m.ID)
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if old != nil {
		if err := old.command(cmdStop); err != nil {
			return err
		}
		// Not ctx: a member that was stopped and not started would be missing for good.
		if err := s.awaitGone(context.WithoutCancel(ctx), old); err != nil {
			return err
		}
	}
	s.mu.Lock()
	if s.life != running {
		s.mu.Unlock()
		return errStopping
	}
	next := s.launch(g, 0, m)
	s.broadcast()
	s.mu.Unlock()
	return s.awaitOne(ctx, next)
}
