package core

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

// Role is what a member is in its group.
type Role uint8

// The roles.
const (
	Follower Role = iota
	Candidate
	Leader
	Learner // it has no vote, or is not a member yet
	Removed // the group has gone on without this member
)

// Status is how a member stands.
type Status struct {
	ID, Term, Leader uint64 // Leader 0: unknown
	Role             Role
	// Commit and Applied are indexes of the log.
	Commit, Applied uint64
	// Pending proposals and reads of this member.
	Pending, PendingBytes, Reads int
	// Transferring is whom leadership is being handed to; 0: nobody.
	Transferring uint64
	// Members is the table as of Applied or a little later; Peers, on the leader, how far each is. Both by ID. Read only.
	Members []MemberInfo
	Peers   []Peer
	Counts  Counts
	// Err is why the member has ended.
	Err error
}

// Counts say what a member has done since it started.
type Counts struct {
	Elections    uint64 // it stood, pre-votes included
	Batches      uint64 // that its proposals were packed into
	BatchesAgain uint64 // sent again, for a new leader or since nothing was heard
	Refusals     uint64 // of its batches by a leader that could not take them
	Rounds       uint64 // ReadIndexes for its reads
	RoundsAgain  uint64
	Entries      uint64 // committed
	KeysDropped  uint64 // Once keys that were forgotten before their time: too many, or too large
}

// Peer is what a leader knows of another member.
type Peer struct {
	ID      uint64
	Learner bool
	Match   uint64    // its log is known to agree up to here
	Active  bool      // heard within the last election timeout
	Heard   time.Time // when last
}

func (m *Member) role() Role {
	switch {
	case m.member && !inConf(m.conf, m.cfg.ID):
		return Removed
	case m.state == raft.StateLeader:
		return Leader
	case m.state == raft.StateCandidate, m.state == raft.StatePreCandidate:
		return Candidate
	case !slices.Contains(m.conf.GetVoters(), m.cfg.ID) && !slices.Contains(m.conf.GetVotersOutgoing(), m.cfg.ID):
		return Learner
	}
	return Follower
}

// publish makes what Status returns to other goroutines.
func (m *Member) publish(now time.Time) {
	s := &Status{
		ID: m.cfg.ID, Term: m.term, Leader: m.lead, Role: m.role(), Commit: m.commit, Transferring: m.transferee,
		Counts: m.counts,
	}
	if m.state == raft.StateLeader {
		s.Peers = m.peers()
	}
	m.lastStatus = now
	m.status.Store(s)
}

// Status returns how the member stands; it is as of the last Ready.
func (m *Member) Status() Status {
	s := *m.status.Load()
	s.Applied = m.applied.Load()
	s.Members = m.applier.Members() // read after Applied, which follows it: never older
	s.Counts.KeysDropped = m.applier.keysDropped.Load()
	s.Commit = max(s.Commit, s.Applied)
	s.Pending, s.PendingBytes = m.pending.load()
	s.Reads = m.reads.load()
	return s
}
