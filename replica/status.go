package replica

import "time"

// Role is what a member of a group is doing.
type Role string

// The roles of a member.
const (
	Starting  Role = "starting"  // not run yet
	Founding  Role = "founding"  // waits for the other founders; Why says for whom
	Joining   Role = "joining"   // waits to be added by a group that exists
	Following Role = "following" // votes
	Learning  Role = "learning"  // does not vote: a spare, or not caught up yet
	Leading   Role = "leading"
	Stopped   Role = "stopped"
	Failed    Role = "failed" // Why says with what: for good, but for data of another group while all others have that
)

// Status is what a member knows of its group, for people and metrics.
type Status struct {
	Group   string
	Name    string // this host's
	ID      uint64 // this host's incarnation: another disk, another ID
	Cluster uint64 // 0: not founded yet
	Role    Role
	Why     string // what is waited for, or has failed

	Leader                   string // "": none is known
	Term                     uint64
	Commit, Applied          uint64 // indexes of the log: what a majority has, and what this machine has applied
	Pending, Reads           int    // commands and reads that wait here
	LogBytes                 int64  // the files of the host's log, of all groups together
	Elections                uint64 // that this member stood for, since the start
	Entries                  uint64 // of the log that were committed, since the start
	Resent                   uint64 // batches of commands that were sent to a leader again, since the start
	SnapshotIndex            uint64 // of the last snapshot
	SnapshotBytes            int64
	SnapshotTime             time.Time // zero: none since the start
	Snapshots, SnapshotsSent uint64    // since the start
	Members                  []Member  // sorted by name
}

// Member is one of a group. Match, Lag and Seen are known to the leader only.
type Member struct {
	Name    string
	ID      uint64
	Addr    string // "": not known
	Learner bool
	Match   uint64        // the last entry that it is known to have
	Lag     uint64        // entries behind the leader
	Seen    time.Duration // since it last answered
	Up      bool          // there is a connection
}
