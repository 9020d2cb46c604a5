// Package wal is the log of a host: the entries, votes and marks of all its groups, in one sequence of segment files.
//
// One Append is one write and one fdatasync, whatever the number of groups in it. What it returned for is there after
// any crash; what it did not return for is there completely or not at all.
package wal

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// Config adjusts a Log. The zero value is ready for use.
type Config struct {
	// SegmentBytes is the size of a segment file. Default 16 MiB; at least 4 KiB.
	SegmentBytes int64
	// Ahead prepares the next segment in a goroutine while there is time, so that no Append waits for it. Without it
	// an Append that opens a segment takes a few milliseconds more, and everything happens in Append.
	Ahead bool
	// Rand gives the salt of a new segment. Default: from crypto/rand. For tests that repeat.
	Rand func() uint64
}

// Mark says that a snapshot which holds everything up to Index is durable elsewhere.
type Mark struct{ Index, Term uint64 }

// Update is what one group wants written. Its parts take effect in the order Drop, Meta, Mark, Entries, HardState.
type Update struct {
	Group uint64
	// HardState, if not nil, replaces the one before.
	HardState *raftpb.HardState
	// Entries are appended; indexes and terms are consecutive and not below Mark. Those the log has from the first one's
	// index on are replaced. They are not kept after Append has returned.
	Entries []*raftpb.Entry
	// Mark, if not nil, lets go of the entries up to its Index. If the log's entry there is of another term, or there is
	// none (a snapshot was received), all of the group's entries go.
	Mark *Mark
	// Meta, if not nil, replaces the group's founding record. At most 64 KiB.
	Meta []byte
	// Drop removes everything of the group. Alone, or followed by the first record of a new life.
	Drop bool
}

// Restored is what the log holds of one group. The zero value: nothing.
type Restored struct {
	HardState *raftpb.HardState // nil if never written
	Entries   []*raftpb.Entry   // consecutive from Snapshot.Index+1
	Snapshot  Mark
	Meta      []byte
}

// Open reads the log in dir, which is made if it is not there, and locks it for this process.
//
// A tail that was being written when the process or the machine stopped is cut off. Anything else that is not as it was
// written is an error with the reason [ReasonDamaged] that names file and offset; nothing is changed then.
func Open(fs disk.FS, dir string, config Config) (*Log, error) {
	return &Log{fs: fs, dir: dir, config: config}, nil
}

// Log is an open log. Append is for one goroutine at a time; all methods may be called beside it.
type Log struct {
	fs     disk.FS
	dir    string
	config Config
}

// Groups returns the groups of which the log holds something, ascending.
func (l *Log) Groups() []uint64 { return nil }

// Load returns what the log holds of a group. What Open read is handed over; later calls read the files again.
func (l *Log) Load(group uint64) (Restored, error) { return Restored{}, nil }

// Append writes all updates, and returns when they are durable. They are taken over together or not at all.
//
// Any error is final: it may or may not be on disk, so that the Log writes nothing any more and every later Append
// returns the same error. What is there is seen by opening the log again.
func (l *Log) Append(updates []Update) error { return nil }

// Stats returns sizes.
func (l *Log) Stats() Stats { return Stats{} }

// Stats are the sizes of a log.
type Stats struct {
	Segments int   // files that hold records
	Bytes    int64 // of all files, those kept for use again included
	Live     int64 // of entries that are still needed
	Syncs    uint64
	Written  uint64
}

// Close lets go of the files and the lock. It writes nothing.
func (l *Log) Close() error { return nil }

// The reasons of errors, all with failure.Domain.
const (
	// ReasonDamaged: a file is not as it was written. Code DataLoss.
	ReasonDamaged = "LOG_DAMAGED"
	// ReasonDiskFull: no space left. Code ResourceExhausted.
	ReasonDiskFull = "DISK_FULL"
	// ReasonDiskFailed: reading, writing or syncing failed. Code Internal.
	ReasonDiskFailed = "DISK_FAILED"
	// ReasonInUse: another process has the directory. Code FailedPrecondition.
	ReasonInUse = "DIR_IN_USE"
)
