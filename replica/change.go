package replica

import (
	"context"
	"errors"
	"fmt"
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
	In      string `json:"in,omitempty"` // who gets the vote of Name
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
func (g *Group) change(ctx context.Context, method string, r changeRequest) error {
	m := g.member.Load()
	if m == nil || m.cluster != r.Cluster {
		return ErrForeign.With("this host is not of that cluster")
	}
	if m.core.Status().Leader != m.id {
		return errNotHere
	}
	// A leader that takes its own vote away may know of more than those who stay, and does not stand again to tell them:
	// another one leads first.
	if (method == methodRemove || method == methodReplace) && r.Name == g.host.cfg.Name && m.votes() > 1 {
		m.input(input{kind: call, call: func(now time.Time) { m.core.Transfer(now, 0) }})
		return errNotHere
	}
	switch method {
	case methodAdd:
		g.mu.Lock()
		id := g.found.ID(r.Name)
		if r.Name == g.host.cfg.Name {
			id = g.self
		}
		g.mu.Unlock()
		if id == 0 {
			return ErrNotMember.With(fmt.Sprintf("the leader of %s has not heard of a host %s that has this group", g.name, r.Name))
		}
		return g.admit(ctx, r.Cluster, core.MemberInfo{ID: id, Name: r.Name, Addr: g.host.net.Addr(r.Name)})
	case methodRemove:
		for _, i := range m.applier.Members() {
			if i.Name == r.Name {
				err := m.ask(ctx, func(now time.Time, done func(error)) { m.core.Remove(now, i.ID, done) })
				if err != nil {
					return err
				}
			}
		}
		return nil
	case methodReplace:
		in, out := m.named(r.In, true), m.named(r.Name, false)
		if in == 0 {
			in = m.named(r.In, false) // it votes already
		}
		if in == 0 {
			return ErrNotMember.With(fmt.Sprintf("%s is no member of %s", r.In, g.name))
		}
		if out == 0 {
			return nil
		}
		return m.ask(ctx, func(now time.Time, done func(error)) { m.core.Replace(now, in, out, done) })
	case methodTransfer:
		to := m.named(r.Name, false)
		if to == 0 && r.Name != "" {
			return ErrNotMember.With(fmt.Sprintf("%s is no voter of %s", r.Name, g.name))
		}
		m.input(input{kind: call, call: func(now time.Time) { m.core.Transfer(now, to) }})
		return nil
	}
	return failure.New(failure.Unimplemented, "%q is not offered", method)
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
func (g *Group) atLeader(ctx context.Context, method, name, in string) error {
	m, err := g.wait(ctx)
	if err != nil {
		return err
	}
	b := backoff.Backoff{Base: 10 * time.Millisecond, Max: time.Second}
	var last error
	for {
		leader, self := g.Leader()
		r := changeRequest{Group: g.id, Cluster: m.cluster, Name: name, In: in}
		switch {
		case self:
			last = g.change(ctx, method, r)
		case leader != "":
			last = g.host.ask(ctx, leader, method, r, nil)
		default:
			last = ErrNoQuorum
		}
		if last == nil {
			return nil
		}
		f := failure.From(last)
		code := f.Code
		retry := errors.Is(last, ErrChanging) || code == failure.Unavailable || errors.Is(last, ErrNotMember) && method == methodAdd ||
			code == failure.FailedPrecondition && (f.Reason == core.ReasonBehind || f.Reason == core.ReasonNameInUse)
		if !retry || g.isStopped() || !backoff.Pause(ctx, b.Next()) {
			return last
		}
	}
}
