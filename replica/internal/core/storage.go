package core

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// storage is the part of the log that is on the disk, in memory.
type storage struct {
	*raft.MemoryStorage
	m *Member
	// outdated: a member needs a snapshot and is not in the table of the newest one. It would not take it.
	outdated bool
}

// Snapshot returns the newest snapshot, if it knows all members there are.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) {
	snap, err := s.MemoryStorage.Snapshot()
	if err != nil {
		return nil, err
	}
	has, conf := snap.GetMetadata().GetConfState(), s.m.conf
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetLearners(), conf.GetVotersOutgoing(), conf.GetLearnersNext()} {
		if slices.ContainsFunc(ids, func(id uint64) bool { return !inConf(has, id) }) {
			s.outdated = true
			return nil, raft.ErrSnapshotTemporarilyUnavailable
		}
	}
	return snap, nil
}

// load fills raft's log from what the disk knew.
func (m *Member) load(a *Applier, r Restored) error {
	mark := a.mark
	if mark.Index == 0 && (len(r.Entries) > 0 || r.HardState.GetCommit() > 0) {
		return errors.New("the log has entries, and there is no snapshot that they follow")
	}
	if mark.Index > 0 { // without one, it waits for what the leader sends
		err := m.log.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(mark.Index), Term: new(mark.Term), ConfState: a.conf}})
		if err != nil {
			return err
		}
	}
	// A log may hold entries behind the mark that are of another past: they were there when a snapshot was received,
	// and the power went before they were gone. Their terms give them away, since terms never fall along a log.
	entries, next, term := r.Entries[:0:0], mark.Index+1, mark.Term
	for _, e := range r.Entries {
		if e.GetIndex() <= mark.Index {
			continue
		}
		if e.GetTerm() < term {
			break
		}
		if e.GetIndex() != next {
			return fmt.Errorf("the log has entry %d where %d should follow", e.GetIndex(), next)
		}
		entries = append(entries, e)
		next, term = next+1, e.GetTerm()
	}
	if err := m.log.Append(entries); err != nil {
		return err
	}
	hs := &raftpb.HardState{Term: new(r.HardState.GetTerm()), Vote: new(r.HardState.GetVote()), Commit: new(r.HardState.GetCommit())}
	if term > hs.GetTerm() {
		hs.Term, hs.Vote = new(term), new(uint64(0))
	}
	// The commit index is written lazily, and never needed: it may be behind the snapshot or ahead of a torn tail.
	hs.Commit = new(min(max(hs.GetCommit(), mark.Index), next-1))
	if err := m.log.SetHardState(hs); err != nil {
		return err
	}
	m.term, m.vote, m.commit = hs.GetTerm(), hs.GetVote(), hs.GetCommit()
	m.savedTerm, m.savedVote = r.HardState.GetTerm(), r.HardState.GetVote()
	m.setConf(a.conf)
	m.handed = mark.Index
	m.applied.Store(mark.Index)
	return nil
}

// append makes an Append of raft's message to its storage. A commit index is not worth a write: it is known again soon
// after a start, and until then nothing depends on it but the table of members (see holdApply). It goes along with the next thing that is.
func (m *Member) append(msg *raftpb.Message) {
	a := &Append{Entries: msg.GetEntries()}
	if msg.Term != nil || msg.Vote != nil || msg.Commit != nil {
		m.unsaved = &raftpb.HardState{Term: new(msg.GetTerm()), Vote: new(msg.GetVote()), Commit: new(msg.GetCommit())}
		a.Sync = msg.GetTerm() != m.savedTerm || msg.GetVote() != m.savedVote
	}
	if s := msg.GetSnapshot(); s != nil && !raft.IsEmptySnap(s) {
		a.Installed, a.reset = markOf(s), s
		m.installed = a.Installed.Index
	}
	if a.Sync = a.Sync || len(a.Entries) > 0 || a.Installed != nil; a.Sync && m.unsaved != nil {
		m.save(a)
	}
	for _, r := range msg.GetResponses() {
		if r.GetTo() == m.cfg.ID {
			a.local = append(a.local, r)
		} else {
			m.send(r, &a.Send)
		}
	}
	if a.Sync || len(a.local)+len(a.Send) > 0 {
		m.work.Append = append(m.work.Append, a)
	}
}

// save makes a write the one that carries the newest HardState.
func (m *Member) save(a *Append) {
	a.HardState, a.Sync = m.unsaved, true
	m.savedTerm, m.savedVote, m.unsaved, m.saving = a.HardState.GetTerm(), a.HardState.GetVote(), nil, a
}

// holdApply keeps a change of members from the applier until the commit index that passes it is durable. Until then, a
// member that loses its power comes back with the members of before, and needs the votes of those that left: nobody may
// be told that they can go.
func (m *Member) holdApply() {
	if m.unsaved != nil {
		a := &Append{}
		m.save(a)
		m.work.Append = append(m.work.Append, a)
	}
	if m.saving != nil {
		m.holdFor = m.saving
	}
}

// SnapshotSent tells how the transfer of a Message with Snapshot ended.
func (m *Member) SnapshotSent(_ time.Time, peer uint64, ok bool) {
	if m.err != nil {
		return
	}
	defer m.guard()
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	m.node.ReportSnapshot(peer, status)
}

// SnapshotSaved tells that the capture that Work.Snapshot asked for is durable, and how many bytes its file has: the
// next one is due after as much log, within bounds, so that a large state is not written for every bit of log.
func (m *Member) SnapshotSaved(now time.Time, c *Capture, size int64) {
	if m.err != nil {
		return
	}
	defer m.guard()
	m.snapshotting = false
	if c.Mark.Index <= m.installed {
		return // one that was received meanwhile is newer
	}
	_, err := m.log.CreateSnapshot(c.Mark.Index, c.conf, nil)
	if errors.Is(err, raft.ErrSnapOutOfDate) { // nothing has been applied since the last one
		m.snapshotAfter = now.Add(m.cfg.ElectionTimeout)
		return
	}
	if err != nil {
		m.Fail(err)
		return
	}
	m.logBytes, m.logEntries, m.log.outdated = max(m.logBytes-m.askedBytes, 0), max(m.logEntries-m.askedEntries, 0), false
	m.snapshotFactor = min(max(int(size/int64(m.cfg.SnapshotBytes)), 1), maxSnapshotFactor)
	m.compact = &Mark{Index: c.Mark.Index, Term: c.Mark.Term}
	m.trim(c.Mark.Index)
}

// trim drops entries from memory, except for some behind the snapshot.
func (m *Member) trim(index uint64) {
	first, err := m.log.FirstIndex()
	if err != nil || index < first {
		return
	}
	keep, size := index, 0
	for keep >= first && index-keep < uint64(m.cfg.KeepEntries) && size < m.cfg.SnapshotBytes/4 {
		e, err := m.log.Entries(keep, keep+1, 1)
		if err != nil {
			break
		}
		size += len(e[0].GetData())
		keep--
	}
	if keep >= first {
		_ = m.log.Compact(keep)
	}
}

// SnapshotFailed tells that it could not be taken or written; it is asked for again later.
func (m *Member) SnapshotFailed(now time.Time, err error) {
	if m.err != nil {
		return // that is why
	}
	m.snapshotting = false
	m.snapshotAfter = now.Add(10 * m.cfg.ElectionTimeout)
	if m.cfg.Logger != nil {
		m.cfg.Logger.Error("no snapshot could be taken: the log grows until one can", "error", err)
	}
}
