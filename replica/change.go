package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/replica/internal/core"
)

type joinRequest struct {
	Group   uint64 `json:"group"`
	Cluster uint64 `json:"cluster"`
	ID      uint64 `json:"id"`
	Name    string `json:"name"`
}

// changeRequest is methodAdd, methodRemove, methodReplace or methodTransfer.
type changeRequest struct {
	Group   uint64 `json:"group"`
	Cluster uint64 `json:"cluster"`
	Name    string `json:"name"`
	In      string `json:"in,omitempty"`    // who gets the vote of Name
	Voter   bool   `json:"voter,omitempty"` // Name is to vote: what it was before its disk was lost may do so yet
}

// changeAnswer is what comes of it.
type changeAnswer struct {
	ID uint64 `json:"id,omitempty"` // who was added
}

// admit adds a member, on the leader.
func (g *Group) admit(ctx context.Context, cluster uint64, info core.MemberInfo) error {
	m := g.member.Load()
	if m == nil || m.cluster != cluster {
		return ErrForeign.With("this host is not of that cluster")
	}
	return m.ask(ctx, func(now time.Time, done func(error)) { m.core.Join(now, info, done) })
}

// ask has the Member do something that ends later.
func (m *member) ask(ctx context.Context, what func(now time.Time, done func(error))) error {
	done := make(chan error, 1)
	m.input(input{kind: call, call: func(now time.Time) { what(now, func(err error) { done <- err }) }})
	select {
	case err := <-done:
		return m.group.translate(err)
	case <-ctx.Done():
		return failure.Wrap(ctx.Err(), failure.CodeOf(ctx.Err()), "%s: no answer in time", m.group.name)
	}
}

// change does what was asked for, on the leader.
func (g *Group) change(ctx context.Context, method string, r changeRequest) (changeAnswer, error) {
	var a changeAnswer
	m := g.member.Load()
	if m == nil || m.cluster != r.Cluster {
		return a, ErrForeign.With("this host is not of that cluster")
	}
	if m.core.Status().Leader != m.id {
		return a, errNotHere
	}
	// A leader that takes its own vote away may know of more than those who stay, and does not stand again to tell them:
	// another one leads first.
	if (method == methodRemove || method == methodReplace) && r.Name == g.host.cfg.Name && m.votes() > 1 {
		m.input(input{kind: call, call: func(now time.Time) { m.core.Transfer(now, 0) }})
		return a, errNotHere
	}
	switch method {
	case methodAdd:
		id := g.idOf(ctx, r.Name, r.Voter)
		if id == 0 {
			return a, ErrNotMember.With(fmt.Sprintf("the leader of %s has not heard of a host %s that has this group", g.name, r.Name))
		}
		a.ID = id
		return a, g.admit(ctx, r.Cluster, core.MemberInfo{ID: id, Name: r.Name, Addr: g.host.net.Addr(r.Name)})
	case methodRemove:
		for _, i := range m.applier.Members() {
			if i.Name == r.Name {
				err := m.ask(ctx, func(now time.Time, done func(error)) { m.core.Remove(now, i.ID, done) })
				if err != nil {
					return a, err
				}
			}
		}
		return a, nil
	case methodReplace:
		in, out := m.named(r.In, true), m.named(r.Name, false)
		votes := in == 0
		if votes {
			in = m.named(r.In, false)
		}
		if in == 0 {
			return a, ErrNotMember.With(fmt.Sprintf("%s is no member of %s", r.In, g.name))
		}
		if out == 0 {
			switch learner := m.named(r.Name, true); {
			case learner != 0 && learner != in: // has no vote to give
				return a, m.ask(ctx, func(now time.Time, done func(error)) { m.core.Remove(now, learner, done) })
			case votes && r.Name != r.In: // it was replaced before
				return a, nil
			}
			return a, ErrNotMember.With(fmt.Sprintf("%s is no voter of %s", r.Name, g.name))
		}
		return a, m.ask(ctx, func(now time.Time, done func(error)) { m.core.Replace(now, in, out, done) })
	case methodTransfer:
		to := m.named(r.Name, false)
		if to == 0 && r.Name != "" {
			return a, ErrNotMember.With(fmt.Sprintf("%s is no voter of %s", r.Name, g.name))
		}
		m.input(input{kind: call, call: func(now time.Time) { m.core.Transfer(now, to) }})
		return a, nil
	}
	return a, failure.New(failure.Unimplemented, "%q is not offered", method)
}

// idOf is which member a host is, in its own words, or, unless those are asked for, in those that were heard of it last. 0: unknown.
func (g *Group) idOf(ctx context.Context, host string, own bool) uint64 {
	if host == g.host.cfg.Name {
		return g.self
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var a helloAnswer
	err := g.host.ask(ctx, host, methodHello, struct{}{}, &a)
	if i := slices.IndexFunc(a.Groups, func(h helloGroup) bool { return h.Group == g.id }); err == nil && a.Name == host && i >= 0 {
		return a.Groups[i].ID
	}
	if own {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.found.ID(host)
}

// votes is how many members vote.
func (m *member) votes() (n int) {
	for _, i := range m.applier.Members() {
		if !i.Learner {
			n++
		}
	}
	return n
}

// named returns the ID of the learner or voter of that name, 0 if there is none.
func (m *member) named(host string, learner bool) (id uint64) {
	for _, i := range m.applier.Members() {
		if i.Name == host && i.Learner == learner {
			id = i.ID
		}
	}
	return id
}

// errNotHere says that another member leads.
var errNotHere = ErrChanging.With("this member does not lead")

// atLeader has the leader do something, whichever member that is, until it does.
func (g *Group) atLeader(ctx context.Context, method string, r changeRequest) (changeAnswer, error) {
	m, err := g.wait(ctx)
	if err != nil {
		return changeAnswer{}, err
	}
	r.Group, r.Cluster = g.id, m.cluster
	b := backoff.Backoff{Base: 10 * time.Millisecond, Max: time.Second}
	var last error
	unknown := false // an attempt may have been done
	for {
		leader, self := g.Leader()
		var a changeAnswer
		switch {
		case self:
			a, last = g.change(ctx, method, r)
		case leader != "":
			a, last = g.askLeader(ctx, leader, method, r)
		default:
			last = ErrNoQuorum
		}
		if last == nil || unknown && method == methodReplace && errors.Is(last, ErrNotMember) {
			return a, nil
		}
		f := failure.From(last)
		code := f.Code
		unknown = unknown || code == failure.Unavailable || errors.Is(last, ErrChanging)
		retry := errors.Is(last, ErrChanging) || code == failure.Unavailable || errors.Is(last, ErrNotMember) && method == methodAdd ||
			code == failure.FailedPrecondition && (f.Reason == core.ReasonBehind || f.Reason == core.ReasonNameInUse)
		if !retry || g.isStopped() || !backoff.Pause(ctx, b.Next()) {
			return a, g.timely(last)
		}
	}
}

// askLeader asks another member for as long as it leads, as far as this one knows: one that has stopped answering is found out
// by the others long before its connection breaks. What was asked for may be done, and is asked for again.
func (g *Group) askLeader(ctx context.Context, leader, method string, r changeRequest) (a changeAnswer, err error) {
	try, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel()
		_ = g.until(try, func() bool {
			now, _ := g.Leader()
			return now != leader
		})
	}()
	err = g.host.ask(try, leader, method, r, &a)
	left := try.Err() != nil && ctx.Err() == nil
	cancel()
	<-watched
	if err != nil && left {
		err = ErrChanging.With(leader + " does not lead any more").WithCause(err)
	}
	return a, err
}
