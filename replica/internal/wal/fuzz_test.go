package wal

import (
	"bytes"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

func fuzzConfig() Config {
	return Config{SegmentBytes: minSegmentBytes, Rand: func() uint64 { return 7 }}
}

// sample is a log of a few segments, and the names of its files.
func sample(f *testing.F) (sim *disk.Sim, names []string) {
	sim = disk.NewSim(1)
	l, err := Open(sim, "wal", fuzzConfig())
	if err != nil {
		f.Fatal(err)
	}
	defer l.Close()
	for i := range uint64(30) {
		index, term := i+1, uint64(1)
		u := Update{Group: 1 + i%2, Meta: []byte("meta"), HardState: &raftpb.HardState{Term: &term, Vote: &index}}
		if i%2 == 0 {
			index = i/2 + 1
			u.Entries = []*raftpb.Entry{{Index: &index, Term: &term, Data: bytes.Repeat([]byte{byte(i)}, 600)}}
		}
		if i == 20 {
			u.Mark = &Mark{Index: 5, Term: 1}
		}
		if err := l.Append([]Update{u}); err != nil {
			f.Fatal(err)
		}
	}
	files, _ := sim.List("wal")
	for _, file := range files {
		names = append(names, file.Name)
	}
	return sim, names
}

func contents(f *testing.F, sim *disk.Sim, name string) []byte {
	file, err := sim.Open(filepath.Join("wal", name))
	if err != nil {
		f.Fatal(err)
	}
	size, _ := file.Size()
	b := make([]byte, size)
	file.ReadAt(b, 0)
	return b
}

// usable checks that a log which opens is one: it can be read, written, and read again.
func usable(t *testing.T, sim *disk.Sim) {
	l, err := Open(sim, "wal", fuzzConfig())
	if err != nil {
		return
	}
	state := func(l *Log) (out []Restored) {
		for _, id := range l.Groups() {
			r, err := l.Load(id)
			if err != nil {
				t.Fatalf("load %d of a log that was opened: %v", id, err)
			}
			out = append(out, r)
		}
		return out
	}
	was := state(l)
	term := uint64(9)
	if err := l.Append([]Update{{Group: 99, HardState: &raftpb.HardState{Term: &term}}}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if l, err = Open(sim, "wal", fuzzConfig()); err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	defer l.Close()
	if is := state(l); len(is) < len(was) {
		t.Fatalf("%d groups, then %d", len(was), len(is))
	}
}

// FuzzOpen has Open read any file as the last segment.
func FuzzOpen(f *testing.F) {
	sim, names := sample(f)
	last := names[len(names)-1]
	good := contents(f, sim, last)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(good[:segmentHeaderBytes])
	f.Add([]byte{})
	for at := 0; at < 1000; at += 61 {
		b := bytes.Clone(good)
		b[at] ^= 0x21
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := sim.Clone(1)
		file, err := c.Create(filepath.Join("wal", last))
		if err != nil {
			t.Fatal(err)
		}
		file.WriteAt(b, 0)
		usable(t, c)
	})
}

// FuzzRecords has Open read any records, in frames whose checksums are right: of two kinds, since the last frame of a log
// takes another way.
func FuzzRecords(f *testing.F) {
	var w frameWriter
	index, term := uint64(1), uint64(1)
	w.meta(1, []byte("meta"))
	w.entries(recordEntries, 1, []*raftpb.Entry{{Index: &index, Term: &term, Data: []byte("data")}})
	w.hardState(1, hardState{known: true, term: 1})
	f.Add(w.buf, []byte{recordDrop, 1})
	f.Add(w.buf, w.buf)
	w = frameWriter{}
	w.mark(1, Mark{Index: 1 << 62, Term: 3}, false)
	w.entries(recordMoved, 1, []*raftpb.Entry{{Index: &index, Term: &term, Data: []byte("data")}})
	f.Add(w.buf, w.buf)
	w = frameWriter{}
	w.state(&group{id: 5, last: 1 << 62, mark: Mark{Index: 3}})
	f.Add(w.buf, []byte{recordOpen, 0})
	f.Add([]byte{recordEntries, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xf, 1, 0, 0, 0, 0}, []byte{0xff})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		sim := disk.NewSim(1)
		l, err := Open(sim, "wal", fuzzConfig())
		if err != nil {
			t.Fatal(err)
		}
		for _, payload := range [][]byte{first, second} {
			if len(payload) == 0 {
				continue
			}
			frame := frameWriter{buf: append(make([]byte, frameHeaderBytes), payload...)}
			if err := l.write(&frame); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		usable(t, sim)
	})
}
