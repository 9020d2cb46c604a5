package core

import (
	"fmt"
	"math/rand/v2"
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

	times       logClock
	startIndex  uint64 // entries behind it have come in since New
	disk        stall
	distance    distance
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
	underway    int // entries of commands that this leader has proposed and not yet seen committed
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
	saving  *Append  // the newest HardState, on its way to the disk; nil: it is there
	holdFor *Append  // nothing is applied before this is durable; nil: nothing is held
	held    []*Apply
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
	m.startIndex, _ = m.log.LastIndex()
	m.node, err = raft.NewRawNode(&raft.Config{
		ID: cfg.ID, ElectionTick: cfg.electionTicks(), HeartbeatTick: 1, Storage: m.log, Applied: a.mark.Index,
		AsyncStorageWrites: true, MaxSizePerMsg: maxEntryBytes, MaxCommittedSizePerReady: 4 * maxEntryBytes,
		MaxUncommittedEntriesSize: uint64(cfg.MaxPendingBytes), MaxInflightMsgs: 256, MaxInflightBytes: maxInflight,
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

// maxInflight is how much a leader sends of its log to one member before that has answered. To one that has just been sent
// a snapshot, all of it goes at once, and nobody else is served meanwhile.
const maxInflight = 4 << 20

// clock is the member's own clock: ns since a moment before it began.
func (m *Member) clock(now time.Time) int64 { return int64(now.Sub(m.start)) }

// guard turns a panic of raft, which means that its state is broken, into the end of this member.
func (m *Member) guard() {
	if p := recover(); p != nil {
		m.Fail(fmt.Errorf("raft, in group %x: %v", m.cfg.Group, p))
	}
}

// Receive takes a message of another member. One that it cannot use is ignored.
func (m *Member) Receive(now time.Time, msg Message) {
	if m.err != nil || msg.To != m.cfg.ID || msg.From == m.cfg.ID || msg.From == 0 {
		return
	}
	defer m.guard()
	if _, known := m.heard[msg.From]; known || inConf(m.conf, msg.From) || len(m.heard) < maxMembers {
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
		if msg.Raft.GetType() == raftpb.MsgTimeoutNow && m.disk.lasts {
			return // it could not even vote for itself
		}
		if t := msg.Raft.GetType(); t == raftpb.MsgPreVote && msg.From == m.lead && msg.Raft.GetTerm() > m.term {
			m.PeerDown(now, msg.From) // no leader asks for votes: its process is another one
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
	if m.mute(now) {
		for _, msg := range m.outbox {
			if msg.Snapshot != nil { // or raft waits for its end, and sends that member nothing else
				m.SnapshotSent(now, msg.To, false)
			}
		}
		clear(m.outbox)
		m.outbox = m.outbox[:0]
	}
	w.Send, m.outbox = m.outbox, free
	m.disk.given(now, len(w.Append))
	if m.err != nil {
		return Work{Err: m.err}
	}
	return *w
}

func (m *Member) ready(now time.Time) {
	defer m.guard()
	w := &m.work
	m.reads.clean()
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
		m.readConfirmed(now, rs.RequestCtx, rs.Index)
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

// handOver makes an Apply of committed entries. Changes of members count from here on.
func (m *Member) handOver(now time.Time, msg *raftpb.Message) {
	item := &Apply{Entries: msg.GetEntries(), done: msg.GetResponses()}
	for _, e := range item.Entries {
		m.logBytes += len(e.GetData()) + 32
		m.logEntries++
		m.counts.Entries++
		if m.underway > 0 && e.GetTerm() == m.term && e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
			m.underway--
		}
		if e.GetType() == raftpb.EntryConfChangeV2 {
			item.confs = append(item.confs, m.changeConf(now, e))
		}
	}
	if n := len(item.Entries); n > 0 {
		m.handed = item.Entries[n-1].GetIndex()
	}
	if len(item.confs) > 0 {
		m.holdApply()
	}
	if m.holdFor != nil {
		m.held = append(m.held, item)
		return
	}
	m.work.Apply = append(m.work.Apply, item)
}

// Persisted tells that an Append is durable, or was its turn if there was nothing to write. In the order of Ready.
func (m *Member) Persisted(now time.Time, a *Append) {
	if m.err != nil {
		return
	}
	defer m.guard()
	m.disk.written(now)
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
	if a == m.saving {
		m.saving = nil
	}
	if a == m.holdFor {
		m.holdFor = nil
		m.apply = append(m.apply, m.held...)
		clear(m.held)
		m.held = m.held[:0]
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
		m.observe(now, item.Entries[n-1])
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

// observe takes the time of an entry that was not here before this member began.
func (m *Member) observe(now time.Time, e *raftpb.Entry) {
	if e.GetIndex() <= m.startIndex {
		return
	}
	if h, ok := headerOf(e); ok {
		m.times.observe(h.time, now)
	}
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

// Unreachable tells that a message to a peer was dropped.
func (m *Member) Unreachable(_ time.Time, peer uint64) {
	if m.err != nil {
		return
	}
	defer m.guard()
	m.node.ReportUnreachable(peer)
}
