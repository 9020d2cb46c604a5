package core

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/failure"
)

// Applier gives committed commands to a Machine, each once, and keeps what belongs to that: sessions, keys, members.
type Applier struct {
	id      uint64
	machine Machine
	own     *pending // of the Member made with it

	mark     Mark
	time     int64  // of the newest entry, ns
	commands uint64 // that reached the machine
	touched  bool   // the machine has been restored or has applied something
	sessions sessions
	keys     keys
	conf     *raftpb.ConfState
	members  []MemberInfo // by ID; replaced, never changed, since others read it
	table    atomic.Pointer[[]MemberInfo]

	nonces  func() uint64 // of sessions that replace an expired one
	answers []answer

	keysDropped atomic.Uint64 // since the start
	newest      atomic.Int64  // time, for the Member
}

// NewApplier returns an Applier whose state is empty. Before a member is made of it, restore it from the newest
// snapshot that the log knows; a group that was founded has one (see Founding).
func NewApplier(id uint64, m Machine) *Applier {
	return &Applier{
		id: id, machine: m, conf: &raftpb.ConfState{},
		sessions: sessions{byID: map[uint64]*session{}},
		keys:     keys{byKey: map[string]*keyed{}},
	}
}

// Apply does one item of Work.Apply. An error is final: the state may be half changed, the member has ended; give it to
// Member.Fail.
func (a *Applier) Apply(item *Apply) error {
	if item.Restore != nil {
		return errors.New("apply: a snapshot to restore, not entries")
	}
	confs := item.confs
	for _, e := range item.Entries {
		if want := a.mark.Index + 1; e.GetIndex() != want {
			return fmt.Errorf("apply: entry %d where %d is next", e.GetIndex(), want)
		}
		switch {
		case e.GetType() == raftpb.EntryConfChangeV2:
			if len(confs) == 0 {
				return fmt.Errorf("apply entry %d: a change of members that the member did not make", e.GetIndex())
			}
			if err := a.applyConf(e.GetData(), confs[0]); err != nil {
				return fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
			}
			confs = confs[1:]
		case e.GetType() != raftpb.EntryNormal:
			return fmt.Errorf("apply entry %d: of an unknown type", e.GetIndex())
		case len(e.GetData()) > 0: // a new leader's first entry has none
			if err := a.applyEntry(e.GetIndex(), e.GetData()); err != nil {
				return fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
			}
		}
		a.mark = Mark{Index: e.GetIndex(), Term: e.GetTerm()}
	}
	return nil
}

func (a *Applier) applyEntry(index uint64, data []byte) error {
	h, rest, err := parseEntryHeader(data)
	if err != nil {
		return err
	}
	a.time = max(a.time, h.time)
	a.newest.Store(a.time)
	a.keysDropped.Add(a.keys.forget(a.time, h))
	for c := (cursor{b: rest}); len(c.b) > 0; {
		b, err := parseBatch(c.bytes(1 << 30))
		if err != nil || c.bad {
			return errMalformed
		}
		if b.session == 0 {
			s := a.sessions.open(b.origin, b.nonce, index)
			if b.origin == a.id && a.own != nil {
				a.own.opened(b.nonce, s.id)
			}
			continue
		}
		if err := a.applyBatch(index, &b); err != nil {
			return err
		}
	}
	a.keysDropped.Add(a.keys.forget(a.time, h))
	return nil
}

func (a *Applier) applyBatch(index uint64, b *batch) error {
	s := a.sessions.byID[b.session]
	if s == nil {
		a.expired(b.session)
		return nil
	}
	s.used = index
	s.acknowledge(b.low)
	mine := s.origin == a.id && a.own != nil
	for {
		c, ok, err := b.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if c.seq < s.low || c.seq-s.low >= maxWindow {
			if !mutantDoubleApply || c.seq >= s.low {
				continue
			}
			if _, err := a.call(c); err != nil {
				return err
			}
			continue
		}
		k := s.at(c.seq)
		if !k.applied || mutantDoubleApply {
			outcome, err := a.once(c)
			if err != nil {
				return err
			}
			s.keep(k, outcome)
		}
		if mine {
			a.answers = append(a.answers, answer{seq: c.seq, Result: k.result()})
		}
	}
	if mine {
		a.own.complete(s.id, a.answers)
		clear(a.answers)
		a.answers = a.answers[:0]
	}
	return nil
}

// once gives a command to the machine unless its key has been there.
func (a *Applier) once(c command) (kept, error) {
	if len(c.key) > 0 {
		if k := a.keys.byKey[string(c.key)]; k != nil {
			return k.kept, nil
		}
	}
	outcome, err := a.call(c)
	if err == nil && len(c.key) > 0 {
		a.keys.add(&keyed{key: string(c.key), time: a.time, kept: outcome})
	}
	return outcome, err
}

// call gives a command to the machine. A panic of the machine is final for this member, since its state may be half
// changed: the error says so.
func (a *Applier) call(c command) (k kept, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the machine panicked at command %d: %v", a.commands, p)
		}
	}()
	a.commands++
	a.touched = true
	b, answer := a.machine.Apply(Entry{Index: a.commands, Time: time.Unix(0, a.time).UTC(), Command: c.contents})
	k = kept{applied: true, bytes: b}
	if answer != nil {
		f := failure.From(answer)
		k.bytes, k.err = nil, f.WithCause(nil) // the cause does not survive a snapshot: nobody gets it
	}
	if n := k.size(); n > MaxResult {
		k = kept{applied: true, err: ErrResultTooLarge.With("the command was applied; its result of %d bytes is over %d", n, MaxResult)}
	}
	return k, nil
}

func (a *Applier) expired(session uint64) {
	if a.own == nil {
		return
	}
	for _, p := range a.own.expired(session, a.nonces()) {
		p.Done(Result{Err: ErrOutcomeUnknown})
	}
}

// applyConf takes over a change of members. conf is the configuration after it.
func (a *Applier) applyConf(data []byte, conf *raftpb.ConfState) error {
	var cc raftpb.ConfChangeV2
	if err := proto.Unmarshal(data, &cc); err != nil {
		return err
	}
	a.conf = conf
	_, infos, err := parseChangeContext(cc.GetContext())
	if err != nil {
		return err
	}
	for _, info := range infos {
		i, found := slices.BinarySearchFunc(a.members, info.ID, func(m MemberInfo, id uint64) int { return cmp.Compare(m.ID, id) })
		if found {
			a.members = slices.Clone(a.members)
			a.members[i] = info
		} else {
			a.members = slices.Insert(slices.Clone(a.members), i, info)
		}
	}
	a.setMembers(reconcile(a.members, conf))
	return nil
}

// reconcile drops who is not in conf any more and sets who has no vote.
func reconcile(members []MemberInfo, conf *raftpb.ConfState) []MemberInfo {
	out := make([]MemberInfo, 0, len(members))
	for _, m := range members {
		if inConf(conf, m.ID) {
			m.Learner = slices.Contains(conf.GetLearners(), m.ID) // one that is leaving its vote still has it
			out = append(out, m)
		}
	}
	return out
}

// Restore replaces all state by the file that a Capture wrote, for a Restore item or before New. An error is final.
func (a *Applier) Restore(r io.Reader) error {
	st, err := readState(r)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	if st.mark.Index < a.mark.Index {
		return fmt.Errorf("restore snapshot: it is of entry %d, the state is at %d already", st.mark.Index, a.mark.Index)
	}
	if st.touched {
		if err := a.restoreMachine(r); err != nil {
			return fmt.Errorf("restore snapshot: %w", err)
		}
	}
	a.mark, a.time, a.commands, a.touched = st.mark, st.time, st.commands, st.touched
	a.sessions, a.keys, a.conf = st.sessions, st.keys, st.conf
	a.newest.Store(a.time)
	a.setMembers(st.members)
	if a.own != nil {
		a.reunite()
	}
	return nil
}

func (a *Applier) restoreMachine(r io.Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the machine panicked: %v", p)
		}
	}()
	return a.machine.Restore(r)
}

// reunite completes what waits here and was applied by the state that was just restored.
func (a *Applier) reunite() {
	id, nonce := a.own.identity()
	if id == 0 {
		for _, s := range a.sessions.byID {
			if s.origin == a.id && s.nonce == nonce {
				a.own.opened(nonce, s.id)
			}
		}
		return
	}
	s := a.sessions.byID[id]
	if s == nil {
		a.expired(id)
		return
	}
	for i, k := range s.window[s.head:] {
		if k.applied {
			a.answers = append(a.answers, answer{seq: s.low + uint64(i), Result: k.result()})
		}
	}
	a.own.complete(id, a.answers)
	clear(a.answers)
	a.answers = a.answers[:0]
}

func (a *Applier) setMembers(members []MemberInfo) {
	a.members = members
	a.table.Store(&members)
}

// Mark returns how far the state is.
func (a *Applier) Mark() Mark { return a.mark }

// Members returns the table of members, by ID. Read only. It may be called by any goroutine.
func (a *Applier) Members() []MemberInfo {
	if t := a.table.Load(); t != nil {
		return *t
	}
	return nil
}
