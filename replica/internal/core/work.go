package core

import (
	"go.etcd.io/raft/v3/raftpb"
)

// Work is what a shell has to do next. The slices belong to the Member and are valid until its next Ready; what they
// point at (Append, Apply, the messages) is never changed again.
type Work struct {
	// Send may go at once, in any order, and may be lost.
	Send []Message
	// Append goes to the disk, in the order given, and comes back through Persisted in that order.
	Append []*Append
	// Apply goes to the Applier, in the order given, and comes back through Applied in that order.
	Apply []*Apply
	// Snapshot asks for Applier.Snapshot (after what was given to the applier so far, or later), to be written to a
	// durable file and reported by SnapshotSaved or SnapshotFailed. It is not asked again before that.
	Snapshot bool
	// Err, once set, is why this member has ended; there is no other work.
	Err error
}

// Append is one write to the log of this group.
type Append struct {
	// HardState and Entries as in raft; nil and empty where there is nothing. Entries at or after the first one's index
	// that the log has already are replaced.
	HardState *raftpb.HardState
	Entries   []*raftpb.Entry
	// Installed: the log now begins behind this snapshot, whose file is durable already; all entries that the log has
	// are void, whatever their index.
	Installed *Mark
	// Compact: a snapshot of this member is durable; entries up to it may go.
	Compact *Mark
	// Sync says that there is something to write, which must be durable before Send and Persisted. Otherwise there is
	// nothing: it only waits for those before it.
	Sync bool
	// Send goes to the network once the write is durable, never before. Whoever made it durable may send it itself,
	// without waiting for the loop.
	Send []Message

	local []*raftpb.Message // for Persisted
	reset *raftpb.Snapshot
}

// Apply is one piece of work for the Applier.
type Apply struct {
	// Restore asks for the snapshot file of this mark: the shell opens it and calls Applier.Restore. Otherwise the
	// item is for Applier.Apply.
	Restore *Mark
	// Entries are committed, in order.
	Entries []*raftpb.Entry

	confs []*raftpb.ConfState // one for each change of members among the entries
	done  []*raftpb.Message
}
