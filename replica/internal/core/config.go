package core

import (
	"log/slog"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Mark names a place in the log.
type Mark struct {
	Index, Term uint64
}

// MemberInfo is one line of the table of members, which is part of the replicated state.
type MemberInfo struct {
	// ID is the member's incarnation: random, never used again, not 0.
	ID uint64
	// Name is stable over the loss of a disk. Addr may be empty or out of date.
	Name, Addr string
	// Learner: receives the log and has no vote. Set by the table itself.
	Learner bool
}

// Restored is what a disk knew of this group.
type Restored struct {
	HardState *raftpb.HardState
	Entries   []*raftpb.Entry // after the applier's restored snapshot; older ones are ignored
}

// Config says how a member behaves. Zero values are the defaults given; ID is required.
type Config struct {
	// ID of this member; Group names the group in messages.
	ID, Group uint64
	// Seed of the randomness: election timeouts, nonces of sessions. Two starts of a member need different ones.
	Seed uint64

	// ElectionTimeout is how long a follower hears nothing before it stands; drawn between this and twice this.
	// Default 1 s. HeartbeatEvery is how often a leader is heard, a tenth of it by default.
	ElectionTimeout, HeartbeatEvery time.Duration
	// RetryAfter is when a batch or ReadIndex of which nothing was heard is sent again, doubling up to eight times
	// that. Default ElectionTimeout.
	RetryAfter time.Duration

	// MaxCommand bounds one command and its key together, in bytes: 1 MiB.
	MaxCommand int
	// MaxPending and MaxPendingBytes bound what waits to be applied, MaxReads the reads that wait: 16384, 64 MiB, 65536.
	MaxPending, MaxPendingBytes, MaxReads int
	// MaxBatchBytes bounds one batch (it holds at least one command): 1 MiB. MaxInflight bounds batches under way: 4.
	MaxBatchBytes, MaxInflight int

	// SnapshotBytes and SnapshotEntries say after how much log a snapshot is asked for: 32 MiB, 100 000 entries.
	// KeepEntries stay in memory behind a snapshot for followers that are a little late: 5 000, at most SnapshotBytes/4.
	SnapshotBytes, SnapshotEntries, KeepEntries int

	// KeyRetention and MaxKeys bound the Once keys that are remembered: 24 h and 100 000. The leader's count.
	KeyRetention time.Duration
	MaxKeys      int

	// Voters is how many voters the group should have: 3. ReplaceAfter is for how long a voter has not been heard when
	// a learner takes its place: 5 min; negative: never.
	Voters       int
	ReplaceAfter time.Duration

	// Wake is called when Propose or Read found nothing waiting before: the loop should call Ready soon. It must not
	// block or call back. Nil: nobody is told.
	Wake func()
	// Logger hears of elections and changes of members. Nil: nothing is logged.
	Logger *slog.Logger
}
