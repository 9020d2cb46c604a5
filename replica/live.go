package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/found"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

const (
	// lookEvery is how often a group looks at what others have said, beside when they say something new.
	lookEvery = 500 * time.Millisecond
	// joinTimeout bounds one attempt at being added.
	joinTimeout = 5 * time.Second
	// waitsEvery is how often it is said again what a group waits for.
	waitsEvery = 30 * time.Second
)

// live is a group from beginning to end: what it has on the disk, founding or joining, taking part.
func (g *Group) live(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	g.leave = cancel
	g.mu.Unlock()
	for again := true; again; {
		again = g.life(ctx)
	}
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	close(g.ended)
	g.changed()
}

// life is a group as one member. again: it is to begin anew, as another one.
func (g *Group) life(ctx context.Context) (again bool) {
	if err := g.load(); err != nil {
		g.failed(err)
		return false
	}
	applied := make(chan struct{})
	m, again := g.decide(ctx, applied)
	if m != nil {
		m.stop()
		<-applied
	}
	if !again {
		return false
	}
	g.member.Store(nil)
	if err := g.forget(); err != nil {
		g.failed(err)
		return false
	}
	return true
}

// forget removes what the disk has of the group, and takes a new ID: what this one has voted for is forgotten.
func (g *Group) forget() error {
	b, err := json.Marshal(newRecord(newID(), found.State{}))
	if err != nil {
		return err
	}
	if err := g.host.writer.update(wal.Update{Group: g.id, Drop: true, Meta: b}); err != nil {
		return err
	}
	return g.host.snaps.Drop(g.id)
}

// load reads what the disk has of the group, and gives it an ID if that is nothing.
func (g *Group) load() error {
	kept, err := g.host.wal.Load(g.id)
	if err != nil {
		return err
	}
	r := record{ID: newID(), Kind: found.Fresh.String()}
	if kept.Meta == nil {
		// Snapshots without a log are of a log that is gone: with it went the votes that were given.
		if err := g.host.snaps.Drop(g.id); err != nil {
			return err
		}
		if err := g.store(r.ID, found.State{}); err != nil {
			return err
		}
	} else if err := json.Unmarshal(kept.Meta, &r); err != nil {
		return failure.Wrap(err, failure.DataLoss, "what %s says of group %s cannot be read", g.host.cfg.Dir, g.name)
	}
	state, err := r.state()
	if err != nil {
		return failure.Wrap(err, failure.DataLoss, "what %s says of group %s cannot be read", g.host.cfg.Dir, g.name)
	}
	cfg := found.Config{
		Self: found.Member{Name: g.host.cfg.Name, ID: r.ID}, Members: g.voters(), Founders: g.cfg.Members, Invited: len(g.cfg.Members) > 0,
		NewCluster: newID,
	}
	if len(cfg.Founders) == 0 {
		cfg.Founders = g.host.founders()
	}
	g.mu.Lock()
	g.self, g.state, g.found = r.ID, state, found.New(cfg, state)
	if state.Kind == found.Active {
		g.kept = &kept
	}
	g.mu.Unlock()
	g.host.heardOf(g)
	return nil
}

// voters is how many vote.
func (g *Group) voters() int {
	if n := len(g.cfg.Members); n > 0 {
		return n
	}
	return g.host.cfg.Members
}

// store makes a founding state durable.
func (g *Group) store(id uint64, s found.State) error {
	b, err := json.Marshal(newRecord(id, s))
	if err != nil {
		return err
	}
	u := wal.Update{Group: g.id, Meta: b}
	if s.Kind == found.Active && slices.Contains(s.Record.Members, found.Member{Name: g.host.cfg.Name, ID: id}) {
		// A founder's log begins behind the first snapshot, which follows from the record; that of a member which
		// joins, behind the one that it is sent.
		members := make([]core.MemberInfo, 0, len(s.Record.Members))
		for _, m := range s.Record.Members {
			members = append(members, core.MemberInfo{ID: m.ID, Name: m.Name})
		}
		first := core.Founding(members)
		defer first.Release()
		if err := g.host.snaps.Drop(g.id); err != nil { // of an attempt before
			return err
		}
		if _, err := writeSnapshot(context.Background(), g.host.snaps, nil, g.id, first); err != nil {
			return err
		}
		u.Mark, u.Installed = &wal.Mark{Index: first.Mark.Index, Term: first.Mark.Term}, true
	}
	return g.host.writer.update(u)
}

// decide founds, joins or goes on, and returns the member, if it came to that, when ctx ends or the group has failed.
// applied is closed when the member has ended. again: this member can be forgotten, and the group joined as another one.
func (g *Group) decide(ctx context.Context, applied chan struct{}) (m *member, again bool) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var said string
	var saidAt time.Time
	warned := false
	var alarmed uint64 // the other cluster that was told of
	for {
		if m == nil && g.kind() == found.Active {
			var err error
			if m, err = g.begin(ctx, applied); err != nil {
				g.failed(err)
				return nil, false
			}
		}
		g.mu.Lock()
		if m != nil {
			s := m.core.Status()
			own := found.Own{Leader: s.Leader != 0, Removed: s.Role == core.Removed}
			for _, i := range m.applier.Members() {
				own.Table = append(own.Table, found.Member{Name: i.Name, ID: i.ID})
			}
			g.found.Own(own)
		}
		step := g.found.Next()
		unnamed := step.Action == found.Store && g.found.Unnamed()
		changed := step.Why != g.why
		g.why = step.Why
		g.mu.Unlock()
		if m == nil && step.Action != found.Store && (step.Why != said || time.Since(saidAt) > waitsEvery) {
			g.log.Info("the group is not there yet", "why", step.Why)
			said, saidAt = step.Why, time.Now()
		}
		if changed {
			g.changed()
		}
		if step.Alarm && step.Cluster != alarmed {
			alarmed = step.Cluster
			g.log.Error("there are two groups of this name", "why", step.Why)
		}
		if unnamed && !warned {
			warned = true
			g.log.Warn("a group is founded where more hosts are about than found it, and nothing names those that do: parts of them that do not see "+
				"each other would each found one; set Config.Founders (HOLDFAST_FOUNDERS)", "hosts", len(g.host.names())+1, "members", g.voters())
		}
		g.refuse(step)
		switch step.Action {
		case found.Store:
			if err := g.store(g.self, step.State); err != nil {
				g.failed(err)
				return m, false
			}
			g.mu.Lock()
			g.state = step.State
			g.found.Stored(step.State)
			g.mu.Unlock()
			g.host.announceNews()
			g.log.Info(progress(step.State), "cluster", fmt.Sprintf("%x", step.State.Record.Cluster))
			continue
		case found.Join:
			g.join(ctx, step)
		case found.Refuse:
			if step.Refusal != found.Removed {
				break
			}
			if m != nil && m.spare() && len(g.cfg.Members) == 0 {
				g.log.Info("this spare was removed from the group while it was away: it joins anew")
				return m, true
			}
			g.failed(g.removal(step))
			return m, false
		case found.Wait:
		}
		select {
		case <-ctx.Done():
			return m, false
		case <-applied:
			return m, false
		case <-g.news:
		case <-look.C:
		}
	}
}

// progress says in words what was stored.
func progress(s found.State) string {
	switch {
	case s.Kind == found.Prepared:
		return "the group is being founded"
	case s.Kind == found.Fresh:
		return "the founding of the group was taken back"
	case s.Since > 1:
		return "the group is joined"
	}
	return "the group is founded"
}

// refuse keeps callers away from data of another group, for as long as it looks like that. The member goes on meanwhile: it
// has no majority, and its own cluster may come back.
func (g *Group) refuse(s found.Step) {
	if s.Action != found.Refuse || s.Refusal != found.Foreign {
		if g.refused.Swap(nil) != nil {
			g.log.Info("the data of this member is not refused any more", "why", s.Why)
			g.changed()
		}
		return
	}
	err := ErrForeign.With(fmt.Sprintf("group %s: %s. Either %s is from another past, or the others run on the wrong data: find out which one is "+
		"wanted before anything is removed. If it is theirs, stop this host, keep %[3]s elsewhere, and start it with an empty one: it joins cluster %x",
		g.name, s.Why, g.host.cfg.Dir, s.Cluster))
	if before := g.refused.Swap(err); before == nil || before.Error() != err.Error() {
		g.changed()
	}
}

// removal says that the group has gone on without this member, and what to do about it.
func (g *Group) removal(s found.Step) error {
	return ErrRemoved.With(fmt.Sprintf("group %s: %s; %s holds the data of a member that is none any more (ID %x of cluster %x). "+
		"If nothing in it is needed, empty the directory: this host then joins as a new member", g.name, s.Why, g.host.cfg.Dir, g.self, s.Cluster))
}

func (g *Group) kind() found.Kind {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.Kind
}

// begin starts the member.
func (g *Group) begin(ctx context.Context, applied chan struct{}) (*member, error) {
	kept := g.kept
	g.kept = nil
	if kept == nil { // it was founded or joined just now
		now, err := g.host.wal.Load(g.id)
		if err != nil {
			return nil, err
		}
		kept = &now
	}
	g.host.snaps.Retain(g.id, kept.Snapshot.Index, kept.Snapshot.Term)
	m, err := newMember(ctx, g, g.self, g.state.Record.Cluster, g.voters(), *kept)
	if err != nil {
		return nil, err
	}
	g.member.Store(m)
	g.changed()
	m.start(func() { g.catchUp(m) })
	go func() {
		defer close(applied)
		m.run()
	}()
	return m, nil
}

// spare reports whether this member has no vote, as far as it has heard: nobody can miss what it has.
func (m *member) spare() bool {
	return slices.ContainsFunc(m.applier.Members(), func(i core.MemberInfo) bool { return i.ID == m.id && i.Learner })
}

// catchUp closes ready when the machine is current.
func (g *Group) catchUp(m *member) {
	for m.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(m.ctx, time.Minute)
		err := g.current(ctx, Linearizable)
		cancel()
		if err == nil {
			g.once.Do(func() { close(g.ready) })
			g.changed()
			return
		}
		backoff.Pause(m.ctx, backoff.Jitter(pollFast, 2*pollFast)) // it may be refused at once, by a member that is full
	}
}

// failed ends the group for good.
func (g *Group) failed(err error) { g.fault(err)() }

// fault sets what the group has failed with. What it returns ends the group and tells of it, which may take long.
func (g *Group) fault(err error) (end func()) {
	var own *failure.Error
	if !errors.As(err, &own) || own.Domain != Domain {
		err = ErrFailed.With(fmt.Sprintf("this member of %s has failed: %v", g.name, err)).WithCause(err)
	}
	g.mu.Lock()
	first := g.err == nil
	if first {
		g.err, g.why = err, err.Error()
	}
	leave := g.leave
	g.mu.Unlock()
	return func() {
		if leave != nil {
			leave()
		}
		g.changed()
		if !first {
			return
		}
		g.log.Error("this member of the group has failed", "error", err)
		if f := g.host.cfg.Failed; f != nil && !(errors.Is(err, ErrRemoved) && len(g.cfg.Members) > 0) {
			f(g, err)
		}
	}
}

// fail ends the group because of the host.
func (g *Group) fail(err error) { g.failed(err) }

// join asks the leader to add this member.
func (g *Group) join(ctx context.Context, s found.Step) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	err := g.host.ask(ctx, s.Leader, methodJoin, joinRequest{
		Group: g.id, Cluster: s.Cluster, ID: g.self, Name: g.host.cfg.Name,
	}, nil)
	if err != nil && ctx.Err() == nil {
		g.log.Debug("not added to the group yet", "leader", s.Leader, "error", err)
		g.mu.Lock()
		g.why = fmt.Sprintf("%s: not yet: %v", s.Why, err)
		g.mu.Unlock()
		backoff.Pause(ctx, backoff.Jitter(pollFast, 2*pollFast))
	}
	g.host.pollSoon()
}

// observe takes an answer of another host; nil: there was none.
func (g *Group) observe(host string, p *found.Peer) {
	g.mu.Lock()
	if g.found != nil {
		g.found.Observe(host, p)
	}
	g.mu.Unlock()
	g.look()
}

// about takes which hosts there are.
func (g *Group) about(names []string) {
	g.mu.Lock()
	if g.found != nil {
		g.found.About(names)
	}
	g.mu.Unlock()
	g.look()
}

func (g *Group) look() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// settled reports whether nobody has to be asked often.
func (g *Group) settled() bool {
	m := g.member.Load()
	if g.isStopped() {
		return true
	}
	return m != nil && m.core.Status().Leader != 0
}

// founders are the names of those that found groups, nil if any may.
func (h *Host) founders() []string {
	if len(h.cfg.Founders) > 0 {
		return h.cfg.Founders
	}
	if s, ok := h.cfg.Peers.(static); ok && len(s) > 0 {
		names := []string{h.cfg.Name}
		for _, p := range s {
			if !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
		if len(names) == h.cfg.Members {
			return names
		}
	}
	return nil
}
