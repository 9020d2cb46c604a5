package wal

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// group is what the log knows of one group: all of it but the entries, of which it knows where they are.
type group struct {
	id       uint64
	meta     []byte
	hard     hardState
	mark     Mark
	last     uint64 // index of the last entry, or mark.Index
	runs     []run  // consecutive, from mark.Index+1 to last
	restored []*raftpb.Entry
}

// run is a range of entries of one term in one segment. What the segment has of the same indexes and term in frames
// before offset is void: of a life of the group before this one, say.
type run struct {
	first, last, term uint64
	bytes             int64 // in the file; an estimate after a part was cut off
	segment           *segment
	offset            int64 // of the frame with the first entry
}

type hardState struct {
	known              bool
	term, vote, commit uint64
}

func hardStateOf(h *raftpb.HardState) hardState {
	return hardState{known: true, term: h.GetTerm(), vote: h.GetVote(), commit: h.GetCommit()}
}

func (h hardState) message() *raftpb.HardState {
	if !h.known {
		return nil
	}
	return &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}
}

// find returns the place in runs of the one that has index, or that would follow it.
func (g *group) find(index uint64) int {
	i, _ := slices.BinarySearchFunc(g.runs, index, func(r run, index uint64) int {
		switch {
		case r.last < index:
			return -1
		case r.first > index:
			return 1
		}
		return 0
	})
	return i
}

// holds reports whether entries of the given term, in a frame of s at offset, are those of the run.
func (r run) holds(s *segment, offset int64, term uint64) bool {
	return r.segment == s && r.offset <= offset && r.term == term
}

// term returns the term of the entry at index, if it is known.
func (g *group) term(index uint64) (uint64, bool) {
	if i := g.find(index); i < len(g.runs) && g.runs[i].first <= index {
		return g.runs[i].term, true
	}
	return g.mark.Term, index == g.mark.Index
}

// part returns the run between two indexes that r has.
func (r run) part(first, last uint64) run {
	r.bytes = int64(float64(r.bytes) * float64(last-first+1) / float64(r.last-r.first+1))
	r.first, r.last = first, last
	return r
}

// take counts a run as needed, or (by -1) as not needed any more.
func (l *Log) take(r run, sign int) {
	r.segment.runs += sign
	l.live += int64(sign) * r.bytes
}

// add appends a run behind g.last; split says that the log had other entries there.
func (l *Log) add(g *group, r run, split bool) {
	g.last = r.last
	if n := len(g.runs); n > 0 && !split && g.runs[n-1].holds(r.segment, r.offset, r.term) {
		g.runs[n-1].last = r.last
		g.runs[n-1].bytes += r.bytes
		l.live += r.bytes
		return
	}
	g.runs = append(g.runs, r)
	l.take(r, 1)
}

// cut lets go of the entries from index on.
func (l *Log) cut(g *group, index uint64) {
	if index > g.last {
		return
	}
	i := g.find(index)
	for _, r := range g.runs[i:] {
		l.take(r, -1)
	}
	if i < len(g.runs) && g.runs[i].first < index {
		g.runs[i] = g.runs[i].part(g.runs[i].first, index-1)
		l.take(g.runs[i], 1)
		i++
	}
	g.runs = g.runs[:i]
	g.last = max(index, g.mark.Index+1) - 1
}

// mark lets go of the entries up to a mark; with reset, of all.
func (l *Log) mark(g *group, m Mark, reset bool) {
	if reset {
		l.cut(g, 0)
	}
	g.mark = m
	g.last = max(g.last, m.Index)
	if reset {
		g.last = m.Index
	}
	i := g.find(m.Index + 1)
	for _, r := range g.runs[:i] {
		l.take(r, -1)
	}
	g.runs = slices.Delete(g.runs, 0, i)
	if len(g.runs) > 0 && g.runs[0].first <= m.Index {
		l.take(g.runs[0], -1)
		g.runs[0] = g.runs[0].part(m.Index+1, g.runs[0].last)
		l.take(g.runs[0], 1)
	}
}

// replace puts r, which was written again elsewhere, in the place of the same entries, which are within one run.
func (l *Log) replace(g *group, r run) {
	i := g.find(r.first)
	old := g.runs[i]
	l.take(old, -1)
	var parts []run
	if old.first < r.first {
		parts = append(parts, old.part(old.first, r.first-1))
	}
	parts = append(parts, r)
	if r.last < old.last {
		parts = append(parts, old.part(r.last+1, old.last))
	}
	for _, p := range parts {
		l.take(p, 1)
	}
	g.runs = slices.Replace(g.runs, i, i+1, parts...)
	// Entries move one by one; without this each would stay a run of its own.
	if i > 0 && g.runs[i-1].holds(g.runs[i].segment, g.runs[i].offset, g.runs[i].term) {
		g.runs[i-1].last = g.runs[i].last
		g.runs[i-1].bytes += g.runs[i].bytes
		g.runs[i].segment.runs--
		g.runs = slices.Delete(g.runs, i, i+1)
	}
}
