package wal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

func mustAppend(t testing.TB, l *wal.Log, updates ...wal.Update) {
	t.Helper()
	if err := l.Append(updates); err != nil {
		t.Fatal(err)
	}
}

// commands are n entries of 20 bytes.
func commands(first, term uint64, n int) (out []*raftpb.Entry) {
	for i := range n {
		out = append(out, entry(first+uint64(i), term, raftpb.EntryNormal, fmt.Appendf(nil, "%020d", first+uint64(i))))
	}
	return out
}

func TestAnAppendIsOneWriteAndOneSync(t *testing.T) {
	sim := disk.NewSim(1)
	l := open(t, sim, wal.Config{})
	var ops []disk.Kind
	sim.Inject(func(op disk.Op) error { ops = append(ops, op.Kind); return nil })
	var updates []wal.Update
	for group := range uint64(50) {
		updates = append(updates, wal.Update{Group: group, Meta: []byte("m"), Entries: commands(1, 1, 20), HardState: &raftpb.HardState{}})
	}
	mustAppend(t, l, updates...)
	if !slices.Equal(ops, []disk.Kind{disk.OpWrite, disk.OpSync}) {
		t.Fatalf("%v", ops)
	}
}

// TestNothingIsNotWritten: updates with nothing in them leave no frame, which the next Open would take for damage.
func TestNothingIsNotWritten(t *testing.T) {
	sim := disk.NewSim(1)
	l := open(t, sim, wal.Config{})
	mustAppend(t, l, wal.Update{Group: 1, Entries: commands(1, 1, 10), Mark: &wal.Mark{Index: 0}})
	mustAppend(t, l, wal.Update{Group: 1, Mark: &wal.Mark{Index: 5, Term: 1}})
	before := l.Stats()
	mustAppend(t, l, wal.Update{Group: 1}, wal.Update{Group: 2})
	mustAppend(t, l, wal.Update{Group: 1, Mark: &wal.Mark{Index: 3, Term: 1}}) // below the mark before
	if after := l.Stats(); after != before {
		t.Fatalf("%+v, and before %+v", after, before)
	}
	mustAppend(t, l, wal.Update{Group: 1, Entries: commands(11, 1, 1)})
	l.Close()
	if r, err := open(t, sim, wal.Config{}).Load(1); err != nil || len(r.Entries) != 6 || r.Snapshot.Index != 5 {
		t.Fatalf("%v, %v", r, err)
	}
}

// TestReadAgain: what Load gives the second time, from the files, is what it gave the first time.
func TestReadAgain(t *testing.T) {
	for seed := range uint64(5) {
		sim, w := disk.NewSim(seed), newWorkload(seed, 4)
		l := open(t, sim, config(seed))
		for range 200 {
			mustAppend(t, l, w.next()...)
		}
		if diff := w.m.differs(t, l); diff != "" {
			t.Fatalf("seed %d: while it runs: %s", seed, diff)
		}
		l.Close()
		l = open(t, sim, config(seed+1))
		for range 2 {
			if diff := w.m.differs(t, l); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
		}
		if r, err := l.Load(77); err != nil || r.Entries != nil || r.HardState != nil || r.Meta != nil {
			t.Fatalf("of a group that is none: %v, %v", r, err)
		}
	}
}

// TestAGroupThatHardlyWritesKeepsNoSegments: the space stays in proportion to what is needed.
func TestAGroupThatHardlyWritesKeepsNoSegments(t *testing.T) {
	sim := disk.NewSim(1)
	l := open(t, sim, config(1))
	mustAppend(t, l, wal.Update{Group: 1, Meta: []byte("quiet"), Entries: commands(1, 1, 10), HardState: &raftpb.HardState{}})
	most := int64(0)
	for i := range uint64(3000) {
		mustAppend(t, l, wal.Update{Group: 2, Entries: commands(i*3+1, 1, 3)})
		if i%20 == 19 {
			mustAppend(t, l, wal.Update{Group: 2, Mark: &wal.Mark{Index: i*3 - 5, Term: 1}})
		}
		s := l.Stats()
		if most = max(most, s.Bytes); s.Bytes > 2*s.Live+6*4096 || s.Segments > 12 {
			t.Fatalf("after %d appends: %+v", i, s)
		}
	}
	if s := l.Stats(); s.Written > 3*3000*100 {
		t.Fatalf("most of the writing is moving: %+v", s)
	}
	l.Close()
	var all int64
	files, _ := sim.List(dir)
	for _, f := range files {
		all += f.Size
	}
	if all > 10*4096 {
		t.Fatalf("%d bytes in %v", all, files)
	}
	l = open(t, sim, config(2))
	r, err := l.Load(1)
	if err != nil || len(r.Entries) != 10 || string(r.Entries[9].Data) != fmt.Sprintf("%020d", 10) || string(r.Meta) != "quiet" {
		t.Fatalf("%v, %v", r, err)
	}
}

// TestRestartsTakeNoSpace: a process that ends soon after each start does not fill the disk.
func TestRestartsTakeNoSpace(t *testing.T) {
	sim := disk.NewSim(1)
	for i := range uint64(100) {
		l := open(t, sim, config(i))
		if i == 0 {
			mustAppend(t, l, wal.Update{Group: 1, Entries: commands(1, 1, 50)})
		}
		term := i
		mustAppend(t, l, wal.Update{Group: 1, HardState: &raftpb.HardState{Term: &term}})
		l.Close()
	}
	files, _ := sim.List(dir)
	if len(files) > 14 {
		t.Fatalf("%v", files)
	}
	if r, err := open(t, sim, config(1)).Load(1); err != nil || len(r.Entries) != 50 || r.HardState.GetTerm() != 99 {
		t.Fatalf("%v, %v", r, err)
	}
}

func TestALogIsForOneProcess(t *testing.T) {
	sim := disk.NewSim(1)
	l := open(t, sim, config(1))
	if _, err := wal.Open(sim, dir, config(2)); reason(err) != wal.ReasonInUse || !errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	l.Close()
	if err := l.Append([]wal.Update{{Group: 1}}); err == nil {
		t.Fatal("appended to a closed log")
	}
	open(t, sim, wal.Config{})
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	for what, u := range map[string]wal.Update{
		"a gap":             {Group: 1, Entries: commands(7, 1, 1)},
		"behind the mark":   {Group: 1, Entries: commands(3, 1, 1)},
		"a gap among them":  {Group: 1, Entries: []*raftpb.Entry{entry(6, 1, 0, nil), entry(8, 1, 0, nil)}},
		"the first is a 2":  {Group: 2, Entries: commands(2, 1, 1)},
		"too long a record": {Group: 1, Meta: make([]byte, 65<<10)},
	} {
		sim := disk.NewSim(1)
		l := open(t, sim, config(1))
		mustAppend(t, l, wal.Update{Group: 1, Mark: &wal.Mark{Index: 4, Term: 1}, Entries: commands(5, 1, 1)})
		if err := l.Append([]wal.Update{u}); err == nil {
			t.Fatalf("%s: accepted", what)
		}
		l.Close()
		if r, err := open(t, sim, config(1)).Load(1); err != nil || r.Snapshot.Index != 4 || len(r.Entries) != 1 {
			t.Fatalf("%s: %v, %v", what, r, err)
		}
	}
}

// TestALargeAppendGetsALargeSegment: what may be written may be read.
func TestALargeAppendGetsALargeSegment(t *testing.T) {
	sim := disk.NewSim(1)
	l := open(t, sim, config(1))
	big := make([]byte, 100<<10)
	for i := range uint64(3) {
		mustAppend(t, l, wal.Update{Group: 1, Entries: []*raftpb.Entry{entry(i+1, 1, 0, big)}})
	}
	l.Close()
	if r, err := open(t, sim, config(2)).Load(1); err != nil || len(r.Entries) != 3 || len(r.Entries[2].Data) != len(big) {
		t.Fatalf("%v", err)
	}
}

// TestAFullDisk: the log says so, writes nothing more, and with room again everything that was acknowledged is there.
func TestAFullDisk(t *testing.T) {
	for seed := range uint64(3) {
		for capacity := int64(9 << 10); capacity < 40<<10; capacity += 1733 {
			sim, w := disk.NewSim(seed), newWorkload(seed, 4)
			w.m = model{}
			sim.SetCapacity(capacity)
			l := open(t, sim, config(seed))
			have, err := appendUntil(l, w, 2000)
			if err == nil {
				continue // compacted often enough to fit
			}
			if reason(err) != wal.ReasonDiskFull || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("capacity %d: %v", capacity, err)
			}
			ops := sim.Ops()
			if again := l.Append([]wal.Update{{Group: 1, HardState: &raftpb.HardState{}}}); !errors.Is(again, err) || sim.Ops() != ops {
				t.Fatalf("capacity %d: went on after an error: %v", capacity, again)
			}
			l.Close()
			if l, err := wal.Open(sim, dir, config(seed)); err == nil {
				l.Close() // a spare file may have been there
			} else if reason(err) != wal.ReasonDiskFull {
				t.Fatalf("capacity %d: %v", capacity, err)
			}
			sim.SetCapacity(1 << 40)
			sim.Crash()
			l = open(t, sim, config(seed+7))
			if diff := have.differs(t, l); diff != "" {
				t.Fatalf("capacity %d: %s", capacity, diff)
			}
			w.m = have
			for range 50 {
				mustAppend(t, l, w.next()...)
			}
		}
	}
}

// appendUntil writes until an error, and returns what was acknowledged before it.
func appendUntil(l *wal.Log, w *workload, n int) (have model, err error) {
	for range n {
		have = w.m.clone()
		if err := l.Append(w.next()); err != nil {
			return have, err
		}
	}
	return have, nil
}

// TestAFailedWriteOrSyncIsFinal: each operation in turn fails. Nothing is written after it; what was acknowledged is there
// when the log is opened again by a new process; and what that one has seen stays when the power fails then, though the
// failed sync has left it in memory alone.
func TestAFailedWriteOrSyncIsFinal(t *testing.T) {
	const appends = 50
	whole := disk.NewSim(1)
	l := open(t, whole, config(1))
	if _, err := appendUntil(l, newWorkload(1, 4), appends); err != nil {
		t.Fatal(err)
	}
	for nth := 1; nth <= whole.Ops(); nth++ {
		for _, short := range []bool{false, true} {
			sim, w := disk.NewSim(uint64(nth)), newWorkload(1, 4)
			failed := false
			sim.Inject(func(op disk.Op) error {
				if failed && op.N > 0 {
					t.Errorf("operation %d failed, and then: %v", nth, op)
				}
				if op.N != nth {
					return nil
				}
				failed = true
				if short && op.Kind == disk.OpWrite {
					return disk.ShortError{N: op.Bytes / 2, Err: syscall.EIO}
				}
				return syscall.EIO
			})
			have := model{}
			l, err := wal.Open(sim, dir, config(1))
			if err == nil {
				have, err = appendUntil(l, w, appends)
				if again := l.Append([]wal.Update{{Group: 1, HardState: &raftpb.HardState{}}}); again == nil {
					t.Fatalf("operation %d failed and an append succeeded", nth)
				}
			}
			if reason(err) != wal.ReasonDiskFailed || !errors.Is(err, syscall.EIO) {
				t.Fatalf("operation %d: %v", nth, err)
			}
			want := w.m.clone()
			sim.Inject(nil)
			sim.Kill()
			l = open(t, sim, config(2))
			seen := have
			if diff := have.differs(t, l); diff != "" {
				if diff := want.differs(t, l); diff != "" {
					t.Fatalf("operation %d: %s", nth, diff)
				}
				seen = want
			}
			sim.Crash()
			l = open(t, sim, config(3))
			if diff := seen.differs(t, l); diff != "" {
				t.Fatalf("operation %d: what the next process saw is gone: %s", nth, diff)
			}
		}
	}
}

func TestAnUnreadableDiskChangesNothing(t *testing.T) {
	sim, w := disk.NewSim(1), newWorkload(1, 4)
	l := open(t, sim, config(1))
	for range 200 {
		mustAppend(t, l, w.next()...)
	}
	l.Close()
	for nth := 1; ; nth++ {
		c, n, ops := sim.Clone(1), 0, 0
		c.Inject(func(op disk.Op) error {
			if op.N > 1 { // the first makes the directory
				ops++
			}
			if op.Kind == disk.OpRead || op.Kind == disk.OpOpen || op.Kind == disk.OpList {
				if n++; n == nth {
					return syscall.EIO
				}
			}
			return nil
		})
		l, err := wal.Open(c, dir, config(2))
		if err == nil {
			l.Close()
			if n >= nth {
				t.Fatalf("read %d failed, and nobody said so", nth)
			}
			if nth < 5 {
				t.Fatalf("only %d reads", nth)
			}
			return
		}
		if reason(err) != wal.ReasonDiskFailed || ops > 0 && n < nth {
			t.Fatalf("read %d: %v, %d changes", nth, err, ops)
		}
	}
}

// TestDamageIsNeverCutOff flips a bit of every fifth byte in turn. What was durable is missed by name, except at the very
// end: the last append may look as if it had never been complete.
func TestDamageIsNeverCutOff(t *testing.T) {
	sim, w := disk.NewSim(1), newWorkload(3, 3)
	l := open(t, sim, config(1))
	var before model
	for range 30 {
		before = w.m.clone()
		mustAppend(t, l, w.next()...)
	}
	l.Close()
	files, err := sim.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	segments, cut := 0, 0
	for i, f := range files {
		if !strings.HasSuffix(f.Name, ".wal") {
			continue
		}
		segments++
		for at := int64(0); at < f.Size; at += 5 {
			c := sim.Clone(1)
			c.Flip(filepath.Join(dir, f.Name), at, 1<<(at/5%8))
			l, err := wal.Open(c, dir, config(2))
			if err != nil {
				if reason(err) != wal.ReasonDamaged || !strings.Contains(err.Error(), f.Name) && i == len(files)-1 {
					t.Fatalf("%s, byte %d: %v", f.Name, at, err)
				}
				continue
			}
			if diff := w.m.differs(t, l); diff != "" {
				if diff := before.differs(t, l); diff != "" {
					t.Fatalf("%s, byte %d: %s", f.Name, at, diff)
				}
				cut++
			}
			l.Close()
		}
	}
	if segments < 2 || cut == 0 || cut > 4096 {
		t.Fatalf("%d segments, cut %d times", segments, cut)
	}
}

func TestAMissingSegmentIsMissed(t *testing.T) {
	sim := disk.NewSim(1)
	l := open(t, sim, config(1))
	for i := range uint64(40) {
		mustAppend(t, l, wal.Update{Group: 1, Entries: commands(i*10+1, 1, 10)})
	}
	l.Close()
	files, _ := sim.List(dir)
	for _, f := range files[:len(files)-1] {
		c := sim.Clone(1)
		if err := c.Remove(filepath.Join(dir, f.Name)); err != nil {
			t.Fatal(err)
		}
		if _, err := wal.Open(c, dir, config(2)); reason(err) != wal.ReasonDamaged || !strings.Contains(err.Error(), "missing") {
			t.Fatalf("without %s: %v", f.Name, err)
		}
	}
}

// TestRealFiles runs the same over the file system of this machine, with the goroutine that prepares files.
func TestRealFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "wal")
	w := newWorkload(5, 4)
	for i := range 4 {
		l, err := wal.Open(disk.OS(), path, wal.Config{SegmentBytes: 16 << 10, Ahead: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := w.m.differs(t, l); diff != "" {
			t.Fatalf("start %d: %s", i, diff)
		}
		if _, err := wal.Open(disk.OS(), path, wal.Config{}); reason(err) != wal.ReasonInUse {
			t.Fatalf("opened twice: %v", err)
		}
		for range 100 {
			mustAppend(t, l, w.next()...)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := disk.OS().Open(filepath.Join(path, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestAnEarlierLifeOfAGroupStaysGone: a group that was dropped and founded again has the same indexes and terms in one
// segment twice; what is moved on and what is read are those of its second life.
func TestAnEarlierLifeOfAGroupStaysGone(t *testing.T) {
	sim := disk.NewSim(1)
	l := open(t, sim, config(1))
	life := func(name string) (out []*raftpb.Entry) {
		for i := range uint64(3) {
			out = append(out, entry(i+1, 1, raftpb.EntryNormal, []byte(name)))
		}
		return out
	}
	mustAppend(t, l, wal.Update{Group: 1, Entries: life("first")})
	mustAppend(t, l, wal.Update{Group: 1, Drop: true, Entries: life("second")})
	check := func() {
		t.Helper()
		r, err := l.Load(1)
		if err != nil || len(r.Entries) != 3 || string(r.Entries[0].Data) != "second" || string(r.Entries[2].Data) != "second" {
			t.Fatalf("%v, %v", r.Entries, err)
		}
	}
	check()
	for i := range uint64(500) {
		mustAppend(t, l, wal.Update{Group: 2, Entries: commands(i*10+1, 1, 10), Mark: &wal.Mark{Index: i * 10, Term: 1}})
	}
	check()
	l.Close()
	l = open(t, sim, config(2))
	check()
	check()
}
