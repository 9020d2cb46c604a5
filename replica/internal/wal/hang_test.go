package wal_test

import (
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// slow is a file system on which something waits: syncs, or the opening of files.
type slow struct {
	disk.FS
	sync, open, remove atomic.Pointer[chan struct{}]
}

type slowFile struct {
	disk.File
	s *slow
}

func wait(gate *atomic.Pointer[chan struct{}]) {
	if g := gate.Load(); g != nil {
		<-*g
	}
}

func (s *slow) Create(name string) (disk.File, error) {
	f, err := s.FS.Create(name)
	return slowFile{f, s}, err
}

func (s *slow) Open(name string) (disk.File, error) {
	wait(&s.open)
	f, err := s.FS.Open(name)
	return slowFile{f, s}, err
}

func (s *slow) Remove(name string) error {
	wait(&s.remove)
	return s.FS.Remove(name)
}

func (f slowFile) Sync() error {
	wait(&f.s.sync)
	return f.File.Sync()
}

// in fails if f does not return soon.
func in(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s waits", what)
	}
}

// TestStatsDoNotWaitForTheDisk: whoever looks at a host wants to see that its disk hangs, not to hang with it.
func TestStatsDoNotWaitForTheDisk(t *testing.T) {
	fs := &slow{FS: disk.NewSim(1)}
	l := open(t, fs, wal.Config{})
	gate := make(chan struct{})
	fs.sync.Store(&gate)
	done := make(chan error, 1)
	go func() { done <- l.Append([]wal.Update{{Group: 1, Entries: commands(1, 1, 10)}}) }()
	for l.TryLock() { // until Append has it
		time.Sleep(time.Millisecond) //nolint:forbidigo // real files and goroutines
	}
	in(t, "Stats", func() { l.Stats() })
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if l.Stats().Live == 0 {
		t.Error("nothing is counted")
	}
}

// TestLoadHoldsUpNobody: a group that is read from the files does not keep others from writing, and its segments stay
// until it is done.
func TestLoadHoldsUpNobody(t *testing.T) {
	fs := &slow{FS: disk.NewSim(1)}
	l := open(t, fs, wal.Config{SegmentBytes: 4 << 10})
	mustAppend(t, l, wal.Update{Group: 1, Entries: commands(1, 1, 10)})
	gate := make(chan struct{})
	fs.open.Store(&gate)
	type loaded struct {
		r   wal.Restored
		err error
	}
	done := make(chan loaded, 1)
	go func() {
		r, err := l.Load(1)
		done <- loaded{r, err}
	}()
	for !l.Pinned() {
		time.Sleep(time.Millisecond) //nolint:forbidigo // real goroutines
	}
	fs.open.Store(nil)
	in(t, "Append", func() {
		mustAppend(t, l, wal.Update{Group: 1, Mark: &wal.Mark{Index: 10, Term: 1}, HardState: &raftpb.HardState{}})
		for i := range uint64(300) {
			mustAppend(t, l, wal.Update{Group: 2, Entries: commands(1+i, 1, 1), Mark: &wal.Mark{Index: i, Term: 1}})
		}
	})
	before := l.Stats().Segments
	close(gate)
	if got := <-done; got.err != nil || len(got.r.Entries) != 10 {
		t.Fatalf("%d entries, %v", len(got.r.Entries), got.err)
	}
	mustAppend(t, l, wal.Update{Group: 2, Entries: commands(301, 1, 1)})
	if after := l.Stats().Segments; after >= before {
		t.Errorf("%d segments after it, %d before", after, before)
	}
}

// TestRemovingManySegmentsHoldsUpNobody: a group with a large log has saved a snapshot, and to remove what nobody needs any
// more takes long.
func TestRemovingManySegmentsHoldsUpNobody(t *testing.T) {
	sim := disk.NewSim(1)
	fs := &slow{FS: sim}
	l := open(t, fs, wal.Config{SegmentBytes: 4 << 10})
	step := l.Step()
	for i := range uint64(300) {
		mustAppend(t, l, wal.Update{Group: 1, Entries: commands(1+i, 1, 1)})
	}
	gate := make(chan struct{})
	fs.remove.Store(&gate)
	mustAppend(t, l, wal.Update{Group: 1, Mark: &wal.Mark{Index: 300, Term: 1}})
	if n := l.Stats().Segments; n != 1 {
		t.Fatalf("%d segments are needed", n)
	}
	before := files(t, sim)
	done := make(chan struct{})
	go func() {
		for step() {
		}
		close(done)
	}()
	in(t, "Append", func() { mustAppend(t, l, wal.Update{Group: 1, Entries: commands(301, 1, 10)}) })
	close(gate)
	<-done
	if after := files(t, sim); after != 3 || before < 5 {
		t.Errorf("%d files after it, %d before", after, before)
	}
	l.Close()
	l = open(t, fs, wal.Config{SegmentBytes: 4 << 10})
	if r, err := l.Load(1); err != nil || len(r.Entries) != 10 {
		t.Errorf("%d entries, %v", len(r.Entries), err)
	}
}

// files is how many segments and spare files there are.
func files(t *testing.T, fs disk.FS) (n int) {
	t.Helper()
	list, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Name != "LOCK" {
			n++
		}
	}
	return n
}
