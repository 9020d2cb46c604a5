package wal

import (
	"errors"

	"go.etcd.io/raft/v3/raftpb"
)

// replay is what was read so far.
type replay struct {
	groups map[uint64]*replayGroup
	offset int64 // of the frame whose records are taken over
	buf    []byte
}

// replayGroup is a group with its entries. Those that the records did not show yet, because they were moved to a later
// segment, are missing in between.
type replayGroup struct {
	*group
	base  uint64          // index of slots[0]; last+1 if there is none
	slots []slot          // from base to last
	front map[uint64]slot // moved ones before base
}

type slot struct {
	entry   *raftpb.Entry
	segment *segment
	offset  int64
	split   bool // see Log.add
}

var (
	errGap   = errors.New("entries that leave a gap to those before them")
	errState = errors.New("the state of a group differs from what its records make of it")
)

func (r *replay) group(id uint64) *replayGroup {
	g := r.groups[id]
	if g == nil {
		g = &replayGroup{group: &group{id: id}, base: 1}
		r.groups[id] = g
	}
	return g
}

// apply takes over one record, which stands in s.
func (r *replay) apply(rec *record, s *segment) error {
	switch rec.kind {
	case recordOpen:
	case recordDrop:
		delete(r.groups, rec.group)
	case recordMeta:
		r.group(rec.group).meta = append([]byte(nil), rec.bytes...)
	case recordHardState:
		r.group(rec.group).hard = rec.hard
	case recordMark:
		r.group(rec.group).trim(rec.mark, rec.reset)
	case recordState:
		return r.state(rec)
	case recordEntries:
		return r.group(rec.group).append(rec, s, r.offset)
	case recordMoved:
		return r.group(rec.group).moved(rec, s, r.offset)
	}
	return nil
}

// state takes over what a segment begins with. For the oldest one that is all there is; later it is known already.
func (r *replay) state(rec *record) error {
	g := r.groups[rec.group]
	if g != nil {
		if g.last != rec.last || g.mark != rec.mark || g.hard != rec.hard || string(g.meta) != string(rec.bytes) {
			return errState
		}
		return nil
	}
	g = r.group(rec.group)
	g.last, g.mark, g.hard = rec.last, rec.mark, rec.hard
	g.meta = append([]byte(nil), rec.bytes...)
	g.base = g.last + 1
	return nil
}

func (g *replayGroup) trim(m Mark, reset bool) {
	g.mark = m
	if reset || m.Index >= g.last {
		g.last, g.base = m.Index, m.Index+1
		g.slots, g.front = nil, nil
		return
	}
	if m.Index >= g.base {
		n := m.Index + 1 - g.base
		clear(g.slots[:n])
		g.slots, g.base, g.front = g.slots[n:], m.Index+1, nil
	}
}

func (g *replayGroup) append(rec *record, s *segment, offset int64) error {
	if rec.first > g.last+1 || rec.first <= g.mark.Index {
		return errGap
	}
	if rec.first < g.base { // all that the slots have is void, and some of what is before them
		for index := range g.front {
			if index >= rec.first {
				delete(g.front, index)
			}
		}
		g.base, g.slots = rec.first, g.slots[:0]
	}
	entries, err := rec.decode()
	if err != nil {
		return err
	}
	split := rec.first <= g.last
	g.slots = g.slots[:rec.first-g.base]
	for i := range entries {
		g.slots = append(g.slots, slot{entry: &entries[i], segment: s, offset: offset, split: split && i == 0})
	}
	g.last = rec.first + rec.count - 1
	return nil
}

func (g *replayGroup) moved(rec *record, s *segment, offset int64) error {
	if rec.first <= g.mark.Index || rec.first+rec.count-1 > g.last {
		return errGap
	}
	entries, err := rec.decode()
	if err != nil {
		return err
	}
	for i := range entries {
		index := rec.first + uint64(i)
		if index >= g.base {
			g.slots[index-g.base] = slot{entry: &entries[i], segment: s, offset: offset}
			continue
		}
		if g.front == nil {
			g.front = map[uint64]slot{}
		}
		g.front[index] = slot{entry: &entries[i], segment: s, offset: offset}
	}
	return nil
}

func (g *replayGroup) at(index uint64) slot {
	if index >= g.base {
		return g.slots[index-g.base]
	}
	return g.front[index]
}

// check reports entries that are nowhere.
func (g *replayGroup) check(dir string) error {
	for index := g.mark.Index + 1; index <= g.last; index++ {
		if g.at(index).entry == nil { // the first one that is missing ends this, however many there are
			return damaged(dir, 0, "entries of group %d from %d on are in none of the files: one is missing", g.id, index)
		}
	}
	return nil
}
