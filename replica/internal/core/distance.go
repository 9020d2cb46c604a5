package core

import (
	"encoding/binary"
	"time"

	"go.etcd.io/raft/v3"
)

// distance watches over how far a leader is from the others. Each command and each read goes to the leader and back, and from
// it to a majority and back, so a leader behind a bad network makes all of it slow, while the others may be as near to each
// other as ever. Heartbeats come through, so nobody else would notice.
//
// Only who has been near hands over: members that are far from each other, since they are in places that are, are left alone.
type distance struct {
	asked  uint64 // number of the ReadIndex under way that measures it; 0: none
	began  int64  // of that; own clock, ns
	next   int64  // when to measure next
	near   bool   // it was, in this leadership
	far    int    // so many times in a row it was not
	handed int    // so often this member has handed over
	last   int64  // when it did last
}

const (
	// minFar is how long a round may take at least, whatever the election timeout: on a busy machine some do.
	minFar = 50 * time.Millisecond
	// farTimes is how often in a row a round has to take too long.
	farTimes = 3
	// farPause is how many election timeouts after it has handed over a member does so again, doubling up to farDoubles
	// times: it is not what makes things slow.
	farPause, farDoubles = 10, 6
)

// farAfter is how long a round takes if the leader is far away; a quarter of that is near.
func (c *Config) farAfter() time.Duration { return max(c.HeartbeatEvery, minFar) }

// checkDistance measures how far a leader is, after a tick.
func (m *Member) checkDistance(now time.Time) {
	d, clock := &m.distance, m.clock(now)
	if m.state != raft.StateLeader || m.transferee != 0 || len(m.conf.GetVoters()) < 2 {
		return
	}
	if d.asked != 0 && clock-d.began < int64(2*m.cfg.ElectionTimeout) || d.asked == 0 && clock < d.next {
		return
	}
	if term, err := m.log.Term(m.applied.Load()); err != nil || term != m.term {
		return // raft answers only then
	}
	m.readCounter++
	d.asked, d.began = m.readCounter, clock
	ctx := binary.LittleEndian.AppendUint64(make([]byte, 0, readCtx), m.readBase)
	m.node.ReadIndex(binary.LittleEndian.AppendUint64(ctx, m.readCounter))
}

// measured takes the answer to a ReadIndex, if it is the one that measures.
func (m *Member) measured(now time.Time, number uint64) {
	d := &m.distance
	if d.asked != number || number == 0 {
		return
	}
	clock := m.clock(now)
	took := time.Duration(clock - d.began)
	d.asked, d.next = 0, clock+int64(m.cfg.ElectionTimeout)
	switch far := m.cfg.farAfter(); {
	case took > far:
		d.far++
		d.next = clock
	case took <= far/4:
		d.near, d.far = true, 0
	default:
		d.far = 0
	}
	if d.far < farTimes || !d.near || m.state != raft.StateLeader || m.transferee != 0 {
		return
	}
	if d.handed > 0 && clock < d.last+int64(farPause*m.cfg.ElectionTimeout)<<min(d.handed-1, farDoubles) {
		return
	}
	d.handed, d.last, d.near, d.far = d.handed+1, clock, false, 0
	if m.cfg.Logger != nil {
		m.cfg.Logger.Info("this leader is far from the others now: it hands over", "round", took)
	}
	m.Transfer(now, 0)
}
