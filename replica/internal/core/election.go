package core

import (
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

// elect sets the moment to stand: a random part of ElectionTimeout between from and to of it.
func (m *Member) elect(now time.Time, from, to float64) {
	share := from + (to-from)*m.rng.Float64()
	m.electAt = now.Add(time.Duration(share * float64(m.cfg.ElectionTimeout)))
}

// Tick tells the time. Call it when NextTick has passed and at least every HeartbeatEvery.
func (m *Member) Tick(now time.Time) {
	if m.err != nil {
		return
	}
	defer m.guard()
	if n := int(now.Sub(m.lastTick) / m.cfg.HeartbeatEvery); n > 0 {
		if n > 2 {
			// This process did not run for a while. It has not waited in vain for its peers during that time: their
			// messages are yet to be read.
			m.electAt = later(m.electAt, now.Add(m.cfg.ElectionTimeout/4))
			m.disk.since = m.disk.since.Add(now.Sub(m.lastTick)) // nor has the disk
			m.lastTick, n = now, 1
		} else {
			m.lastTick = m.lastTick.Add(time.Duration(n) * m.cfg.HeartbeatEvery)
		}
		for range n {
			if m.state == raft.StateLeader {
				m.node.Tick()
			} else {
				m.node.TickQuiesced() // raft's own election timer is not used; the lease of its pre-vote counts these
			}
		}
		if m.state == raft.StateLeader {
			m.transferee = m.node.BasicStatus().LeadTransferee
			m.govern(now)
		}
		m.checkDisk(now)
		m.checkDistance(now)
	}
	if m.state != raft.StateLeader && !now.Before(m.electAt) {
		// A pre-vote that got no answer costs nothing and is tried again soon; sooner while others are about to notice
		// that the leader's process is gone.
		if m.hurry--; m.hurry >= 0 {
			m.elect(now, 0.08, 0.2)
		} else {
			m.elect(now, 0.4, 1)
		}
		if r := m.role(); r == Learner || r == Removed || m.disk.lasts {
			return
		}
		m.counts.Elections++
		if err := m.node.Campaign(); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
			m.Fail(err)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// NextTick returns when Tick has something to do next.
func (m *Member) NextTick() time.Time {
	next := m.lastTick.Add(m.cfg.HeartbeatEvery)
	if m.state != raft.StateLeader && m.electAt.Before(next) {
		next = m.electAt
	}
	if at := m.retryAt(); at != 0 {
		if t := m.start.Add(time.Duration(at)); t.Before(next) {
			next = t
		}
	}
	return next
}

// PeerDown tells that the process of a peer is gone: its connection was reset or refused, not merely silent.
func (m *Member) PeerDown(now time.Time, peer uint64) {
	if m.err != nil {
		return
	}
	defer m.guard()
	m.node.ReportUnreachable(peer)
	if peer != m.lead || m.state != raft.StateFollower {
		return
	}
	if err := m.node.ForgetLeader(); err != nil {
		return
	}
	m.hurry = 5
	if soon := now.Add(time.Duration((0.02 + 0.2*m.rng.Float64()) * float64(m.cfg.ElectionTimeout))); soon.Before(m.electAt) {
		m.electAt = soon
	}
}

// Transfer hands leadership over, to the most up-to-date voter if to is 0. It does nothing if this member does not
// lead; see Status for how it went.
func (m *Member) Transfer(now time.Time, to uint64) {
	if m.err != nil || m.state != raft.StateLeader {
		return
	}
	defer m.guard()
	if to == 0 {
		to = m.successor(now)
	}
	if to != 0 && to != m.cfg.ID && slices.Contains(m.conf.GetVoters(), to) {
		m.node.TransferLeader(to)
		m.transferee = to
	}
}

// successor returns the voter whose log is longest, of those that answer.
func (m *Member) successor(now time.Time) (best uint64) {
	var match uint64
	for _, p := range m.peers() {
		if p.ID != m.cfg.ID && !p.Learner && now.Sub(m.heard[p.ID]) < m.cfg.ElectionTimeout && (best == 0 || p.Match > match) {
			best, match = p.ID, p.Match
		}
	}
	return best
}

func (m *Member) changedRole(now time.Time, ss *raft.SoftState) {
	if ss.Lead != m.lead {
		m.resend = true
	}
	was := m.state
	m.lead, m.state = ss.Lead, ss.RaftState
	switch {
	case m.state == raft.StateLeader && was != raft.StateLeader:
		m.ledSince, m.lastTick, m.underway = now, now, 0
		m.distance.asked, m.distance.next, m.distance.near, m.distance.far = 0, 0, false, 0
		m.times.lead(m.newest())
	case m.state != raft.StateLeader && was == raft.StateLeader:
		m.elect(now, 1, 2)
		m.transferee = 0
		m.changes.end(ErrNotLeader)
	case m.state == raft.StateFollower && was != raft.StateFollower:
		if m.lead != 0 {
			m.elect(now, 1, 2)
		}
	}
}
