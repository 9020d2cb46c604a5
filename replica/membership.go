package replica

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/found"
)

// Transfer hands leadership over to the member of that name, or to the one that is most up to date ("").
// It may be called on any member and returns when the other leads.
func (g *Group) Transfer(ctx context.Context, to string) error {
	ctx, cancel := g.within(ctx)
	defer cancel()
	if _, err := g.wait(ctx); err != nil {
		return err
	}
	for {
		var from string
		known := func() bool {
			from, _ = g.Leader()
			return from != ""
		}
		if err := g.until(ctx, known); err != nil { // or the one that is to hand over would be taken for its successor
			if ctx.Err() != nil {
				err = ErrNoQuorum
			}
			return err
		}
		if from == to {
			return nil
		}
		if _, err := g.atLeader(ctx, methodTransfer, changeRequest{Name: to}); err != nil {
			return err
		}
		try, done := context.WithTimeout(ctx, g.host.cfg.Election)
		err := g.until(try, func() bool {
			now, _ := g.Leader()
			return now != "" && now != from && (to == "" || now == to)
		})
		done()
		if err == nil || ctx.Err() != nil || g.isStopped() {
			return g.timely(err)
		}
	}
}

// timely returns err with a code, if it is a context's.
func (g *Group) timely(err error) error {
	if err == nil || failure.CodeOf(err) != failure.DeadlineExceeded && failure.CodeOf(err) != failure.Canceled {
		return err
	}
	return failure.Wrap(err, failure.CodeOf(err), "%s: not done in time", g.name)
}

// resign hands leadership over if this member has it.
func (g *Group) resign(ctx context.Context) {
	m := g.member.Load()
	if m == nil {
		return
	}
	for ctx.Err() == nil {
		s := m.core.Status()
		if s.Leader != m.id || s.Err != nil || !slices.ContainsFunc(s.Peers, func(p core.Peer) bool { return p.Active && !p.Learner && p.ID != m.id }) {
			return
		}
		m.input(input{kind: call, call: func(now time.Time) { m.core.Transfer(now, 0) }})
		try, done := context.WithTimeout(ctx, g.host.cfg.Election)
		_ = g.until(try, func() bool { return m.core.Status().Leader != m.id }) // tried again, or the member has ended
		done()
		if g.isStopped() {
			return
		}
	}
}

// AddMember makes the host of that name a member: as a learner, that votes once it has caught up if a vote is free. With
// voter, AddMember waits until it does. The host must be known to Peers, running, and have called Host.Group. It may be
// called on any member. A host of the name of a member, with another disk, replaces that.
func (g *Group) AddMember(ctx context.Context, name string, voter bool) error {
	ctx, cancel := g.within(ctx)
	defer cancel()
	added, err := g.atLeader(ctx, methodAdd, changeRequest{Name: name, Voter: voter})
	if err != nil {
		return err
	}
	return g.timely(g.until(ctx, func() bool {
		done := false
		for _, m := range g.Status().Members {
			switch {
			case m.ID == added.ID || added.ID == 0 && m.Name == name:
				done = !voter || !m.Learner
			case voter && m.Name == name: // what had the name before, and still votes
				return false
			}
		}
		return done
	}))
}

// ReplaceMember makes the host in a member in place of the host out, in one change once it has caught up: at no time is
// there a vote less. It waits for that, and may be called on any member and again. A learner has no vote to give: in is a learner,
// too, then, and out is removed. What out has on its disk of the group is refused from then on. ErrNotMember: out is no member
// (any more, if it was a learner).
func (g *Group) ReplaceMember(ctx context.Context, out, in string) error {
	ctx, cancel := g.within(ctx)
	defer cancel()
	if err := g.AddMember(ctx, in, false); err != nil {
		return err
	}
	_, err := g.atLeader(ctx, methodReplace, changeRequest{Name: out, In: in})
	return err
}

// RemoveMember ends the membership of the host of that name. What it has on its disk of the group is refused from then on.
// FAILED_PRECONDITION: it has the last vote, or of those that vote beside it most are not heard, so that the group could
// neither do nor become anything any more.
func (g *Group) RemoveMember(ctx context.Context, name string) error {
	ctx, cancel := g.within(ctx)
	defer cancel()
	_, err := g.atLeader(ctx, methodRemove, changeRequest{Name: name})
	return err
}

// Leave stops this member and removes what it has on its disk. It waits until all members that are left and vote know that
// it is none any more (RemoveMember, ReplaceMember): before, some of them may need its vote. A host that was never a member
// leaves at once.
func (g *Group) Leave(ctx context.Context) error {
	g.host.mu.Lock()
	running := g.host.state == hostRunning
	g.host.mu.Unlock()
	if !running {
		return ErrStopped.With("the host does not run")
	}
	if err := g.gone(ctx); err != nil {
		return g.timely(err)
	}
	g.mu.Lock()
	leave := g.leave
	g.mu.Unlock()
	if leave != nil {
		leave()
	}
	select {
	case <-g.ended:
	case <-ctx.Done():
		return g.timely(ctx.Err())
	}
	if err := g.forget(); err != nil {
		return err
	}
	g.host.mu.Lock()
	delete(g.host.groups, g.id)
	g.host.mu.Unlock()
	return nil
}

// gone waits until nobody counts this member in. Before it has read what its disk has that is not known: it may be needed. One that
// could not read it takes part in nothing.
func (g *Group) gone(ctx context.Context) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		g.mu.Lock()
		gone := g.found == nil && g.stopped || g.found != nil && g.found.Gone()
		g.mu.Unlock()
		if gone {
			return nil
		}
		g.host.pollSoon()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Status returns what this member knows.
func (g *Group) Status() Status {
	g.mu.Lock()
	s := Status{Group: g.name, Name: g.host.cfg.Name, ID: g.self, Cluster: g.state.Record.Cluster, Why: g.why, Role: Starting}
	kind, failed := g.state.Kind, g.err != nil
	if g.found != nil {
		s.Role = Founding
		if kind == found.Fresh && g.found.Joining() {
			s.Role = Joining
		}
	}
	g.mu.Unlock()
	m := g.member.Load()
	if m != nil {
		m.fill(&s)
	}
	switch {
	case failed:
		s.Role = Failed
	case g.isStopped():
		s.Role = Stopped
	case g.refused.Load() != nil:
		s.Role, s.Why = Failed, g.refused.Load().Error()
	}
	return s
}

func (m *member) fill(s *Status) {
	c := m.core.Status()
	switch c.Role {
	case core.Leader:
		s.Role = Leading
	case core.Learner, core.Removed: // one that was just added knows a table without it
		s.Role = Learning
	default:
		s.Role = Following
	}
	s.Leader, s.Term, s.Commit, s.Applied, s.Pending, s.Reads = "", c.Term, c.Commit, c.Applied, c.Pending, c.Reads
	s.Elections, s.Entries, s.Resent = c.Counts.Elections, c.Counts.Entries, c.Counts.BatchesAgain
	s.LogBytes = m.group.host.wal.Stats().Bytes
	if c.Leader != 0 {
		s.Leader = m.name(c.Leader)
	}
	s.SnapshotIndex, s.SnapshotBytes = uint64(m.stats.index.Load()), m.stats.bytes.Load() //nolint:gosec // an index is not negative
	if t := m.stats.time.Load(); t != 0 {
		s.SnapshotTime = time.Unix(0, t)
	}
	s.Snapshots, s.SnapshotsSent = m.stats.snapshots.Load(), m.stats.sent.Load()
	now := time.Now()
	for _, i := range m.applier.Members() {
		e := Member{Name: i.Name, ID: i.ID, Addr: m.group.host.net.Addr(i.Name), Learner: i.Learner, Up: m.group.host.net.Linked(i.Name)}
		if i.ID == m.id {
			e.Addr, e.Up = m.group.host.server.Addr().String(), true
		}
		for _, p := range c.Peers {
			if p.ID == i.ID {
				e.Match = p.Match
				e.Lag = max(c.Commit, p.Match) - p.Match
				if !p.Heard.IsZero() && p.ID != m.id {
					e.Seen = now.Sub(p.Heard)
				}
			}
		}
		s.Members = append(s.Members, e)
	}
	slices.SortFunc(s.Members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
}
