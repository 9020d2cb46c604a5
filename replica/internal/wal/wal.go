// Package wal is the log of a host: the entries, votes and marks of all its groups, in one sequence of segment files.
//
// One Append is one write and one fdatasync, whatever the number of groups in it. What it returned for is there after
// any crash; what it did not return for is there completely or not at all. DESIGN.md has the format and why it is so.
package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// Config adjusts a Log. The zero value is ready for use.
type Config struct {
	// SegmentBytes is the size of a segment file. Default 16 MiB; at least 4 KiB.
	SegmentBytes int64
	// Ahead writes the next segment's file in a goroutine while there is time, so that no Append waits for it and every
	// sync is of blocks that were written before, which is quicker; and it removes there the files of segments that nobody
	// needs. Without it everything happens in Append.
	Ahead bool
	// Rand gives the salt of a new segment. Default: from crypto/rand. For tests that repeat.
	Rand func() uint64
}

const (
	defaultSegmentBytes = 16 << 20
	minSegmentBytes     = 4 << 10
	// spareFiles is how many files of dropped segments are kept for use again.
	spareFiles = 2
	// maxMeta bounds a founding record, since every segment repeats it.
	maxMeta = 64 << 10
)

func (c Config) withDefaults() Config {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	c.SegmentBytes = align(max(c.SegmentBytes, minSegmentBytes))
	if c.Rand == nil {
		c.Rand = func() uint64 {
			var b [8]byte
			rand.Read(b[:])
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	return c
}

// Mark says that a snapshot which holds everything up to Index is durable elsewhere.
type Mark struct{ Index, Term uint64 }

// Update is what one group wants written. Its parts take effect in the order Drop, Meta, Mark, Entries, HardState.
type Update struct {
	Group uint64
	// HardState, if not nil, replaces the one before.
	HardState *raftpb.HardState
	// Entries are appended; their indexes are consecutive, and the first one leaves no gap to what is there. Those the
	// log has from its index on are replaced. They are not kept after Append has returned.
	Entries []*raftpb.Entry
	// Mark, if not nil, lets go of the entries up to its Index. One below the mark before is ignored.
	Mark *Mark
	// Installed says that Mark is of a received snapshot: all entries are void, whatever their index. The same goes, said
	// or not, when the log's own entry at Mark.Index is of another term or missing.
	Installed bool
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

// Log is an open log. One goroutine at a time may Append; all other methods may be called beside it.
type Log struct {
	fs     disk.FS
	dir    string
	config Config
	lock   io.Closer
	ahead  *ahead // nil without Config.Ahead

	mu       sync.Mutex
	err      error // what every Append returns from now on
	closed   bool
	groups   map[uint64]*group
	segments []*segment // the oldest first; the last one is written to
	gone     []*segment // those before the oldest, whose files are still there; the oldest first
	head     disk.File  // the file of the last segment
	spares   []string   // files for use again
	next     uint64     // number of the next segment or spare file
	seq      uint64     // of the last frame
	chain    uint32     // checksum of the last frame's header
	live     int64      // bytes of entries that are needed
	move     mover
	buf      []byte
	syncs    uint64
	written  uint64

	stats atomic.Pointer[Stats] // as of the last Append: whoever asks does not wait for the disk
}

// Groups returns the groups of which the log holds something, ascending.
func (l *Log) Groups() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.groups))
}

// Load returns what the log holds of a group; of one that it does not know, nothing. The entries that Open has read are
// handed over and forgotten; a later call reads them from the files again.
func (l *Log) Load(id uint64) (Restored, error) {
	out, r, err := l.begin(id)
	if r == nil || err != nil {
		return out, err
	}
	defer l.release(r)
	out.Entries, err = l.read(r)
	return out, err
}

// begin returns what is in memory of a group, and what has to be read from files; nil: nothing.
func (l *Log) begin(id uint64) (Restored, *reading, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Restored{}, nil, errClosed
	}
	g := l.groups[id]
	if g == nil {
		return Restored{}, nil, nil
	}
	out := Restored{Snapshot: g.mark, Meta: slices.Clone(g.meta), HardState: g.hard.message()}
	if g.restored != nil {
		out.Entries, g.restored = g.restored, nil
		return out, nil, nil
	}
	if g.last == g.mark.Index {
		return out, nil, nil
	}
	return out, l.pin(g), nil
}

// Append writes all updates, and returns when they are durable. After a crash they are all there or none is, unless
// Append has returned nil: then they are there.
//
// Any error is final: the updates may be on disk or not, so that the Log writes nothing any more and every later Append
// returns the same error. What is there is seen by opening the log again.
func (l *Log) Append(updates []Update) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if l.err != nil || len(updates) == 0 {
		return l.err
	}
	l.err = l.append(updates)
	l.count()
	return l.err
}

func (l *Log) append(updates []Update) error {
	need := int64(frameHeaderBytes)
	for i := range updates {
		need += updates[i].size()
	}
	if need > maxAppendBytes {
		return invalid("an append of %d bytes", need)
	}
	if err := l.loadMove(need); err != nil {
		return err
	}
	if err := l.room(need + int64(len(l.move.chunk))); err != nil {
		return err
	}
	w := frameWriter{buf: append(l.buf[:0], make([]byte, frameHeaderBytes)...)}
	for i := range updates {
		if err := l.update(&w, &updates[i]); err != nil {
			return err
		}
	}
	if err := l.relocate(&w); err != nil {
		return err
	}
	if len(w.buf) == frameHeaderBytes { // nothing to write; a frame without a record is none
		return nil
	}
	if err := l.write(&w); err != nil {
		return err
	}
	l.buf = w.buf
	if cap(l.buf) > 4<<20 { // one large batch must not be paid for ever after
		l.buf = nil
	}
	return l.tidy()
}

// update takes over one group's update, in memory and into the frame. Nothing that it changes counts if the write
// fails, since the log is not used again then.
func (l *Log) update(w *frameWriter, u *Update) error {
	if u.Drop {
		w.drop(u.Group)
		if g := l.groups[u.Group]; g != nil {
			l.cut(g, 0)
			delete(l.groups, u.Group)
		}
	}
	if u.Meta == nil && u.Mark == nil && len(u.Entries) == 0 && u.HardState == nil {
		return nil
	}
	g := l.groups[u.Group]
	if g == nil {
		g = &group{id: u.Group}
		l.groups[u.Group] = g
	}
	g.restored = nil // what Open has read is not what is there any more
	if u.Meta != nil {
		if len(u.Meta) > maxMeta {
			return invalid("a founding record of %d bytes", len(u.Meta))
		}
		g.meta = slices.Clone(u.Meta)
		w.meta(u.Group, u.Meta)
	}
	if m := u.Mark; m != nil && (m.Index > g.mark.Index || u.Installed && m.Index == g.mark.Index) {
		term, ok := g.term(m.Index)
		reset := u.Installed || !ok || term != m.Term
		w.mark(u.Group, *m, reset)
		l.mark(g, *m, reset)
	}
	if len(u.Entries) > 0 {
		if err := l.entries(w, g, u.Entries); err != nil {
			return err
		}
	}
	if u.HardState != nil {
		g.hard = hardStateOf(u.HardState)
		w.hardState(u.Group, g.hard)
	}
	return nil
}

func (l *Log) entries(w *frameWriter, g *group, entries []*raftpb.Entry) error {
	first := entries[0].GetIndex()
	if first <= g.mark.Index || first > g.last+1 {
		return invalid("entries of group %d from %d on, where it has those behind %d up to %d", g.id, first, g.mark.Index, g.last)
	}
	split := first <= g.last
	l.cut(g, first)
	for len(entries) > 0 { // one record for each run of a term
		n, term := 1, entries[0].GetTerm()
		for n < len(entries) && entries[n].GetTerm() == term {
			n++
		}
		from := len(w.buf)
		w.entries(recordEntries, g.id, entries[:n])
		for i, e := range entries[:n] {
			if e.GetIndex() != g.last+1+uint64(i) {
				return invalid("entry %d of group %d where %d is due", e.GetIndex(), g.id, g.last+1+uint64(i))
			}
		}
		l.add(g, run{
			first: g.last + 1, last: g.last + uint64(n), term: term,
			bytes: int64(len(w.buf) - from), segment: l.tail(), offset: l.tail().end,
		}, split)
		split = false
		entries = entries[n:]
	}
	return nil
}

// tail is the segment that is written to.
func (l *Log) tail() *segment { return l.segments[len(l.segments)-1] }

// Stats are the sizes of a log.
type Stats struct {
	Segments int    // files that hold records
	Bytes    int64  // of the records in them
	Live     int64  // of entries that are still needed
	Spares   int    // files kept for use again
	Syncs    uint64 // fdatasyncs so far
	Written  uint64 // bytes written so far, all that is repeated included
}

// Stats returns sizes as of the last Append. It never waits for the disk.
func (l *Log) Stats() Stats { return *l.stats.Load() }

// count takes the sizes for Stats. l.mu is held.
func (l *Log) count() {
	l.stats.Store(&Stats{
		Segments: len(l.segments), Bytes: l.bytes(), Live: l.live, Spares: len(l.spares), Syncs: l.syncs, Written: l.written,
	})
}

// Close lets go of the files and the lock. It writes nothing.
func (l *Log) Close() error {
	if l.ahead != nil {
		l.ahead.stop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return errors.Join(l.head.Close(), l.lock.Close())
}

func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }
