package core

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Member is one member of one group. See the package comment for who may call what.
type Member struct {
	cfg     Config
	applier *Applier // only its table is read here
	log     *storage
	node    *raft.RawNode
	rng     *rand.Rand
	start   time.Time
	err     error

	pending pending
	reads   reads

	// What raft said last.
	term, vote, lead uint64
	state            raft.StateType
	commit           uint64
	handed           uint64 // index of the newest entry given to the applier
	applied          atomic.Uint64
	conf             *raftpb.ConfState

	lastTick    time.Time // raft's ticks are whole HeartbeatEvery from here
	electAt     time.Time
	hurry       int // so many pre-votes follow each other quickly
	transferee  uint64
	heard       map[uint64]time.Time
	ledSince    time.Time
	lastStatus  time.Time
	member      bool        // it has been in conf
	out         []*outBatch // under way, in the order of their making
	nextBatch   uint64
	resend      bool // the leader or the term has changed since out was sent
	merging     []forwarded
	mergeBytes  int
	taken       map[uint64]*recent // what this leader has put into the log in this term, by member
	takenTerm   uint64
	readBase    uint64
	readCounter uint64

	logBytes, logEntries     int               // handed to the applier since the last snapshot
	askedBytes, askedEntries int               // as they were when the snapshot under way was asked for
	savedTerm, savedVote     uint64            // as given to the disk
	unsaved                  *raftpb.HardState // with another commit index alone; nil: none
	snapshotting             bool
	snapshotFactor           int       // by which the bounds are raised
	snapshotAfter            time.Time // not before, after a failure
	compact                  *Mark     // to be told to the disk
	installed                uint64    // of the newest snapshot that was received

	counts  Counts
	changes changes
	install *Apply   // a snapshot that the applier has not restored yet
	apply   []*Apply // for the next Ready
	outbox  []Message
	work    Work
	status  atomic.Pointer[Status]
}

// forwarded is a batch that waits for the next entry; own is set if it is this member's.
type forwarded struct {
	from, number uint64
	data         []byte
	own          *outBatch
}

// recent remembers the last batches of one member.
type recent struct {
	numbers [32]uint64
	n       int
}

// New starts a member from what its disk knew; a holds the snapshot, restored. If there is none and the log is empty, the
// member waits until a leader that has taken it in (see Join) sends one. An error says that the two do not fit together
// or that cfg is wrong.
func New(cfg Config, a *Applier, r Restored, now time.Time) (m *Member, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.ID != a.id {
		return nil, fmt.Errorf("member %x: the applier is of member %x", cfg.ID, a.id)
	}
	m = &Member{
		cfg: cfg, applier: a, snapshotFactor: 1, start: now.Add(-1), lastTick: now, lastStatus: now,
		rng:   rand.New(rand.NewPCG(cfg.Seed, cfg.ID)),
		heard: map[uint64]time.Time{}, taken: map[uint64]*recent{},
	}
	m.log = &storage{MemoryStorage: raft.NewMemoryStorage(), m: m}
	m.pending.maxCount, m.pending.maxBytes, m.pending.maxCommand = cfg.MaxPending, cfg.MaxPendingBytes, cfg.MaxCommand
	m.pending.nonce = m.rng.Uint64()
	m.pending.base = 1
	m.nextBatch, m.readBase = m.rng.Uint64()>>1, m.rng.Uint64()
	m.reads.max = cfg.MaxReads
	nonces := rand.New(rand.NewPCG(m.rng.Uint64(), cfg.ID))
	a.own, a.nonces = &m.pending, nonces.Uint64

	if err := m.load(a, r); err != nil {
		return nil, fmt.Errorf("member %x: %w", cfg.ID, err)
	}
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("member %x: %v", cfg.ID, p)
		}
	}()
	m.node, err = raft.NewRawNode(&raft.Config{
		ID: cfg.ID, ElectionTick: cfg.electionTicks(), HeartbeatTick: 1, Storage: m.log, Applied: a.mark.Index,
		AsyncStorageWrites: true, MaxSizePerMsg: maxEntryBytes, MaxCommittedSizePerReady: 4 * maxEntryBytes,
		MaxUncommittedEntriesSize: uint64(cfg.MaxPendingBytes), MaxInflightMsgs: 256, MaxInflightBytes: 32 << 20,
		CheckQuorum: true, PreVote: true, ReadOnlyOption: raft.ReadOnlySafe,
		DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: logger{cfg.Logger},
	})
	if err != nil {
		return nil, fmt.Errorf("member %x: %w", cfg.ID, err)
	}
	switch fresh := a.mark.Index == 1 && m.commit == 1; {
	case len(m.conf.GetVoters()) == 1 && m.conf.GetVoters()[0] == cfg.ID:
		m.electAt = now // there is nobody to wait for
	case fresh:
		m.elect(now, 0.02, 0.3)
	default:
		m.elect(now, 0.3, 1)
	}
	m.publish(now)
	return m, nil
}

// maxSnapshotFactor is how many times SnapshotBytes of log may come between two snapshots of a large state.
const maxSnapshotFactor = 8

// maxEntryBytes is up to where batches are merged into one entry, and entries into one message.
const maxEntryBytes = 1 << 20

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

// clock is the member's own clock: ns since a moment before it began.
func (m *Member) clock(now time.Time) int64 { return int64(now.Sub(m.start)) }

// guard turns a panic of raft, which means that its state is broken, into the end of this member.
func (m *Member) guard() {
	if p := recover(); p != nil {
		m.Fail(fmt.Errorf("raft: %v", p))
	}
}

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
	}
	if m.state != raft.StateLeader && !now.Before(m.electAt) {
		// A pre-vote that got no answer costs nothing and is tried again soon; sooner while others are about to notice
		// that the leader's process is gone.
		if m.hurry--; m.hurry >= 0 {
			m.elect(now, 0.08, 0.2)
		} else {
			m.elect(now, 0.4, 1)
		}
		if r := m.role(); r == Learner || r == Removed {
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

// Receive takes a message of another member. One that it cannot use is ignored.
func (m *Member) Receive(now time.Time, msg Message) {
	if m.err != nil || msg.To != m.cfg.ID || msg.From == m.cfg.ID || msg.From == 0 {
		return
	}
	defer m.guard()
	if _, known := m.heard[msg.From]; known || len(m.heard) < maxMembers {
		m.heard[msg.From] = now
	}
	switch {
	case msg.Forward != nil:
		m.receiveForward(msg.From, msg.Forward)
	case msg.Refused != nil:
		m.refused(now, msg.From, msg.Refused)
	case msg.Raft != nil:
		if msg.Raft.GetFrom() != msg.From || !soundRaft(msg.Raft) {
			return
		}
		if t := msg.Raft.GetType(); (t == raftpb.MsgApp || t == raftpb.MsgHeartbeat || t == raftpb.MsgSnap) && msg.Raft.GetTerm() >= m.term {
			m.elect(now, 1, 2) // it leads this term
			m.hurry = 0
		}
		if msg.Raft.GetType() == raftpb.MsgReadIndex && !m.current() {
			return // it will be asked again
		}
		_ = m.node.Step(msg.Raft) // what it refuses is of somebody who is not a member, or can be dropped
	}
}

// Ready returns what to do. Call it after any other call, or once after several.
func (m *Member) Ready(now time.Time) Work {
	w := &m.work
	clear(w.Send)
	clear(w.Append)
	clear(w.Apply)
	free := w.Send[:0]
	w.Append, w.Apply, w.Snapshot = w.Append[:0], w.Apply[:0], false
	if m.err == nil {
		m.ready(now)
	}
	w.Send, m.outbox = m.outbox, free
	if m.err != nil {
		return Work{Err: m.err}
	}
	return *w
}

func (m *Member) ready(now time.Time) {
	defer m.guard()
	w := &m.work
	w.Apply = append(w.Apply, m.apply...)
	clear(m.apply)
	m.apply = m.apply[:0]
	if m.compact != nil {
		w.Append = append(w.Append, &Append{Compact: m.compact, Sync: true})
		m.compact = nil
	}
	for range 100 { // each turn comes of the one before; two or three do
		m.pump(now)
		m.pumpReads(now)
		if !m.node.HasReady() {
			break
		}
		m.handle(now, m.node.Ready())
	}
	if !m.snapshotting && (m.log.outdated || m.logBytes/m.snapshotFactor >= m.cfg.SnapshotBytes || m.logEntries/m.snapshotFactor >= m.cfg.SnapshotEntries) && !now.Before(m.snapshotAfter) {
		m.snapshotting, m.work.Snapshot = true, true
		m.askedBytes, m.askedEntries = m.logBytes, m.logEntries
	}
	if s := m.status.Load(); s.Term != m.term || s.Leader != m.lead || s.Role != m.role() || s.Transferring != m.transferee || now.Sub(m.lastStatus) >= m.cfg.HeartbeatEvery {
		m.publish(now)
	}
}

// handle passes on what raft wants done.
func (m *Member) handle(now time.Time, rd raft.Ready) {
	if hs := rd.HardState; hs != nil && !raft.IsEmptyHardState(hs) {
		if hs.GetTerm() != m.term {
			m.resend = true
		}
		if v := hs.GetVote(); v != 0 && v != m.cfg.ID && (v != m.vote || hs.GetTerm() != m.term) {
			m.elect(now, 1, 2) // whoever gave its vote waits for what comes of it
		}
		m.term, m.vote, m.commit = hs.GetTerm(), hs.GetVote(), hs.GetCommit()
	}
	if ss := rd.SoftState; ss != nil {
		m.changedRole(now, ss)
	}
	for _, rs := range rd.ReadStates {
		m.reads.confirmed(rs.RequestCtx, rs.Index)
		m.reads.applied(m.applied.Load())
	}
	for _, msg := range rd.Messages {
		switch msg.GetTo() {
		case raft.LocalAppendThread:
			m.append(msg)
		case raft.LocalApplyThread:
			m.handOver(now, msg)
		default:
			m.send(msg, &m.outbox)
		}
	}
}

func (m *Member) changedRole(now time.Time, ss *raft.SoftState) {
	if ss.Lead != m.lead {
		m.resend = true
	}
	was := m.state
	m.lead, m.state = ss.Lead, ss.RaftState
	switch {
	case m.state == raft.StateLeader && was != raft.StateLeader:
		m.ledSince, m.lastTick = now, now
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

func (m *Member) send(msg *raftpb.Message, to *[]Message) {
	if msg.GetFrom() != m.cfg.ID {
		return // raft passes on a ReadIndex that came to the wrong member; whoever asked will ask the right one
	}
	out := Message{From: m.cfg.ID, To: msg.GetTo(), Raft: msg}
	if msg.GetType() == raftpb.MsgSnap {
		out.Snapshot = markOf(msg.GetSnapshot())
	}
	*to = append(*to, out)
}

// append makes an Append of raft's message to its storage. A commit index is not worth a write: it is known again soon
// after a start, and until then nothing depends on it. It goes along with the next thing that is.
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
		a.HardState = m.unsaved
		m.savedTerm, m.savedVote, m.unsaved = a.HardState.GetTerm(), a.HardState.GetVote(), nil
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

// handOver makes an Apply of committed entries. Changes of members count from here on.
func (m *Member) handOver(now time.Time, msg *raftpb.Message) {
	item := &Apply{Entries: msg.GetEntries(), done: msg.GetResponses()}
	for _, e := range item.Entries {
		m.logBytes += len(e.GetData()) + 32
		m.logEntries++
		m.counts.Entries++
		if e.GetType() == raftpb.EntryConfChangeV2 {
			item.confs = append(item.confs, m.changeConf(now, e))
		}
	}
	if n := len(item.Entries); n > 0 {
		m.handed = item.Entries[n-1].GetIndex()
	}
	m.work.Apply = append(m.work.Apply, item)
}

// Persisted tells that an Append is durable, or was its turn if there was nothing to write. In the order of Ready.
func (m *Member) Persisted(now time.Time, a *Append) {
	if m.err != nil {
		return
	}
	defer m.guard()
	if a.reset != nil {
		// The applier has to follow before raft hears of it.
		if err := m.log.ApplySnapshot(a.reset); err != nil {
			m.Fail(fmt.Errorf("install snapshot: %w", err))
			return
		}
	}
	if err := m.log.Append(a.Entries); err != nil {
		m.Fail(err)
		return
	}
	switch {
	case a.reset != nil:
		m.setConf(a.reset.GetMetadata().GetConfState())
		m.handed = a.Installed.Index
		m.logBytes, m.logEntries, m.askedBytes, m.askedEntries = 0, 0, 0, 0
		m.install = &Apply{Restore: a.Installed, done: a.local}
		m.apply = append(m.apply, m.install)
	case m.install != nil: // raft hears of writes in their order
		m.install.done = append(m.install.done, a.local...)
	default:
		for _, r := range a.local {
			_ = m.node.Step(r)
		}
	}
}

// Applied tells that the Applier has done an item. In the order of Ready.
func (m *Member) Applied(now time.Time, item *Apply) {
	if m.err != nil {
		return
	}
	defer m.guard()
	index := m.applied.Load()
	if item.Restore != nil {
		index = max(index, item.Restore.Index)
	} else if n := len(item.Entries); n > 0 {
		index = item.Entries[n-1].GetIndex()
	}
	m.applied.Store(index)
	if item == m.install {
		m.install = nil
	}
	for _, r := range item.done {
		_ = m.node.Step(r)
	}
	m.reads.applied(index)
	m.changes.applied(index)
}

// Fail ends the member: disk or applier are broken. What waits is told at once.
func (m *Member) Fail(err error) {
	if m.err != nil {
		return
	}
	m.end(err, ErrStopped.WithCause(err))
}

// Stop ends the member; what waits is told ErrStopped.
func (m *Member) Stop() {
	if m.err == nil {
		m.end(ErrStopped, ErrStopped)
	}
}

func (m *Member) end(err, told error) {
	m.err = err
	s := *m.status.Load()
	s.Err, s.Leader, s.Role = err, 0, Follower
	m.status.Store(&s)
	m.pending.end(told)
	m.reads.end(told)
	m.changes.end(told)
	m.out, m.merging = nil, nil
}

// Propose takes a command in. An error refuses it (Done is not called): too large, too many waiting, ended.
func (m *Member) Propose(_ time.Time, p *Proposal) error {
	wake, err := m.pending.push(p)
	if wake && m.cfg.Wake != nil {
		m.cfg.Wake()
	}
	return err
}

// Cancel takes a proposal back. pending is false if Done has been called or is being called; otherwise it will not be,
// and sent says whether the command may have been applied or may yet be.
func (m *Member) Cancel(p *Proposal) (pending, sent bool) { return m.pending.cancel(p) }

// Read takes a linearizable read in. An error refuses it (Done is not called).
func (m *Member) Read(_ time.Time, r *Read) error {
	if mutantStaleRead {
		r.Done(nil)
		return nil
	}
	wake, err := m.reads.push(r)
	if wake && m.cfg.Wake != nil {
		m.cfg.Wake()
	}
	return err
}

// CancelRead takes a read back; false if Done has been called or is being called. A read that was taken back must not
// be used again.
func (m *Member) CancelRead(r *Read) (pending bool) { return m.reads.cancel(r) }

// Fresh reports whether local state was confirmed to be current at most maxAge ago. If not, Read makes it so.
func (m *Member) Fresh(now time.Time, maxAge time.Duration) bool {
	return mutantStaleRead || m.reads.isFresh(m.clock(now), maxAge)
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

// Unreachable tells that a message to a peer was dropped.
func (m *Member) Unreachable(_ time.Time, peer uint64) {
	if m.err != nil {
		return
	}
	defer m.guard()
	m.node.ReportUnreachable(peer)
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
	m.snapshotting = false
	m.snapshotAfter = now.Add(10 * m.cfg.ElectionTimeout)
	if m.cfg.Logger != nil {
		m.cfg.Logger.Error("no snapshot could be taken: the log grows until one can", "group", m.cfg.Group, "error", err)
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
