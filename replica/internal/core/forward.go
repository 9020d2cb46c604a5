package core

import (
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

// pump moves what waits towards the log: into batches, to the leader, into entries.
func (m *Member) pump(now time.Time) {
	clock := m.clock(now)
	m.dropDone()
	if m.lead == 0 {
		m.merging, m.mergeBytes = m.refuseAll(m.merging), 0
		return
	}
	if m.resend {
		m.resend = false
		for _, b := range m.out {
			b.inFlight, b.tries, b.retryAt = false, 0, 0
		}
	}
	// Nothing can be numbered without a session, and while the group is changing hands nothing is taken.
	if m.transferee == 0 && len(m.out) < m.cfg.MaxInflight {
		m.fill()
	}
	for _, b := range m.out {
		if b.inFlight && clock >= b.retryAt || !b.inFlight && (b.retryAt == 0 || clock >= b.retryAt) {
			m.dispatch(clock, b)
		}
	}
	m.merge(now)
}

// fill makes new batches while there is something to put into them.
func (m *Member) fill() {
	session, nonce := m.pending.identity()
	if session == 0 {
		if !slices.ContainsFunc(m.out, func(b *outBatch) bool { return b.open }) {
			m.add(&outBatch{open: true, nonce: nonce, data: openBatch(m.cfg.ID, nonce)})
		}
		return
	}
	for len(m.out) < m.cfg.MaxInflight {
		b := m.pending.pack(m.cfg.MaxBatchBytes)
		if b == nil {
			return
		}
		m.add(b)
	}
}

func (m *Member) add(b *outBatch) {
	m.nextBatch++
	m.counts.Batches++
	b.number = m.nextBatch
	m.out = append(m.out, b)
}

// dropDone forgets batches that nobody waits for any more.
func (m *Member) dropDone() {
	if len(m.out) == 0 {
		return
	}
	m.out = slices.DeleteFunc(m.out, m.pending.done)
}

// dispatch sends a batch on its way to the leader, for the first time or again.
func (m *Member) dispatch(clock int64, b *outBatch) {
	if b.again {
		m.counts.BatchesAgain++
	}
	b.inFlight, b.again = true, true
	b.retryAt = clock + int64(m.cfg.RetryAfter)<<min(b.tries, 3)
	b.tries++
	if m.lead == m.cfg.ID {
		m.queue(forwarded{from: m.cfg.ID, number: b.number, data: b.data, own: b})
		return
	}
	m.pending.markSent(b)
	m.outbox = append(m.outbox, Message{From: m.cfg.ID, To: m.lead, Forward: &Forward{Number: b.number, Batch: b.data}})
}

// queue puts a batch before the next entry, unless this leader has put it into its log in this term already: then the
// log answers for it.
func (m *Member) queue(f forwarded) {
	if m.takenTerm != m.term {
		clear(m.taken)
		m.takenTerm = m.term
	}
	if r := m.taken[f.from]; r != nil && slices.Contains(r.numbers[:], f.number) {
		return
	}
	if slices.ContainsFunc(m.merging, func(o forwarded) bool { return o.from == f.from && o.number == f.number }) {
		return
	}
	m.merging = append(m.merging, f)
	m.mergeBytes += len(f.data)
}

// receiveForward takes the batch of another member.
func (m *Member) receiveForward(from uint64, f *Forward) {
	if checkBatch(f.Batch) != nil {
		return
	}
	if m.lead != m.cfg.ID || m.state != raft.StateLeader || m.transferee != 0 || m.mergeBytes > 0 && m.mergeBytes+len(f.Batch) > m.cfg.MaxPendingBytes {
		m.refuse(from, f.Number)
		return
	}
	m.queue(forwarded{from: from, number: f.Number, data: f.Batch})
}

// maxUnderway is how many entries of commands a leader has under way at once. What comes meanwhile goes into the next one:
// few large ones cost each member less than many small ones.
const maxUnderway = 2

// merge puts all batches that wait into entries.
func (m *Member) merge(now time.Time) {
	for len(m.merging) > 0 && (m.lead != m.cfg.ID || m.underway < maxUnderway) {
		if m.lead != m.cfg.ID {
			m.merging, m.mergeBytes = m.refuseAll(m.merging), 0
			return
		}
		n, size := 0, entryHeaderSize
		for _, f := range m.merging {
			if n > 0 && size+len(f.data)+binary.MaxVarintLen64 > maxEntryBytes {
				break
			}
			size += len(f.data) + binary.MaxVarintLen64
			n++
		}
		data := entryHeader{time: m.times.next(now), keyAge: m.cfg.KeyRetention, maxKeys: m.cfg.MaxKeys}.append(make([]byte, 0, size))
		for _, f := range m.merging[:n] {
			data = binary.AppendUvarint(data, uint64(len(f.data)))
			data = append(data, f.data...)
			m.mergeBytes -= len(f.data)
		}
		if err := m.node.Propose(data); err != nil {
			// Too much is uncommitted, or leadership is being handed over. Own batches wait here, others with their members.
			m.refuseAll(m.merging[:n])
			clock := m.clock(now)
			for _, f := range m.merging[:n] {
				if f.own != nil {
					f.own.inFlight, f.own.retryAt = false, clock+int64(m.pause())
				}
			}
		} else {
			for _, f := range m.merging[:n] {
				m.remember(f)
			}
			m.underway++
		}
		rest := copy(m.merging, m.merging[n:])
		clear(m.merging[rest:])
		m.merging = m.merging[:rest]
	}
}

// remember notes what is in this leader's log.
func (m *Member) remember(f forwarded) {
	if f.own != nil {
		m.pending.markSent(f.own)
	}
	r := m.taken[f.from]
	if r == nil {
		if len(m.taken) >= maxMembers {
			return
		}
		r = &recent{}
		m.taken[f.from] = r
	}
	r.numbers[r.n%len(r.numbers)] = f.number
	r.n++
}

// pause is for how long a refused batch waits if the leader stays the same.
func (m *Member) pause() time.Duration { return max(m.cfg.ElectionTimeout/50, 2*time.Millisecond) }

func (m *Member) refuse(to, number uint64) {
	m.outbox = append(m.outbox, Message{From: m.cfg.ID, To: to, Refused: &Refused{Number: number, Leader: m.lead}})
}

// refuseAll tells the members whose batches cannot be taken. It returns what is left: nothing.
func (m *Member) refuseAll(some []forwarded) []forwarded {
	for _, f := range some {
		if f.own == nil {
			m.refuse(f.from, f.number)
		} else {
			f.own.inFlight, f.own.retryAt = false, 0
		}
	}
	return some[:0]
}

// refused puts a batch back. If the leader changes before the pause is over, it goes at once.
func (m *Member) refused(now time.Time, from uint64, r *Refused) {
	for _, b := range m.out {
		if b.number == r.Number && b.inFlight && from == m.lead {
			m.counts.Refusals++
			b.inFlight, b.retryAt = false, m.clock(now)+int64(m.pause())
		}
	}
}

// retryAt returns when on the own clock a batch or a round is due again; 0: none is.
func (m *Member) retryAt() (at int64) {
	if m.lead == 0 {
		return 0
	}
	for _, b := range m.out {
		if b.retryAt != 0 && (at == 0 || b.retryAt < at) {
			at = b.retryAt
		}
	}
	if r := m.reads.round; r != nil && r.retryAt != 0 && (at == 0 || r.retryAt < at) {
		at = r.retryAt
	}
	return at
}

// pumpReads begins a round for the reads that wait, goes on with it for those that have come since, or asks again.
func (m *Member) pumpReads(now time.Time) {
	if m.lead == 0 || m.lead == m.cfg.ID && !m.current() {
		return
	}
	r, clock := m.reads.round, m.clock(now)
	switch {
	case r == nil:
		if m.reads.idle() {
			return
		}
		r = &round{}
		m.reads.round = r
	case r.term != m.term || r.lead != m.lead:
		r.tries = 0
	case clock >= r.retryAt:
		r.tries++
		m.counts.RoundsAgain++
	case m.reads.idle() || clock < r.asks[len(r.asks)-1].began+m.roundTime():
		return // what comes while a round is as short as it should be is for the next one
	}
	// A number is used once: an answer to an earlier one says nothing of the reads that have come since.
	m.readCounter++
	r.reads = m.reads.gather(r.reads, m.readCounter)
	if len(r.reads) == 0 {
		m.reads.round = nil
		return
	}
	m.counts.Rounds++
	if len(r.asks) == maxAsks {
		r.asks = slices.Delete(r.asks, 0, 1)
	}
	r.asks = append(r.asks, ask{number: m.readCounter, began: clock})
	r.term, r.lead = m.term, m.lead
	r.retryAt = clock + m.roundTime()<<min(r.tries, 3)
	ctx := binary.LittleEndian.AppendUint64(make([]byte, 0, readCtx), m.readBase)
	m.node.ReadIndex(binary.LittleEndian.AppendUint64(ctx, m.readCounter))
}

// readCtx is the size of what a ReadIndex carries: which start of a member asks, and the number of the ask.
const readCtx = 16

// roundTime is how long a round takes at most, in ns, where all is well.
func (m *Member) roundTime() int64 { return int64(2 * m.cfg.HeartbeatEvery) }

// readConfirmed takes the answer to a ReadIndex.
func (m *Member) readConfirmed(now time.Time, ctx []byte, index uint64) {
	if len(ctx) != readCtx || binary.LittleEndian.Uint64(ctx) != m.readBase {
		return
	}
	number := binary.LittleEndian.Uint64(ctx[8:])
	m.measured(now, number)
	m.reads.confirm(number, index)
	m.reads.applied(m.applied.Load())
}

// current reports whether a leader's commit index may be read: raft sees to it, except in a leader that is the only
// voter, which answers with what it knew when it started until it has committed something in its own term.
func (m *Member) current() bool {
	if len(m.conf.GetVoters()) != 1 || len(m.conf.GetVotersOutgoing()) > 0 {
		return true
	}
	term, err := m.log.Term(m.commit)
	return err == nil && term == m.term
}
