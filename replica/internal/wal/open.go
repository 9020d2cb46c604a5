package wal

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// Open reads the log in dir, which is made if it is not there, and locks it for this process.
//
// A tail that was being written when the process or the machine stopped is cut off. Anything else that is not as it was
// written is an error with the reason [ReasonDamaged] that names file and offset; nothing is changed then.
func Open(fs disk.FS, dir string, config Config) (*Log, error) {
	l := &Log{fs: fs, dir: dir, config: config.withDefaults(), groups: map[uint64]*group{}, next: 1}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, failed(err, "make "+dir)
	}
	lock, err := fs.Lock(l.path(lockName))
	if err != nil {
		return nil, failed(err, "open "+dir)
	}
	l.lock = lock
	if err := l.open(); err != nil {
		if l.head != nil {
			l.head.Close()
		}
		lock.Close()
		return nil, err
	}
	l.count()
	if l.config.Ahead {
		l.ahead = startAhead(l)
	}
	return l, nil
}

func (l *Log) open() error {
	names, leftovers, err := l.list()
	if err != nil {
		return err
	}
	r := &replay{groups: map[uint64]*replayGroup{}}
	var again []byte
	for i, name := range names {
		if again, err = l.replay(r, name, i == 0, i == len(names)-1, names[min(i+1, len(names)-1)]); err != nil {
			return err
		}
	}
	// What follows are the only changes. A new segment is begun each time: the last frame of the one before may be in
	// memory alone (its sync may be what failed), so it is written again, and nothing is ever written over what a
	// crash may have left behind it.
	for id, g := range r.groups {
		l.groups[id] = g.group
	}
	s, opening := l.nextSegment(), l.opening()
	r.offset = segmentHeaderBytes + align(int64(frameHeaderBytes+len(opening)))
	if err := eachRecord(again, func(rec *record) error { return r.apply(rec, s) }); err != nil {
		return damaged(l.tail().name(), l.tail().end, "%v", err)
	}
	clear(l.groups)
	for id, g := range r.groups {
		if err := g.check(l.dir); err != nil {
			return err
		}
		l.groups[id] = g.group
	}
	for _, name := range leftovers {
		if err := l.fs.Remove(l.path(name)); err != nil {
			return failed(err, "remove "+name)
		}
	}
	if err := l.rotate(s, 0, opening, again); err != nil {
		return err
	}
	for _, g := range r.groups {
		l.restore(g)
	}
	if err := l.tidy(); err != nil {
		return err
	}
	if n := len(l.segments); n > 1 {
		return l.shrink(l.segments[n-2])
	}
	return nil
}

// shrink gives back what was reserved for a segment that ended early.
func (l *Log) shrink(s *segment) error {
	f, err := l.fs.Open(l.path(s.name()))
	if err == nil {
		err = f.Truncate(s.end)
		s.size = s.end
		f.Close()
	}
	return failed(err, "shrink "+s.name())
}

// list returns the names of the segments in order, and of the files that are of no use. Spares are taken up.
func (l *Log) list() (segments, leftovers []string, err error) {
	files, err := l.fs.List(l.dir)
	if err != nil {
		return nil, nil, failed(err, "list "+l.dir)
	}
	for _, f := range files {
		digits, suffix, _ := strings.Cut(f.Name, ".")
		number, err := strconv.ParseUint(digits, 16, 64)
		if err != nil || len(digits) != 16 || number == 0 {
			continue
		}
		switch "." + suffix {
		case segmentSuffix:
			segments = append(segments, f.Name)
		case spareSuffix:
			if len(l.spares) < spareFiles {
				l.spares = append(l.spares, f.Name)
			} else {
				leftovers = append(leftovers, f.Name)
			}
		case freshSuffix:
			leftovers = append(leftovers, f.Name)
		default:
			continue
		}
		l.next = max(l.next, number+1)
	}
	return segments, leftovers, nil
}

// replay reads a segment. Of the last one it returns the last frame's records, which are not taken over yet.
func (l *Log) replay(r *replay, name string, oldest, last bool, nextName string) (again []byte, err error) {
	b, s, err := l.load(r, name)
	if err != nil {
		return nil, err
	}
	if !oldest {
		if before := l.tail(); s.before != before.number || s.first != l.seq+1 || s.chain != l.chain {
			return nil, damaged(name, 0, "it does not follow %s: a segment between them is missing, or one is not of this log", before.name())
		}
	} else {
		l.seq, l.chain = s.first-1, s.chain
	}
	l.segments = append(l.segments, s)
	end := int64(len(b))
	if !last {
		if end, err = l.endOf(s, nextName); err != nil {
			return nil, err
		}
	}
	pending := func(off int64, body []byte) error {
		if body == nil {
			return nil
		}
		r.offset = off
		err := eachRecord(body, func(rec *record) error { return r.apply(rec, s) })
		if err != nil {
			return damaged(name, off, "%v", err)
		}
		return nil
	}
	var body []byte
	var bodyAt int64
	seq, chain := l.seq, l.chain
	for s.end < end || last {
		h, sum, ok := readHeader(tailOf(b, s.end), s.salt, s.end)
		if ok && (h.seq != seq+1 || h.chain != chain) {
			return nil, damaged(name, s.end, "frame %d where %d is due", h.seq, seq+1)
		}
		var next []byte
		if ok {
			next, ok = h.body(b[s.end:])
		}
		switch {
		case ok:
		case !last:
			return nil, damaged(name, s.end, "frame %d of a segment that was complete is unreadable", seq+1)
		case body == nil && bodyAt == 0:
			return nil, damaged(name, s.end, "the first frame of a segment is unreadable")
		default:
			if at, found := laterFrame(b, s, seq+1); found {
				return nil, damaged(name, s.end, "frame %d is unreadable, and one at offset %d was written after it was durable", seq+1, at)
			}
			s.end = bodyAt
			return body, nil
		}
		if err := pending(bodyAt, body); err != nil {
			return nil, err
		}
		l.seq, l.chain = seq, chain
		first := bodyAt == 0
		bodyAt, body = s.end, next
		s.end += int64(h.bytes())
		seq, chain = h.seq, sum
		if first { // durable before the file had its name: not in doubt
			if err := pending(bodyAt, body); err != nil {
				return nil, err
			}
			l.seq, l.chain = seq, chain
			bodyAt, body = s.end, nil
		}
	}
	if s.end != end {
		return nil, damaged(name, end, "it ends within a frame")
	}
	l.seq, l.chain = seq, chain
	return nil, pending(bodyAt, body)
}

func tailOf(b []byte, at int64) []byte { return b[min(at, int64(len(b))):] }

// load reads the file of a segment.
func (l *Log) load(r *replay, name string) ([]byte, *segment, error) {
	f, err := l.fs.Open(l.path(name))
	if err != nil {
		return nil, nil, failed(err, "read "+name)
	}
	defer f.Close()
	size, err := f.Size()
	if err == nil {
		r.buf, err = readAt(f, 0, size, r.buf)
	}
	if err != nil {
		return nil, nil, failed(err, "read "+name)
	}
	s, ok := readSegmentHeader(r.buf)
	if !ok || s.name() != name {
		return nil, nil, damaged(name, 0, "the header of the segment is unreadable or of another one")
	}
	s.size = size
	return r.buf, s, nil
}

// endOf returns where a segment ends, from the header of the next one.
func (l *Log) endOf(s *segment, nextName string) (int64, error) {
	f, err := l.fs.Open(l.path(nextName))
	if err != nil {
		return 0, failed(err, "read "+nextName)
	}
	defer f.Close()
	var b [segmentHeaderBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, failed(err, "read "+nextName)
	}
	next, ok := readSegmentHeader(b[:])
	if !ok {
		return 0, damaged(nextName, 0, "the header of the segment is unreadable")
	}
	if next.before != s.number {
		return 0, damaged(nextName, 0, "it does not follow %s: a segment between them is missing, or one is not of this log", s.name())
	}
	return next.beforeEnd, nil
}

// laterFrame looks for a frame that was written after frame seq, which is unreadable. There cannot be one if that was
// the last: the next is written only when the one before is durable.
func laterFrame(b []byte, s *segment, seq uint64) (at int64, found bool) {
	most := seq + uint64(len(b)/frameHeaderBytes)
	for at := s.end + frameAlign; at+frameHeaderBytes <= int64(len(b)); at += frameAlign {
		if n := binary.LittleEndian.Uint64(b[at+8:]); n <= seq || n > most {
			continue
		}
		if _, _, ok := readHeader(b[at:], s.salt, at); ok {
			return at, true
		}
	}
	return 0, false
}

// restore counts what was read as needed, and keeps the entries for Load.
func (l *Log) restore(g *replayGroup) {
	last := g.last
	g.last = g.mark.Index
	g.restored = make([]*raftpb.Entry, 0, last-g.last)
	for index := g.last + 1; index <= last; index++ {
		slot := g.at(index)
		g.restored = append(g.restored, slot.entry)
		l.add(g.group, run{
			first: index, last: index, term: slot.entry.GetTerm(),
			bytes: int64(len(slot.entry.Data) + 3), segment: slot.segment, offset: slot.offset,
		}, slot.split)
	}
	g.restored = slices.Clip(g.restored)
	g.slots, g.front = nil, nil
}
