package wal

import "github.com/holdfast-go/holdfast/replica/internal/disk"

// mover writes the entries of the oldest segment that are still needed again, a piece with each Append, in the same
// write and sync: so a group that hardly writes does not keep the segments of all others, and nobody waits for it.
type mover struct {
	segment *segment // nil: nothing to do
	file    disk.File
	offset  int64  // up to which its frames are done
	chunk   []byte // the next frames
}

const (
	// moveBytes is how much of the old segment is looked through with one Append, or moveFactor times what is appended if
	// that is more: fast enough to free segments before new ones fill up.
	moveBytes  = 256 << 10
	moveFactor = 4
	// Up to these many segments are left alone, whatever they hold.
	slackSegments = 4
	slackFiles    = 8
)

func (m *mover) stop() {
	if m.file != nil {
		m.file.Close()
	}
	*m = mover{}
}

// startMove begins with the oldest segment if more than half of what the log takes is of no use.
func (l *Log) startMove() {
	if l.move.segment != nil || len(l.segments) < 2 || l.segments[0].pins > 0 {
		return
	}
	size := l.config.SegmentBytes
	if l.bytes() > 2*l.live+slackSegments*size || int64(len(l.segments)) > 2*l.live/size+slackFiles {
		l.move = mover{segment: l.segments[0], offset: segmentHeaderBytes}
	}
}

// loadMove reads the next piece.
func (l *Log) loadMove(need int64) (err error) {
	m := &l.move
	if m.segment == nil {
		return nil
	}
	if m.file == nil {
		if m.file, err = l.fs.Open(l.path(m.segment.name())); err != nil {
			return failed(err, "read "+m.segment.name())
		}
	}
	m.chunk, err = l.frames(m.file, m.segment, m.offset, min(max(moveBytes, moveFactor*need), l.config.SegmentBytes), m.chunk)
	return err
}

// relocate puts what is needed of the piece into the frame.
func (l *Log) relocate(w *frameWriter) error {
	m := &l.move
	if m.segment == nil {
		return nil
	}
	if m.segment == l.tail() {
		return invalid("to move the segment that is written to")
	}
	err := records(m.segment, m.chunk, m.offset, func(rec *record, offset int64) error {
		g := l.groups[rec.group]
		if g == nil || rec.kind != recordEntries && rec.kind != recordMoved {
			return nil
		}
		for _, want := range g.within(m.segment, offset, rec) {
			from := len(w.buf)
			at := w.beginEntries(recordMoved, g.id, want.first, want.term, want.last-want.first+1)
			err := rec.each(func(index, head uint64, data []byte) {
				if index >= want.first && index <= want.last {
					w.number(head)
					w.buf = append(w.buf, data...)
				}
			})
			if err != nil {
				return err
			}
			w.endEntries(at)
			want.bytes, want.segment, want.offset = int64(len(w.buf)-from), l.tail(), l.tail().end
			l.replace(g, want)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if m.offset += int64(len(m.chunk)); m.offset < m.segment.end {
		return nil
	}
	if m.segment.runs != 0 {
		return invalid("to drop segment %s with %d runs that were not found in it", m.segment.name(), m.segment.runs)
	}
	m.stop()
	return nil
}

// within returns the parts of the group's runs that rec holds, which stands in a frame of s at offset.
func (g *group) within(s *segment, offset int64, rec *record) (out []run) {
	last := rec.first + rec.count - 1
	for i := g.find(rec.first); i < len(g.runs) && g.runs[i].first <= last; i++ {
		if r := g.runs[i]; r.holds(s, offset, rec.term) {
			out = append(out, r.part(max(r.first, rec.first), min(r.last, last)))
		}
	}
	return out
}
