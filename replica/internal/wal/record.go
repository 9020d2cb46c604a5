package wal

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/raft/v3/raftpb"
)

// The records within a frame: a byte that says which, the group as a varint, and what follows. All numbers are varints
// unless it says otherwise.
const (
	// recordDrop: nothing follows.
	recordDrop = 1 + iota
	// recordMeta: length, bytes.
	recordMeta
	// recordMark: index, term, 1 if all entries are void and else 0.
	recordMark
	// recordEntries: first index, term, count, length of the rest as 4 bytes, then of each entry its length*4+type and its
	// bytes. Entries from the first index on that were there before are void.
	recordEntries
	// recordMoved: as recordEntries, but entries that are still good, written again so that an old segment may go.
	recordMoved
	// recordHardState: term, vote, commit.
	recordHardState
	// recordState opens every segment, once for each group: index of the last entry, mark's index, its term, 1 and term,
	// vote and commit or 0, length of the founding record, bytes. With it, older segments are needed for entries only.
	recordState
	// recordOpen is the first one of a segment, so that its frame is never empty; group is 0, nothing follows.
	recordOpen
)

type frameWriter struct{ buf []byte }

// pad fills up the frame, after its header was made.
func (w *frameWriter) pad() {
	for len(w.buf)%frameAlign != 0 {
		w.buf = append(w.buf, 0)
	}
}

func (w *frameWriter) begin(kind byte, group uint64) {
	w.buf = binary.AppendUvarint(append(w.buf, kind), group)
}

func (w *frameWriter) number(n uint64) { w.buf = binary.AppendUvarint(w.buf, n) }

func (w *frameWriter) flag(b bool) {
	if b {
		w.buf = append(w.buf, 1)
	} else {
		w.buf = append(w.buf, 0)
	}
}

func (w *frameWriter) bytes(b []byte) {
	w.number(uint64(len(b)))
	w.buf = append(w.buf, b...)
}

func (w *frameWriter) drop(group uint64) { w.begin(recordDrop, group) }

func (w *frameWriter) meta(group uint64, b []byte) {
	w.begin(recordMeta, group)
	w.bytes(b)
}

func (w *frameWriter) mark(group uint64, m Mark, reset bool) {
	w.begin(recordMark, group)
	w.number(m.Index)
	w.number(m.Term)
	w.flag(reset)
}

func (w *frameWriter) hardState(group uint64, h hardState) {
	w.begin(recordHardState, group)
	w.number(h.term)
	w.number(h.vote)
	w.number(h.commit)
}

func (w *frameWriter) entries(kind byte, group uint64, entries []*raftpb.Entry) {
	at := w.beginEntries(kind, group, entries[0].GetIndex(), entries[0].GetTerm(), uint64(len(entries)))
	for _, e := range entries {
		w.number(uint64(len(e.Data))<<2 | uint64(e.GetType()))
		w.buf = append(w.buf, e.Data...)
	}
	w.endEntries(at)
}

func (w *frameWriter) beginEntries(kind byte, group, first, term, count uint64) (at int) {
	w.begin(kind, group)
	w.number(first)
	w.number(term)
	w.number(count)
	w.buf = append(w.buf, 0, 0, 0, 0)
	return len(w.buf)
}

func (w *frameWriter) endEntries(at int) {
	binary.LittleEndian.PutUint32(w.buf[at-4:], uint32(len(w.buf)-at))
}

func (w *frameWriter) state(g *group) {
	w.begin(recordState, g.id)
	w.number(g.last)
	w.number(g.mark.Index)
	w.number(g.mark.Term)
	w.flag(g.hard.known)
	if g.hard.known {
		w.number(g.hard.term)
		w.number(g.hard.vote)
		w.number(g.hard.commit)
	}
	w.bytes(g.meta)
}

// size is an upper bound of what an update takes in a frame.
func (u *Update) size() int64 {
	n := int64(128 + len(u.Meta))
	for _, e := range u.Entries {
		n += int64(48 + len(e.Data))
	}
	return n
}

// record is one that was read; which fields count depends on kind.
type record struct {
	kind    byte
	group   uint64
	first   uint64 // of entries
	term    uint64
	count   uint64
	entries []byte
	last    uint64
	mark    Mark
	reset   bool
	hard    hardState
	bytes   []byte
}

var errRecord = errors.New("a record that is none")

// recordReader takes records off a payload. A read beyond the end makes it bad, and zeros from then on.
type recordReader struct {
	b   []byte
	bad bool
}

func (r *recordReader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *recordReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *recordReader) flag() bool {
	b := r.take(1)
	return len(b) == 1 && b[0] == 1
}

func (r *recordReader) hardState() hardState {
	return hardState{known: true, term: r.number(), vote: r.number(), commit: r.number()}
}

// next returns the next record, or false at the end.
func (r *recordReader) next() (rec record, ok bool, err error) {
	if len(r.b) == 0 {
		return rec, false, nil
	}
	rec.kind = r.b[0]
	r.b = r.b[1:]
	rec.group = r.number()
	switch rec.kind {
	case recordDrop, recordOpen:
	case recordMeta:
		rec.bytes = r.take(r.number())
	case recordMark:
		rec.mark = Mark{Index: r.number(), Term: r.number()}
		rec.reset = r.flag()
	case recordHardState:
		rec.hard = r.hardState()
	case recordEntries, recordMoved:
		rec.first, rec.term, rec.count = r.number(), r.number(), r.number()
		size := r.take(4)
		if r.bad {
			return rec, false, errRecord
		}
		rec.entries = r.take(uint64(binary.LittleEndian.Uint32(size)))
		// Each entry takes a byte at least, and indexes begin with 1.
		if rec.count == 0 || rec.count > uint64(len(rec.entries)) || rec.first == 0 || rec.first+rec.count < rec.first {
			return rec, false, errRecord
		}
	case recordState:
		rec.last = r.number()
		rec.mark = Mark{Index: r.number(), Term: r.number()}
		if r.flag() {
			rec.hard = r.hardState()
		}
		rec.bytes = r.take(r.number())
		if rec.last < rec.mark.Index {
			return rec, false, errRecord
		}
	default:
		return rec, false, errRecord
	}
	if r.bad {
		return rec, false, errRecord
	}
	return rec, true, nil
}

// each calls f with every entry of a record: its index, its length and type as they are in the record, and its bytes.
func (rec *record) each(f func(index, head uint64, data []byte)) error {
	r := recordReader{b: rec.entries}
	for i := range rec.count {
		head := r.number()
		data := r.take(head >> 2)
		if r.bad || head&3 > uint64(raftpb.EntryConfChangeV2) {
			return errRecord
		}
		f(rec.first+i, head, data)
	}
	if len(r.b) > 0 {
		return errRecord
	}
	return nil
}
