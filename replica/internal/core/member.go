package core

import (
	"time"
)

// Member is one member of one group. See the package comment for who may call what.
type Member struct{ cfg Config }

// New starts a member from what its disk knew; a holds the snapshot, restored. An error says that the two do not fit
// together or that cfg is wrong.
func New(cfg Config, a *Applier, r Restored, now time.Time) (*Member, error) {
	return &Member{cfg: cfg}, nil
}

// Tick tells the time. Call it when NextTick has passed and at least every HeartbeatEvery.
func (m *Member) Tick(now time.Time) {}

// NextTick returns when Tick has something to do next.
func (m *Member) NextTick() time.Time { return time.Time{} }

// Receive takes a message of another member. One that it cannot use is ignored.
func (m *Member) Receive(now time.Time, msg Message) {}

// Ready returns what to do. Call it after any other call, or once after several.
func (m *Member) Ready(now time.Time) Work { return Work{} }

// Persisted tells that an Append is durable (or written, if it need not be). In the order of Ready.
func (m *Member) Persisted(now time.Time, a *Append) {}

// Applied tells that the Applier has done an item. In the order of Ready.
func (m *Member) Applied(now time.Time, item *Apply) {}

// Fail ends the member: disk or applier are broken. What waits is told at once.
func (m *Member) Fail(err error) {}

// Stop ends the member; what waits is told ErrStopped.
func (m *Member) Stop() {}

// Propose takes a command in. An error refuses it (Done is not called): too large, too many waiting, ended.
func (m *Member) Propose(now time.Time, p *Proposal) error { return nil }

// Cancel takes a proposal back. pending is false if Done has been called or is being called; otherwise it will not be,
// and sent says whether the command may have been applied or may yet be.
func (m *Member) Cancel(p *Proposal) (pending, sent bool) { return false, false }

// Read takes a linearizable read in. An error refuses it (Done is not called).
func (m *Member) Read(now time.Time, r *Read) error { return nil }

// CancelRead takes a read back; false if Done has been called or is being called.
func (m *Member) CancelRead(r *Read) (pending bool) { return false }

// Fresh reports whether local state was confirmed to be current at most maxAge ago. If not, Read makes it so.
func (m *Member) Fresh(now time.Time, maxAge time.Duration) bool { return false }

// PeerDown tells that the process of a peer is gone: its connection was reset or refused, not merely silent.
func (m *Member) PeerDown(now time.Time, peer uint64) {}

// Unreachable tells that a message to a peer was dropped.
func (m *Member) Unreachable(now time.Time, peer uint64) {}

// SnapshotSent tells how the transfer of a Message with Snapshot ended.
func (m *Member) SnapshotSent(now time.Time, peer uint64, ok bool) {}

// SnapshotSaved tells that the capture that Work.Snapshot asked for is durable and how many bytes it has.
func (m *Member) SnapshotSaved(now time.Time, c *Capture) {}

// SnapshotFailed tells that it could not be taken or written; it is asked for again later.
func (m *Member) SnapshotFailed(now time.Time, err error) {}

// Transfer hands leadership over, to the most up-to-date voter if to is 0. It does nothing if this member does not
// lead; see Status for how it went.
func (m *Member) Transfer(now time.Time, to uint64) {}

// Join asks the leader to take a member in, as a learner at first; it is promoted when it has caught up and a vote is
// free: one of a member with the same name (a lost disk), one below Config.Voters, or one of a voter that is dead. done
// gets nil once the member is in the table. On another member than the leader, done gets ErrNotLeader.
func (m *Member) Join(now time.Time, info MemberInfo, done func(error)) {}

// Remove takes a member out of the group. As Join.
func (m *Member) Remove(now time.Time, id uint64, done func(error)) {}

// Status returns how the member stands; it is as of the last Ready.
func (m *Member) Status() Status { return Status{} }
