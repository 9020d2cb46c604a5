package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// A segment begins with this header and a frame with the state of every group; both are durable before the file gets
// its name, so that a file of that name without them is damaged.
//
//	0  "HFWALv01"
//	8  number of the segment
//	16 salt
//	24 number of the segment before, or 0
//	32 end of its last frame
//	40 number of this one's first frame
//	48 checksum field of the frame before that
//	52 zeros
//	60 checksum of bytes 0 to 60
//
// A segment's own end is in the header of the next one: what is behind it was never acknowledged.
const (
	segmentHeaderBytes = 64
	segmentMagic       = "HFWALv01"
	segmentSuffix      = ".wal"
	spareSuffix        = ".spare"
	freshSuffix        = ".new"
	lockName           = "LOCK"
)

type segment struct {
	number, salt uint64
	before       uint64 // number of the segment before
	beforeEnd    int64
	first        uint64 // number of its first frame
	chain        uint32 // checksum before it
	end          int64  // of its last frame
	size         int64  // of the file
	runs         int    // runs of entries in it that are needed
	pins         int    // Loads that read it
}

func (s *segment) name() string { return fmt.Sprintf("%016x%s", s.number, segmentSuffix) }

func (s *segment) header() []byte {
	b := make([]byte, segmentHeaderBytes, 4096)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint64(b[8:], s.number)
	binary.LittleEndian.PutUint64(b[16:], s.salt)
	binary.LittleEndian.PutUint64(b[24:], s.before)
	binary.LittleEndian.PutUint64(b[32:], uint64(s.beforeEnd))
	binary.LittleEndian.PutUint64(b[40:], s.first)
	binary.LittleEndian.PutUint32(b[48:], s.chain)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

func readSegmentHeader(b []byte) (*segment, bool) {
	if len(b) < segmentHeaderBytes || string(b[:8]) != segmentMagic ||
		binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return nil, false
	}
	s := &segment{
		number: binary.LittleEndian.Uint64(b[8:]), salt: binary.LittleEndian.Uint64(b[16:]),
		before: binary.LittleEndian.Uint64(b[24:]), beforeEnd: int64(binary.LittleEndian.Uint64(b[32:])),
		first: binary.LittleEndian.Uint64(b[40:]), chain: binary.LittleEndian.Uint32(b[48:]), end: segmentHeaderBytes,
	}
	return s, s.beforeEnd >= 0 && s.first > 0
}

// room makes sure that need bytes fit into the segment that is written to, or opens the next one.
func (l *Log) room(need int64) error {
	if s := l.tail(); s.end+need <= s.size {
		return nil
	}
	return l.rotate(l.nextSegment(), need, l.opening(), nil)
}

// nextSegment returns the one to be opened; it is not part of the log yet.
func (l *Log) nextSegment() *segment { return &segment{number: l.number(), salt: l.config.Rand()} }

// opening returns the records of a segment's first frame.
func (l *Log) opening() []byte {
	var w frameWriter
	w.begin(recordOpen, 0)
	for _, id := range slices.Sorted(maps.Keys(l.groups)) {
		w.state(l.groups[id])
	}
	return w.buf
}

// rotate opens segment s, with room for need bytes. Its first frame has the records of opening; if there is something to
// be written again, that is the second.
func (l *Log) rotate(s *segment, need int64, opening, again []byte) error {
	s.first, s.chain = l.seq+1, l.chain
	if len(l.segments) > 0 {
		s.before, s.beforeEnd = l.tail().number, l.tail().end
	}
	buf := s.header()
	for _, payload := range [][]byte{opening, again} {
		if len(payload) == 0 {
			continue
		}
		from := len(buf)
		w := frameWriter{buf: append(append(buf, make([]byte, frameHeaderBytes)...), payload...)}
		l.chain = putHeader(w.buf[from:], s.salt, int64(from), l.seq+1, l.chain)
		l.seq++
		w.pad()
		buf = w.buf
	}
	s.end = int64(len(buf))
	s.size = max(l.config.SegmentBytes, s.end+need)
	f, err := l.place(s, buf)
	if err != nil {
		return failed(err, "open segment "+s.name())
	}
	l.syncs++
	l.written += uint64(len(buf))
	if l.head != nil {
		l.head.Close()
	}
	l.head = f
	l.segments = append(l.segments, s)
	if l.ahead != nil {
		l.ahead.poke()
	}
	return nil
}

// place makes the file of a segment: in a spare one if there is, under another name until its beginning is durable.
func (l *Log) place(s *segment, begin []byte) (f disk.File, err error) {
	name := fmt.Sprintf("%016x%s", s.number, freshSuffix)
	if n := len(l.spares); n > 0 {
		name = l.spares[n-1]
		l.spares = l.spares[:n-1]
		f, err = l.fs.Open(l.path(name))
	} else {
		f, err = l.fs.Create(l.path(name))
	}
	if err != nil {
		return nil, err
	}
	if err := begun(f, s, begin); err != nil {
		f.Close()
		return nil, err
	}
	if err := f.Close(); err != nil { // not every system renames an open file
		return nil, err
	}
	if err := l.fs.Rename(l.path(name), l.path(s.name())); err != nil {
		return nil, err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return nil, err
	}
	return l.fs.Open(l.path(s.name()))
}

func begun(f disk.File, s *segment, begin []byte) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size < s.size {
		if err := f.Allocate(s.size); err != nil {
			return err
		}
	}
	s.size = max(s.size, size)
	if _, err := f.WriteAt(begin, 0); err != nil {
		return err
	}
	return f.Sync()
}

// number returns a number for a new file.
func (l *Log) number() uint64 {
	l.next++
	return l.next - 1
}

// tidy lets go of the oldest segments as long as nobody needs them. Only the oldest: what is left stays one sequence.
// Their files follow: at once, or beside the next Appends if there is somebody who does that.
func (l *Log) tidy() error {
	for len(l.segments) > 1 && l.segments[0].runs == 0 && l.segments[0].pins == 0 {
		s := l.segments[0]
		l.segments = slices.Delete(l.segments, 0, 1)
		l.gone = append(l.gone, s)
		if l.move.segment == s {
			l.move.stop()
		}
	}
	l.startMove()
	if l.ahead != nil {
		if len(l.gone) > 0 {
			l.ahead.poke()
		}
		return nil
	}
	for len(l.gone) > 0 {
		spare := l.spareName(l.gone[0])
		if err := l.drop(l.gone[0], spare); err != nil {
			return err
		}
		l.dropped(spare)
	}
	return nil
}

// spareName returns what the file of a segment is to be called that is gone; "": it is of no use.
func (l *Log) spareName(s *segment) string {
	if len(l.spares) >= spareFiles || s.size < l.config.SegmentBytes {
		return ""
	}
	return fmt.Sprintf("%016x%s", l.number(), spareSuffix)
}

// drop takes a segment's name off its file, which it gets another one for, or is removed. That the name is gone is durable
// before anything is written to the file, and before the next segment's is taken. It needs no lock.
func (l *Log) drop(s *segment, spare string) error {
	var err error
	if spare != "" {
		err = l.fs.Rename(l.path(s.name()), l.path(spare))
	} else {
		err = l.fs.Remove(l.path(s.name()))
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	return failed(err, "drop segment "+s.name())
}

// dropped says that the file of the first that is gone has another name, or is removed.
func (l *Log) dropped(spare string) {
	l.gone = slices.Delete(l.gone, 0, 1)
	if spare != "" {
		l.spares = append(l.spares, spare)
	}
}

// bytes is what the records of all segments take.
func (l *Log) bytes() (n int64) {
	for _, s := range l.segments {
		n += s.end
	}
	return n
}
