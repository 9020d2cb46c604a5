package core

import (
	"errors"
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
	// ID of this member. Group is named in errors.
	ID, Group uint64
	// Seed of the randomness: election timeouts, nonces of sessions. Two starts of a member need different ones.
	Seed uint64

	// ElectionTimeout is how long a follower hears nothing before it stands; drawn between this and twice this.
	// Default 1 s. HeartbeatEvery is how often a leader is heard, a tenth of it by default.
	ElectionTimeout, HeartbeatEvery time.Duration
	// RetryAfter is when a batch of which nothing was heard is sent again, doubling up to eight times that. A ReadIndex
	// is after two heartbeats. Default half of ElectionTimeout.
	RetryAfter time.Duration

	// MaxCommand bounds one command and its key together, in bytes: 1 MiB.
	MaxCommand int
	// MaxPending and MaxPendingBytes bound what waits to be applied, MaxReads the reads that wait: 16384, 64 MiB, 65536.
	MaxPending, MaxPendingBytes, MaxReads int
	// MaxBatchBytes bounds one batch (it holds at least one command): 1 MiB. MaxInflight bounds batches under way: 4.
	MaxBatchBytes, MaxInflight int

	// SnapshotBytes and SnapshotEntries say after how much log a snapshot is asked for: 32 MiB, 50 000 entries. Up to
	// eight times that if the last snapshot was that many times SnapshotBytes.
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

func (c Config) withDefaults() (Config, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	dur(&c.ElectionTimeout, time.Second)
	dur(&c.HeartbeatEvery, c.ElectionTimeout/10)
	dur(&c.RetryAfter, c.ElectionTimeout/2)
	dur(&c.KeyRetention, 24*time.Hour)
	dur(&c.ReplaceAfter, 5*time.Minute)
	def(&c.MaxCommand, 1<<20)
	def(&c.MaxPending, 16384)
	def(&c.MaxPendingBytes, 64<<20)
	def(&c.MaxReads, 65536)
	def(&c.MaxBatchBytes, 1<<20)
	def(&c.MaxInflight, 4)
	def(&c.SnapshotBytes, 32<<20)
	def(&c.SnapshotEntries, 50_000)
	def(&c.KeepEntries, 5000)
	def(&c.MaxKeys, 100_000)
	def(&c.Voters, 3)
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(c.ID != 0, "ID is missing")
	need(c.HeartbeatEvery > 0 && c.ElectionTimeout >= 3*c.HeartbeatEvery, "ElectionTimeout has to be at least three times HeartbeatEvery")
	need(c.RetryAfter > 0 && c.KeyRetention > 0, "RetryAfter and KeyRetention have to be positive")
	need(c.MaxCommand > 0 && c.MaxCommand <= 64<<20, "MaxCommand has to be between 1 B and 64 MiB")
	need(c.MaxPending > 0 && c.MaxPending <= maxWindow/2, "MaxPending has to be between 1 and 32768")
	need(c.MaxPendingBytes >= c.MaxCommand, "MaxPendingBytes is less than MaxCommand")
	need(c.MaxReads > 0 && c.MaxBatchBytes > 0 && c.MaxInflight > 0 && c.MaxInflight <= 16, "MaxReads, MaxBatchBytes and MaxInflight (at most 16) have to be positive")
	need(c.SnapshotBytes > 0 && c.SnapshotEntries > 0 && c.KeepEntries >= 0 && c.MaxKeys > 0 && c.Voters > 0, "the limits of log, keys and voters have to be positive")
	return c, errors.Join(errs...)
}

func (c *Config) electionTicks() int { return int(c.ElectionTimeout / c.HeartbeatEvery) }
