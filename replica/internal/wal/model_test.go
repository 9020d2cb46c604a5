package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/data/wal"

// model is what a log has to hold: the plainest thing that follows the contract of Update.
type model map[uint64]*held

type held struct {
	hard    string
	meta    []byte
	mark    wal.Mark
	entries []held1 // from mark.Index+1
}

type held1 struct {
	term uint64
	kind raftpb.EntryType
	data string
}

func (m model) clone() model {
	out := model{}
	for id, g := range m {
		c := *g
		c.entries = slices.Clone(g.entries)
		out[id] = &c
	}
	return out
}

func (m model) apply(updates []wal.Update) {
	for _, u := range updates {
		if u.Drop {
			delete(m, u.Group)
		}
		if u.Meta == nil && u.Mark == nil && u.Entries == nil && u.HardState == nil {
			continue
		}
		g := m[u.Group]
		if g == nil {
			g = &held{}
			m[u.Group] = g
		}
		if u.Meta != nil {
			g.meta = bytes.Clone(u.Meta)
		}
		if u.Mark != nil && (u.Mark.Index > g.mark.Index || u.Installed && u.Mark.Index == g.mark.Index) {
			n := u.Mark.Index - g.mark.Index
			if !u.Installed && n <= uint64(len(g.entries)) && g.entries[n-1].term == u.Mark.Term {
				g.entries = g.entries[n:]
			} else {
				g.entries = nil
			}
			g.mark = *u.Mark
		}
		for _, e := range u.Entries {
			g.entries = append(g.entries[:e.GetIndex()-g.mark.Index-1], held1{e.GetTerm(), e.GetType(), string(e.Data)})
		}
		if u.HardState != nil {
			g.hard = hard(u.HardState)
		}
	}
}

func hard(h *raftpb.HardState) string {
	if h == nil {
		return ""
	}
	return fmt.Sprint(h.GetTerm(), h.GetVote(), h.GetCommit())
}

// differs says how a log differs from what it has to hold; "" if it does not.
func (m model) differs(t *testing.T, l *wal.Log) string {
	t.Helper()
	if want, got := slices.Sorted(maps.Keys(m)), l.Groups(); !slices.Equal(got, want) {
		return fmt.Sprintf("groups %v, not %v", got, want)
	}
	for id, want := range m {
		got, err := l.Load(id)
		if err != nil {
			t.Fatalf("load %d: %v", id, err)
		}
		if hard(got.HardState) != want.hard || got.Snapshot != want.mark || !bytes.Equal(got.Meta, want.meta) {
			return fmt.Sprintf("group %d: %s %v %q, not %s %v %q", id, hard(got.HardState), got.Snapshot, got.Meta, want.hard, want.mark, want.meta)
		}
		if len(got.Entries) != len(want.entries) {
			return fmt.Sprintf("group %d: %d entries behind %v, not %d", id, len(got.Entries), got.Snapshot, len(want.entries))
		}
		for i, e := range got.Entries {
			if w := want.entries[i]; e.GetIndex() != want.mark.Index+1+uint64(i) || (held1{e.GetTerm(), e.GetType(), string(e.Data)}) != w {
				return fmt.Sprintf("group %d: entry %d is %v, not %v", id, i, e, w)
			}
		}
	}
	return ""
}

// workload makes updates that a host could make, from a seed.
type workload struct {
	rng    *rand.Rand
	m      model
	groups uint64
	serial int
}

func newWorkload(seed uint64, groups uint64) *workload {
	return &workload{rng: rand.New(rand.NewPCG(seed, 1)), m: model{}, groups: groups}
}

// next returns what to append, which is taken over in w.m as if it were written.
func (w *workload) next() []wal.Update {
	var out []wal.Update
	for range 1 + w.rng.IntN(3) {
		u := w.update(1 + w.rng.Uint64N(w.groups))
		w.m.apply([]wal.Update{u})
		out = append(out, u)
	}
	return out
}

func (w *workload) update(id uint64) wal.Update {
	g := w.m[id]
	if g == nil {
		w.serial++
		return wal.Update{Group: id, Meta: fmt.Appendf(nil, "founding %d", w.serial), HardState: w.hardState(0)}
	}
	last := g.mark.Index + uint64(len(g.entries))
	term := g.mark.Term
	if n := len(g.entries); n > 0 {
		term = g.entries[n-1].term
	}
	term = max(term, 1)
	switch p := w.rng.IntN(100); {
	case p < 3:
		return wal.Update{Group: id, Drop: true}
	case p < 5:
		return wal.Update{Group: id, Drop: true, Meta: []byte("again")}
	case p < 15 && len(g.entries) > 0 && id > 1: // compacted; group 1 hardly ever is, and so keeps old segments
		n := 1 + w.rng.IntN(len(g.entries))
		return wal.Update{Group: id, Mark: &wal.Mark{Index: g.mark.Index + uint64(n), Term: g.entries[n-1].term}}
	case p < 18 && id > 1: // received
		m := &wal.Mark{Index: max(1, last-min(last, 3)+w.rng.Uint64N(10)), Term: term + 1}
		if m.Index <= g.mark.Index {
			m.Index = last + 1
		}
		u := wal.Update{Group: id, Mark: m, Installed: w.rng.IntN(2) == 0, HardState: w.hardState(term + 1)}
		if w.rng.IntN(2) == 0 {
			u.Entries = w.entries(m.Index+1, m.Term, 2)
		}
		return u
	case p < 28:
		return wal.Update{Group: id, HardState: w.hardState(term)}
	case p < 36 && len(g.entries) > 0: // a new leader's entries in place of some
		n := min(len(g.entries), 1+w.rng.IntN(3))
		return wal.Update{Group: id, Entries: w.entries(last+1-uint64(n), term+1, 1+w.rng.IntN(3)), HardState: w.hardState(term + 1)}
	default:
		return wal.Update{Group: id, Entries: w.entries(last+1, term, 1+w.rng.IntN(4)), HardState: w.hardState(term)}
	}
}

func (w *workload) hardState(term uint64) *raftpb.HardState {
	vote, commit := w.rng.Uint64(), w.rng.Uint64N(1000)
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

func (w *workload) entries(first, term uint64, n int) (out []*raftpb.Entry) {
	for i := range n {
		w.serial++
		data := fmt.Appendf(nil, "command %d ", w.serial)
		data = append(data, bytes.Repeat([]byte{byte(w.serial)}, w.rng.IntN(200))...)
		if w.rng.IntN(10) == 0 {
			data = nil
		}
		out = append(out, entry(first+uint64(i), term, raftpb.EntryType(w.rng.IntN(3)), data))
	}
	return out
}

func entry(index, term uint64, kind raftpb.EntryType, data []byte) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Type: &kind, Data: data}
}

// config is one with segments so small that all happens often.
func config(seed uint64) wal.Config {
	return wal.Config{SegmentBytes: 4 << 10, Rand: rand.New(rand.NewPCG(seed, 2)).Uint64}
}

func open(t *testing.T, fs disk.FS, c wal.Config) *wal.Log {
	t.Helper()
	l, err := wal.Open(fs, dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func reason(err error) string {
	if e := (*failure.Error)(nil); errors.As(err, &e) {
		return e.Reason
	}
	return ""
}
