package core

import (
	"time"

	"go.etcd.io/raft/v3"
)

// stall watches over the disk of a member: one that hangs fails nothing, and a leader whose disk does commits through
// the others what it never applies. Heartbeats need no disk, so nobody else would notice.
type stall struct {
	writing int       // Appends on their way
	since   time.Time // when the oldest of them was given, or the last one came back
	lasts   bool      // longer than stallAfter, as of the last tick
}

// minStall is how long a disk may take at least, whatever the election timeout: a busy one needs that now and then, and
// those of the other members may be as busy.
const minStall = time.Second

// stallAfter is how long a write may take until the disk counts as hung.
func (c *Config) stallAfter() time.Duration { return max(c.ElectionTimeout, minStall) }

func (s *stall) given(now time.Time, n int) {
	if s.writing == 0 {
		s.since = now
	}
	s.writing += n
}

func (s *stall) written(now time.Time) {
	s.writing--
	s.since, s.lasts = now, false
}

// checkDisk looks at the disk, after a tick. A leader that has to wait for it hands leadership over. If that comes to
// nothing it falls silent, until others have elected another or its own followers' silence has it step down.
func (m *Member) checkDisk(now time.Time) {
	took := now.Sub(m.disk.since)
	was := m.disk.lasts
	m.disk.lasts = m.disk.writing > 0 && took > m.cfg.stallAfter()
	if m.disk.lasts && !was && m.cfg.Logger != nil {
		m.cfg.Logger.Warn("the disk does not answer: this member neither leads nor stands until it does", "for", took)
	}
	if m.disk.lasts && m.state == raft.StateLeader && m.transferee == 0 {
		m.Transfer(now, 0)
	}
}

// mute reports whether nothing of this member may be heard: it leads, and should not.
func (m *Member) mute(now time.Time) bool {
	return m.disk.lasts && m.state == raft.StateLeader && now.Sub(m.disk.since) > m.cfg.stallAfter()+m.cfg.ElectionTimeout &&
		len(m.conf.GetVoters()) > 1
}
