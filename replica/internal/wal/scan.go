package wal

import (
	"errors"
	"io"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// frames reads whole frames of a segment from offset on: about budget bytes of them, at least one.
func (l *Log) frames(f disk.File, s *segment, offset, budget int64, buf []byte) ([]byte, error) {
	want := min(max(budget, frameHeaderBytes), s.end-offset)
	buf, err := readAt(f, offset, want, buf)
	if err != nil {
		return nil, failed(err, "read "+s.name())
	}
	whole := 0
	for {
		h, _, ok := readHeader(buf[whole:], s.salt, offset+int64(whole))
		if !ok && (len(buf)-whole >= frameHeaderBytes || whole == 0) {
			return nil, damaged(s.name(), offset+int64(whole), "not a frame")
		}
		if ok && whole+h.bytes() <= len(buf) {
			whole += h.bytes()
			if whole == len(buf) {
				return buf, nil
			}
			continue
		}
		if whole > 0 {
			return buf[:whole], nil
		}
		if int64(h.bytes()) > s.end-offset {
			return nil, damaged(s.name(), offset, "a frame of %d bytes where %d are left", h.bytes(), s.end-offset)
		}
		if buf, err = readAt(f, offset, int64(h.bytes()), buf); err != nil {
			return nil, failed(err, "read "+s.name())
		}
	}
}

// readAt returns size bytes, in buf if it is large enough.
func readAt(f disk.File, offset, size int64, buf []byte) ([]byte, error) {
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	n, err := f.ReadAt(buf, offset)
	if n == len(buf) || errors.Is(err, io.EOF) {
		return buf[:n], nil // a file that is too short shows in what is missing
	}
	return nil, err
}

// records calls f with every record of the frames in b, which were read at offset.
func records(s *segment, b []byte, offset int64, f func(rec *record, offset int64) error) error {
	for begin := 0; begin < len(b); {
		h, _, ok := readHeader(b[begin:], s.salt, offset+int64(begin))
		var body []byte
		if ok {
			body, ok = h.body(b[begin:])
		}
		if !ok {
			return damaged(s.name(), offset+int64(begin), "its checksum is wrong")
		}
		at := offset + int64(begin)
		if err := eachRecord(body, func(rec *record) error { return f(rec, at) }); err != nil {
			if errors.Is(err, errRecord) {
				return damaged(s.name(), at, "%v", err)
			}
			return err
		}
		begin += h.bytes()
	}
	return nil
}

func eachRecord(body []byte, f func(rec *record) error) error {
	r := recordReader{b: body}
	for {
		rec, ok, err := r.next()
		if err != nil || !ok {
			return err
		}
		if err := f(&rec); err != nil {
			return err
		}
	}
}

// decode returns the entries of a record. They share memory with each other, not with the record.
func (rec *record) decode() ([]raftpb.Entry, error) {
	type share struct {
		term  uint64
		types [3]raftpb.EntryType
	}
	shared := &share{term: rec.term, types: [3]raftpb.EntryType{0, 1, 2}}
	own := *rec
	own.entries = append([]byte(nil), rec.entries...)
	entries, indexes := make([]raftpb.Entry, rec.count), make([]uint64, rec.count)
	i := 0
	err := own.each(func(index, head uint64, data []byte) {
		e := &entries[i]
		indexes[i] = index
		e.Index, e.Term, e.Type = &indexes[i], &shared.term, &shared.types[head&3]
		if len(data) > 0 {
			e.Data = data
		}
		i++
	})
	return entries, err
}

// reading is a group as it was when somebody began to read it from the files: Append goes on meanwhile.
type reading struct {
	group
	pinned []*segment // stay where they are
}

// pin keeps the segments of a group until release. l.mu is held.
func (l *Log) pin(g *group) *reading {
	r := &reading{group: *g}
	r.runs = slices.Clone(g.runs)
	copies := map[*segment]*segment{}
	for i := range r.runs {
		s := r.runs[i].segment
		if copies[s] == nil {
			c := *s
			copies[s] = &c
			s.pins++
			r.pinned = append(r.pinned, s)
		}
		r.runs[i].segment = copies[s]
	}
	return r
}

func (l *Log) release(r *reading) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range r.pinned {
		s.pins--
	}
}

// read returns the entries of a group from the files.
func (l *Log) read(r *reading) ([]*raftpb.Entry, error) {
	g := &r.group
	out := make([]*raftpb.Entry, g.last-g.mark.Index)
	seen := map[*segment]bool{}
	for _, run := range g.runs {
		if seen[run.segment] {
			continue
		}
		seen[run.segment] = true
		if err := l.readSegment(g, run.segment, out); err != nil {
			return nil, err
		}
	}
	for i, e := range out {
		if e == nil {
			return nil, damaged(l.dir, 0, "entry %d of group %d is missing", g.mark.Index+1+uint64(i), g.id)
		}
	}
	return out, nil
}

func (l *Log) readSegment(g *group, s *segment, out []*raftpb.Entry) error {
	f, err := l.fs.Open(l.path(s.name()))
	if err != nil {
		return failed(err, "read "+s.name())
	}
	defer f.Close()
	var buf []byte
	for offset := int64(segmentHeaderBytes); offset < s.end; offset += int64(len(buf)) {
		if buf, err = l.frames(f, s, offset, 1<<20, buf); err != nil {
			return err
		}
		err := records(s, buf, offset, func(rec *record, at int64) error {
			if rec.group != g.id || rec.kind != recordEntries && rec.kind != recordMoved {
				return nil
			}
			entries, err := rec.decode()
			for i := range entries {
				index := entries[i].GetIndex()
				if r := g.find(index); r < len(g.runs) && g.runs[r].first <= index && g.runs[r].holds(s, at, rec.term) {
					out[index-g.mark.Index-1] = &entries[i]
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
