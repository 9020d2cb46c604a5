package replica

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/transport"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// member is a member of a group that takes part: the shell around a core.Member.
//
// There is no goroutine for the Member itself. Whoever has something for it puts that into the inbox, and if nobody is at
// work there, works through the inbox himself: what comes meanwhile is done by the same, together. So a message needs no
// change of goroutine when there is little to do, and is handled in batches when there is much.
type member struct {
	group   *Group
	id      uint64
	cluster uint64
	core    *core.Member
	applier *core.Applier
	ctx     context.Context //nolint:containedctx // of the goroutines that a member starts: snapshots on their way
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu      sync.Mutex
	inbox   []input
	busy    bool
	ended   bool
	woken   atomic.Bool
	timer   *time.Timer
	armed   time.Time // when the timer fires; zero: it has
	leading uint64    // the leader as others were told

	jobs *jobs

	filled atomic.Bool // the machine has a state of the group's, if an old one
	broken atomic.Bool // the machine has stopped halfway: nobody may look at it any more
	over   atomic.Bool // the member has ended; its group knows with what

	names   sync.Map     // member ID → host name, of those that were heard and are not in the table
	known   atomic.Int64 // how many names
	sending sync.Map     // member ID → whether a snapshot is on its way
	stats   stats
}

type stats struct {
	snapshots, sent    atomic.Uint64
	index, bytes, time atomic.Int64
}

type inputKind uint8

const (
	received inputKind = iota
	persisted
	applied
	unreachable
	call
	tick
)

// input is something for a Member.
type input struct {
	kind    inputKind
	message core.Message
	append  *core.Append
	apply   *core.Apply
	peer    uint64
	call    func(now time.Time)
}

// maxNames bounds what is remembered of members that are not in the table.
const maxNames = 4096

// maxInbox bounds what waits of other hosts.
const maxInbox = 16384

// adapter is a Machine as core knows it.
type adapter struct{ Machine }

// Apply implements core.Machine.
func (a adapter) Apply(e core.Entry) ([]byte, error) { return a.Machine.Apply(Entry(e)) }

// Snapshot implements core.Machine.
func (a adapter) Snapshot() (core.MachineSnapshot, error) { return a.Machine.Snapshot() }

// newMember starts a member on what the log and the snapshots have of it.
func newMember(ctx context.Context, g *Group, id, cluster uint64, voters int, kept wal.Restored) (*member, error) {
	m := &member{group: g, id: id, cluster: cluster, applier: core.NewApplier(id, adapter{g.machine}), jobs: newJobs()}
	if kept.Snapshot.Index > 0 {
		if err := m.restore(core.Mark(kept.Snapshot)); err != nil {
			return nil, err
		}
		m.filled.Store(true)
	}
	cfg := g.host.cfg
	var err error
	m.core, err = core.New(core.Config{ // GroupConfig.Validate has its bounds: what goes wrong here is the log
		ID: id, Group: g.id, Seed: newID(),
		ElectionTimeout: cfg.Election, MaxCommand: g.cfg.MaxCommand,
		MaxPending: g.cfg.MaxPending, MaxPendingBytes: int(g.cfg.MaxPendingBytes),
		SnapshotBytes: int(g.cfg.SnapshotBytes), SnapshotEntries: g.cfg.SnapshotEntries,
		KeyRetention: g.cfg.KeyRetention, MaxKeys: g.cfg.Keys,
		Voters: voters, ReplaceAfter: cfg.ReplaceAfter,
		Wake:   func() { m.woken.Store(true) },
		Logger: g.log,
	}, m.applier, core.Restored{HardState: kept.HardState, Entries: kept.Entries}, time.Now())
	if err != nil {
		return nil, failure.Wrap(err, failure.DataLoss, "the log in %s cannot be gone on with", cfg.Dir)
	}
	m.ctx, m.cancel = context.WithCancel(ctx)
	m.timer = time.AfterFunc(time.Hour, func() { m.input(input{kind: tick}) })
	return m, nil
}

// run applies until the member is stopped.
func (m *member) run() {
	m.input(input{kind: tick})
	for {
		j, ok := m.jobs.next()
		if !ok {
			break
		}
		m.do(j)
	}
	m.mu.Lock()
	m.cancel() // nothing is started after this
	m.mu.Unlock()
	m.work.Wait()
}

// start runs what, unless the member has ended.
func (m *member) start(what func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() == nil {
		m.work.Go(what)
	}
}

// stop ends the member; run returns then. It may be called at any time, and again.
func (m *member) stop() {
	m.input(input{kind: call, call: func(time.Time) { m.core.Stop() }})
}

// input hands in to the Member.
func (m *member) input(in input) {
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		if in.kind == call {
			in.call(time.Now()) // answers that the member has ended
		}
		return
	}
	if in.kind == received && len(m.inbox) >= maxInbox {
		m.mu.Unlock()
		return // as if it had been lost on the way
	}
	m.inbox = append(m.inbox, in)
	m.turn()
}

// kick has the Member look at what was proposed or is to be read.
func (m *member) kick() {
	if m.woken.Load() {
		m.mu.Lock()
		m.turn()
	}
}

// turn works through the inbox unless somebody does already. m.mu is held, and released.
func (m *member) turn() {
	if m.busy || m.ended {
		m.mu.Unlock()
		return
	}
	m.busy = true
	var batch []input
	for {
		batch, m.inbox = m.inbox, batch[:0]
		woken := m.woken.Swap(false)
		if len(batch) == 0 && !woken {
			m.busy = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		ended := m.round(batch)
		clear(batch)
		m.mu.Lock()
		if ended {
			m.ended = true
			rest := m.inbox
			m.inbox = nil
			m.mu.Unlock()
			for _, in := range rest {
				if in.kind == call {
					in.call(time.Now())
				}
			}
			return
		}
	}
}

// round gives inputs to the Member and does what it says. true: it has ended.
func (m *member) round(batch []input) bool {
	now := time.Now()
	for i := range batch {
		switch in := &batch[i]; in.kind {
		case received:
			m.core.Receive(now, in.message)
		case persisted:
			m.core.Persisted(now, in.append)
		case applied:
			m.core.Applied(now, in.apply)
		case unreachable:
			m.core.Unreachable(now, in.peer)
		case call:
			in.call(now)
		case tick:
			m.armed = time.Time{}
			m.core.Tick(now)
		}
	}
	w := m.core.Ready(now)
	if w.Err != nil {
		m.end(w.Err)
		return true
	}
	m.send(w.Send)
	for _, a := range w.Append {
		m.group.host.writer.push(write{member: m, append: a})
	}
	for _, a := range w.Apply {
		m.jobs.push(job{apply: a})
	}
	if w.Snapshot {
		m.jobs.push(job{snapshot: true})
	}
	if next := m.core.NextTick(); m.armed.IsZero() || next.Before(m.armed) {
		m.armed = next
		m.timer.Reset(next.Sub(now))
	}
	m.announce()
	return false
}

// end is called once, when the Member has ended.
func (m *member) end(err error) {
	m.timer.Stop()
	m.cancel()
	tell := func() {}
	if !errors.Is(err, core.ErrStopped) {
		tell = m.group.fault(err)
	}
	m.jobs.close() // with which the group may be done: it knows why
	tell()
	m.over.Store(true)
	m.group.changed()
}

// readable reports whether the machine may be looked at.
func (m *member) readable() bool { return m.filled.Load() && !m.broken.Load() && !m.over.Load() }

// announce tells others when the leader has changed.
func (m *member) announce() {
	s := m.core.Status()
	if s.Leader == m.leading {
		return
	}
	m.leading = s.Leader
	name := m.name(s.Leader)
	if name == "" {
		m.group.log.Info("the group has no leader", "term", s.Term)
	} else {
		m.group.log.Info("the group has a new leader", "leader", name, "term", s.Term)
	}
	if o := m.group.host.cfg.Observer; o != nil {
		o.Led(m.group.name, name, s.Term)
	}
	m.group.changed()
}

// send gives messages to the transport. It may be called by any goroutine.
func (m *member) send(messages []core.Message) {
	for i := range messages {
		msg := &messages[i]
		if msg.Snapshot != nil {
			m.sendSnapshot(*msg)
			continue
		}
		a := transport.Address{Group: m.group.id, Cluster: m.cluster, From: m.id, To: msg.To}
		if !m.group.host.net.Send(m.name(msg.To), a, msg) && msg.Raft != nil && len(msg.Raft.GetEntries()) > 0 {
			m.input(input{kind: unreachable, peer: msg.To})
		}
	}
}

// name returns the name of the host that a member is on, "" if it is not known.
func (m *member) name(id uint64) string {
	if id == m.id {
		return m.group.host.cfg.Name
	}
	for _, i := range m.applier.Members() {
		if i.ID == id {
			return i.Name
		}
	}
	if n, ok := m.names.Load(id); ok {
		return n.(string)
	}
	return ""
}

// heard takes a message of a host.
func (m *member) heard(from string, a transport.Address, body []byte) {
	if a.Cluster != m.cluster || a.To != m.id {
		return // of another past, or for one; the hosts tell each other by asking
	}
	msg, err := core.ParseMessage(body)
	if err == nil && msg.Snapshot != nil {
		err = errNoSnapshot // the log would stand on a file that nobody has sent
	}
	if err != nil || msg.From != a.From || msg.To != a.To {
		m.group.log.Warn("a message of another member cannot be read", "from", from, "error", err)
		return
	}
	m.hear(from, msg)
}

func (m *member) hear(from string, msg core.Message) {
	if m.name(msg.From) != from && m.known.Add(1) < maxNames {
		m.names.Store(msg.From, from)
	}
	m.input(input{kind: received, message: msg})
}

// down tells the Member that the process of a host is gone.
func (m *member) down(host string) {
	for _, i := range m.applier.Members() {
		if i.Name == host {
			m.input(input{kind: call, call: func(now time.Time) { m.core.PeerDown(now, i.ID) }})
		}
	}
}

// do does a job of the applier.
func (m *member) do(j job) {
	var err error
	switch {
	case j.snapshot:
		m.snapshot()
		return
	case j.apply.Restore != nil:
		began := time.Now()
		if err = m.restore(*j.apply.Restore); err == nil {
			m.group.log.Info("snapshot restored", "index", j.apply.Restore.Index, "took", time.Since(began))
		}
	default:
		err = m.applier.Apply(j.apply)
	}
	if err != nil {
		m.broken.Store(true)
		m.input(input{kind: call, call: func(time.Time) { m.core.Fail(err) }})
		return
	}
	if !m.filled.Swap(true) {
		m.group.changed()
	}
	m.input(input{kind: applied, apply: j.apply})
}
