package core

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/holdfast-go/holdfast/failure"
)

// closeEnough is how many entries a learner may be behind to be promoted.
const closeEnough = 256

// changes holds what a leader is asked to change, and the one change that is under way.
type changes struct {
	number  uint64
	waiting []*change
	current *change
}

type change struct {
	number uint64
	infos  []MemberInfo
	steps  []*raftpb.ConfChangeSingle
	done   func(error)
	check  func() error // right before it is proposed: errDone, that it need not be any more, or why it cannot be; may be nil
	index  uint64       // once committed
	giveUp time.Time
}

func (c *change) finish(err error) {
	if c.done != nil {
		c.done(err)
	}
}

// applied finishes the change whose entry has been applied.
func (t *changes) applied(index uint64) {
	if c := t.current; c != nil && c.index != 0 && c.index <= index {
		t.current = nil
		c.finish(nil)
	}
}

func (t *changes) end(err error) {
	all := t.waiting
	if t.current != nil {
		all = append([]*change{t.current}, all...)
	}
	t.waiting, t.current = nil, nil
	for _, c := range all {
		c.finish(err)
	}
}

// Join asks the leader to take a member in, as a learner at first; it is promoted when it has caught up and a vote is
// free: one of a member with the same name (a lost disk), one below Config.Voters, or one of a voter that is dead. done
// gets nil once the member is in the table. On another member than the leader, done gets ErrNotLeader.
func (m *Member) Join(now time.Time, info MemberInfo, done func(error)) {
	if err := m.leads(); err != nil {
		done(err)
		return
	}
	if info.ID == 0 || raft.IsLocalMsgTarget(info.ID) || len(info.Name) > maxKey || len(info.Addr) > maxKey {
		done(failure.New(failure.InvalidArgument, "a member needs an ID, and a name and an address of at most %d bytes", maxKey))
		return
	}
	members := m.applier.Members()
	if i := slices.IndexFunc(members, func(o MemberInfo) bool { return o.ID == info.ID }); i >= 0 {
		if members[i].Name == info.Name && members[i].Addr == info.Addr {
			done(nil)
			return
		}
		m.change(now, &change{infos: []MemberInfo{info}, steps: step(raftpb.ConfChangeUpdateNode, info.ID), done: done})
		return
	}
	steps := step(raftpb.ConfChangeAddLearnerNode, info.ID)
	for _, o := range members {
		switch {
		case info.Name == "" || o.Name != info.Name:
		case !m.silentFor(now, o.ID, 2*m.cfg.ElectionTimeout):
			done(errNameInUse.WithMetadata("name", info.Name))
			return
		case o.Learner: // the same member, which has lost its disk twice
			steps = append(steps, step(raftpb.ConfChangeRemoveNode, o.ID)...)
		}
	}
	if len(members) >= maxMembers {
		done(errTooMany)
		return
	}
	m.change(now, &change{infos: []MemberInfo{info}, steps: steps, done: done, check: func() error {
		switch {
		case inConf(m.conf, info.ID):
			return errDone
		case len(m.applier.Members()) >= maxMembers: // others were before it, that waited when it was asked for
			return errTooMany
		}
		return nil
	}})
}

var errTooMany = failure.New(failure.ResourceExhausted, "the group has as many members as it may have")

// Remove takes a member out of the group. As Join. A leader does not take away its own vote: it would go with entries that
// the others lack and that only its vote can make up for. It hands leadership over and answers ErrNotLeader.
func (m *Member) Remove(now time.Time, id uint64, done func(error)) {
	if err := m.leads(); err != nil {
		done(err)
		return
	}
	if !inConf(m.conf, id) {
		done(nil)
		return
	}
	if v := m.conf.GetVoters(); len(v) == 1 && v[0] == id {
		done(errLastVoter)
		return
	}
	if id == m.cfg.ID {
		m.Transfer(now, 0)
		done(ErrNotLeader)
		return
	}
	if m.needed(now, id) {
		done(errNeeded)
		return
	}
	m.change(now, &change{steps: step(raftpb.ConfChangeRemoveNode, id), done: done, check: m.checkRemove(now, id)})
}

// needed reports whether too few of the other voters would be heard without the vote of id: the group would stand still, and
// no change of its members could be made any more.
func (m *Member) needed(now time.Time, id uint64) bool {
	others, heard := 0, 0
	for _, v := range m.conf.GetVoters() {
		if v == id {
			continue
		}
		others++
		if !m.silentFor(now, v, 2*m.cfg.ElectionTimeout) {
			heard++
		}
	}
	return slices.Contains(m.conf.GetVoters(), id) && heard < others/2+1
}

// errDone: the members are as they were asked to be.
var errDone = errors.New("done already")

func (m *Member) checkRemove(now time.Time, id uint64) func() error {
	return func() error {
		switch v := m.conf.GetVoters(); {
		case !inConf(m.conf, id):
			return errDone
		case id == m.cfg.ID:
			return ErrNotLeader
		case len(v) == 1 && v[0] == id:
			return errLastVoter
		case m.needed(now, id): // others were before it
			return errNeeded
		}
		return nil
	}
}

// checkSwap: in has no vote, out, 0 if nobody, has one.
func (m *Member) checkSwap(in, out uint64) func() error {
	return func() error {
		if !slices.Contains(m.conf.GetLearners(), in) || out != 0 && !slices.Contains(m.conf.GetVoters(), out) {
			return errWrongSwap
		}
		return nil
	}
}

// silentFor reports whether nothing was heard of a member for so long, as far as this leader can say.
func (m *Member) silentFor(now time.Time, id uint64, d time.Duration) bool {
	return id != m.cfg.ID && now.Sub(later(m.heard[id], m.ledSince)) > d
}

// Replace gives the vote of one member to another, a learner that has caught up, in one change: there is never a vote less.
// The former leaves the group. As Remove; done gets an error if the learner is not there or too far behind. If the only
// voter is to be replaced, both vote for a moment, since it hands leadership to the other first.
func (m *Member) Replace(now time.Time, in, out uint64, done func(error)) {
	if err := m.leads(); err != nil {
		done(err)
		return
	}
	i := slices.IndexFunc(m.peers(), func(p Peer) bool { return p.ID == in })
	switch {
	case !slices.Contains(m.conf.GetVoters(), out) && slices.Contains(m.conf.GetVoters(), in):
		done(nil) // it has been done
	case i < 0 || !slices.Contains(m.conf.GetVoters(), out):
		done(errWrongSwap)
	case slices.Contains(m.conf.GetVoters(), in):
		m.Remove(now, out, done)
	case !m.caughtUp(now, m.peers()[i]):
		done(errBehind)
	case out != m.cfg.ID:
		m.change(now, &change{steps: swap(in, out), done: done, check: m.checkSwap(in, out)})
	case len(m.conf.GetVoters()) > 1:
		m.Transfer(now, 0)
		done(ErrNotLeader)
	default:
		m.change(now, &change{steps: step(raftpb.ConfChangeAddNode, in), check: m.checkSwap(in, 0), done: func(err error) {
			if err == nil {
				m.Transfer(now, in)
				err = ErrNotLeader
			}
			done(err)
		}})
	}
}

// ReasonBehind is of a Replace whose learner is not up to date yet. It succeeds when it is.
const ReasonBehind = "BEHIND"

var (
	errWrongSwap = failure.New(failure.FailedPrecondition, "the one is not a learner, or the other has no vote")
	errLastVoter = failure.New(failure.FailedPrecondition, "the last voter cannot be removed")
	errNeeded    = failure.New(failure.FailedPrecondition, "without it most of those that vote would not be heard: get them back, or replace it")
)

var errBehind = failure.New(failure.FailedPrecondition, "the learner has not caught up yet").WithReason(ReasonBehind, failure.Domain)

func swap(in, out uint64) []*raftpb.ConfChangeSingle {
	return append(step(raftpb.ConfChangeAddNode, in), step(raftpb.ConfChangeRemoveNode, out)...)
}

// caughtUp reports whether a member could have a vote without holding anything up.
func (m *Member) caughtUp(now time.Time, p Peer) bool {
	return p.Match+closeEnough >= m.commit && now.Sub(m.heard[p.ID]) < m.cfg.ElectionTimeout
}

func (m *Member) leads() error {
	switch {
	case m.err != nil:
		return ErrStopped.WithCause(m.err)
	case m.state != raft.StateLeader:
		return ErrNotLeader
	}
	return nil
}

func step(t raftpb.ConfChangeType, ids ...uint64) []*raftpb.ConfChangeSingle {
	var out []*raftpb.ConfChangeSingle
	for _, id := range ids {
		out = append(out, &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: new(id)})
	}
	return out
}

// ReasonNameInUse is of a Join with the name of a member that is alive. If its process has only just ended, the same
// Join succeeds a little later.
const ReasonNameInUse = "NAME_IN_USE"

var errNameInUse = failure.New(failure.FailedPrecondition, "a member with this name is alive").WithReason(ReasonNameInUse, failure.Domain)

var errBusy = failure.New(failure.ResourceExhausted, "too many changes of members wait").WithReason(failure.ReasonShed, failure.Domain)

func (m *Member) change(now time.Time, c *change) {
	if len(m.changes.waiting) >= maxMembers {
		c.finish(errBusy)
		return
	}
	m.changes.waiting = append(m.changes.waiting, c)
	defer m.guard()
	m.govern(now)
}

var errChangeTimeout = failure.New(failure.Unavailable, "the change of members was not committed in time; it may still be")

// govern is a leader's care for the table of members: it proposes one change at a time, first what was asked for, then
// what the state of the members calls for.
func (m *Member) govern(now time.Time) {
	t := &m.changes
	if c := t.current; c != nil {
		if c.index == 0 && now.After(c.giveUp) {
			t.current = nil
			c.finish(errChangeTimeout)
		}
		return
	}
	if term, err := m.log.Term(m.applied.Load()); err != nil || term != m.term {
		return // what earlier leaders left is not all applied
	}
	if len(m.conf.GetVotersOutgoing()) > 0 || m.transferee != 0 {
		return // raft leaves the joint configuration by itself
	}
	var c *change
	for c == nil && len(t.waiting) > 0 {
		c = t.waiting[0]
		t.waiting = slices.Delete(t.waiting, 0, 1)
		if c.check == nil {
			break
		}
		if err := c.check(); err != nil {
			if errors.Is(err, errDone) {
				err = nil
			}
			c.finish(err)
			c = nil
		}
	}
	if c == nil {
		if c = m.decide(now); c == nil {
			return
		}
	}
	t.number++
	c.number, c.giveUp = t.number, now.Add(5*m.cfg.ElectionTimeout)
	cc := &raftpb.ConfChangeV2{Changes: c.steps, Context: appendChangeContext(nil, c.number, c.infos)}
	if err := m.node.ProposeConfChange(cc); err != nil { // too much is uncommitted: later
		if c.done != nil {
			t.waiting = slices.Insert(t.waiting, 0, c)
		}
		return
	}
	t.current = c
}

// decide returns the change that the members' state calls for, or nil.
func (m *Member) decide(now time.Time) *change {
	if now.Sub(m.ledSince) < m.cfg.ElectionTimeout {
		return nil // nobody had the time to be heard
	}
	members := m.applier.Members()
	find := func(id uint64) MemberInfo {
		i := slices.IndexFunc(members, func(o MemberInfo) bool { return o.ID == id })
		if i < 0 {
			return MemberInfo{ID: id}
		}
		return members[i]
	}
	gone := func(id uint64) bool { return m.cfg.ReplaceAfter > 0 && m.silentFor(now, id, m.cfg.ReplaceAfter) }
	var ready, dead []uint64 // learners that could vote; voters that are gone
	for _, p := range m.peers() {
		switch {
		case !p.Learner:
			if gone(p.ID) {
				dead = append(dead, p.ID)
			}
		case m.caughtUp(now, p):
			ready = append(ready, p.ID)
		case gone(p.ID):
			return &change{steps: step(raftpb.ConfChangeRemoveNode, p.ID)}
		}
	}
	for _, id := range ready {
		info := find(id)
		for _, old := range m.conf.GetVoters() {
			if info.Name != "" && find(old).Name == info.Name && m.silentFor(now, old, 2*m.cfg.ElectionTimeout) {
				return &change{steps: swap(id, old)} // the same member, which has lost its disk
			}
		}
	}
	switch {
	case len(ready) == 0:
		return nil
	case len(m.conf.GetVoters()) < m.cfg.Voters:
		return &change{steps: step(raftpb.ConfChangeAddNode, ready[0])}
	case len(dead) > 0:
		return &change{steps: swap(ready[0], dead[0])}
	}
	return nil
}

// changeConf lets a committed change of members count, and returns the configuration after it.
func (m *Member) changeConf(now time.Time, e *raftpb.Entry) *raftpb.ConfState {
	var cc raftpb.ConfChangeV2
	if err := proto.Unmarshal(e.GetData(), &cc); err != nil {
		panic(err) // the leader made it
	}
	m.setConf(m.node.ApplyConfChange(&cc))
	number, infos, err := parseChangeContext(cc.GetContext())
	if err == nil && number != 0 {
		if c := m.changes.current; c != nil && c.number == number && e.GetTerm() == m.term && m.state == raft.StateLeader {
			c.index = e.GetIndex()
		}
	}
	maps.DeleteFunc(m.heard, func(id uint64, _ time.Time) bool { return !inConf(m.conf, id) })
	for _, c := range cc.GetChanges() {
		if id := c.GetNodeId(); inConf(m.conf, id) && m.heard[id].IsZero() {
			m.heard[id] = now // it had no time to say anything yet
		}
	}
	m.logMembers(infos)
	m.publish(now)
	return m.conf
}

// logMembers tells who the members are; infos are of those that are new in the table.
func (m *Member) logMembers(infos []MemberInfo) {
	if m.cfg.Logger == nil {
		return
	}
	names := func(ids []uint64) (out []string) {
		for _, id := range ids {
			name := fmt.Sprintf("%x", id)
			for _, o := range append(slices.Clone(m.applier.Members()), infos...) {
				if o.ID == id && o.Name != "" {
					name = o.Name
				}
			}
			out = append(out, name)
		}
		return out
	}
	m.cfg.Logger.Info("the group's members have changed", "voters", names(m.conf.GetVoters()), "learners", names(m.conf.GetLearners()))
}

func (m *Member) setConf(conf *raftpb.ConfState) {
	m.conf = conf
	m.member = m.member || inConf(conf, m.cfg.ID)
}

func inConf(c *raftpb.ConfState, id uint64) bool {
	return slices.Contains(c.GetVoters(), id) || slices.Contains(c.GetVotersOutgoing(), id) ||
		slices.Contains(c.GetLearners(), id) || slices.Contains(c.GetLearnersNext(), id)
}

// peers returns what a leader knows of each member, by ID.
func (m *Member) peers() []Peer {
	var out []Peer
	m.node.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		out = append(out, Peer{ID: id, Learner: typ == raft.ProgressTypeLearner, Match: p.Match, Active: p.RecentActive || id == m.cfg.ID, Heard: m.heard[id]})
	})
	slices.SortFunc(out, func(a, b Peer) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// The context of a change of members: the number of the change in its leader's term (0: nobody waits), then the lines of
// the table that are new or different. A change that raft makes by itself, to leave a joint configuration, has none.
func appendChangeContext(b []byte, number uint64, infos []MemberInfo) []byte {
	b = binary.LittleEndian.AppendUint64(b, number)
	return appendMembers(b, infos)
}

func parseChangeContext(b []byte) (number uint64, infos []MemberInfo, err error) {
	if len(b) == 0 {
		return 0, nil, nil
	}
	c := cursor{b: b}
	number, infos = c.fixed(), c.members()
	if c.bad || len(c.b) != 0 {
		return 0, nil, errMalformed
	}
	return number, infos, nil
}
