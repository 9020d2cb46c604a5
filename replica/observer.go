package replica

import "time"

// Observer is told what happens in the groups of a host, for metrics and traces. Its methods are called on the paths that
// they tell of, from several goroutines: they must be quick and must not call the Host or Group.
type Observer interface {
	// Proposed is told of each Propose when it ends.
	Proposed(group string, took time.Duration, err error)
	// Read is told of each Read when its wait has ended, before its function runs.
	Read(group string, level Level, took time.Duration, err error)
	// Led is told when another member leads, or none ("").
	Led(group string, leader string, term uint64)
	// Synced is told of each write to the log: how many bytes for how many groups, and how long it took.
	Synced(bytes, groups int, took time.Duration)
	// Snapshotted is told of a snapshot that was taken, sent to or received from (peer != "") another.
	Snapshotted(group string, peer string, bytes int64, took time.Duration, err error)
}
