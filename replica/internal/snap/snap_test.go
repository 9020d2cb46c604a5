package snap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/data/snap"

// small has several chunks and syncs in a kilobyte.
func small(seed uint64) snap.Config {
	return snap.Config{ChunkBytes: 100, SyncBytes: 300, Rand: rand.New(rand.NewPCG(seed, 7)).Uint64}
}

func open(t testing.TB, fs disk.FS) *snap.Store {
	t.Helper()
	s, err := snap.Open(fs, dir, small(1))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// write makes a snapshot, in pieces that do not fit the chunks.
func write(s *snap.Store, group, index uint64, b []byte) (snap.ID, error) {
	w, err := s.Create(group, index, 3)
	if err != nil {
		return snap.ID{}, err
	}
	defer w.Abort()
	for len(b) > 0 {
		n := min(len(b), 37)
		if _, err := w.Write(b[:n]); err != nil {
			return snap.ID{}, err
		}
		b = b[n:]
	}
	return w.ID(), w.Commit()
}

func mustWrite(t *testing.T, s *snap.Store, group, index uint64, b []byte) snap.ID {
	t.Helper()
	id, err := write(s, group, index, b)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func read(s *snap.Store, id snap.ID) ([]byte, error) {
	r, err := s.Open(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err == nil && r.Size() != int64(len(b)) {
		err = fmt.Errorf("size %d of %d", r.Size(), len(b))
	}
	return b, err
}

func reason(err error) string {
	if e := (*failure.Error)(nil); errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	s := open(t, disk.NewSim(1))
	for i, n := range []int{0, 1, 99, 100, 101, 200, 5000} {
		id := mustWrite(t, s, 9, uint64(i+1), content(n))
		if b, err := read(s, id); err != nil || !bytes.Equal(b, content(n)) {
			t.Fatalf("%d bytes: %d came back, %v", n, len(b), err)
		}
	}
}

// TestWhatTheLogStandsOnStays: however many newer and older ones there are.
func TestWhatTheLogStandsOnStays(t *testing.T) {
	fs := disk.NewSim(1)
	s := open(t, fs)
	var ids []snap.ID
	for index := uint64(1); index <= 6; index++ {
		ids = append(ids, mustWrite(t, s, 9, index*10, content(300)))
	}
	other := mustWrite(t, s, 10, 5, content(10))
	if got := s.List(9); len(got) != 6 {
		t.Fatalf("something went that the log may stand on: %v", got)
	}
	s.Retain(9, 40, 3)
	for range 2 { // and after opening again
		if got, want := s.List(9), []snap.ID{ids[5], ids[4], ids[3], ids[2]}; !slices.Equal(got, want) {
			t.Fatalf("%v, not %v", got, want)
		}
		if got := s.Groups(); !slices.Equal(got, []uint64{9, 10}) {
			t.Fatalf("groups %v", got)
		}
		if files, _ := fs.List(dir); len(files) != 5 {
			t.Fatalf("files %v", files)
		}
		s = open(t, fs)
	}
	if err := s.Remove(ids[5]); err != nil {
		t.Fatal(err)
	}
	s.Retain(9, 70, 3) // which is not there
	if got, want := s.List(9), []snap.ID{ids[4], ids[3]}; !slices.Equal(got, want) {
		t.Fatalf("%v, not %v", got, want)
	}
	if err := s.Drop(9); err != nil {
		t.Fatal(err)
	}
	if len(s.List(9)) != 0 || len(s.List(10)) != 1 || s.List(10)[0] != other {
		t.Fatalf("after drop: %v %v", s.List(9), s.List(10))
	}
}

func TestAReaderOutlivesRetirement(t *testing.T) {
	s := open(t, disk.NewSim(1))
	id := mustWrite(t, s, 9, 1, content(1000))
	r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for index := uint64(2); index < 5; index++ {
		mustWrite(t, s, 9, index, content(10))
	}
	s.Retain(9, 4, 3)
	if _, err := s.Open(id); err == nil {
		t.Fatal("it is still there")
	}
	if b, err := io.ReadAll(r); err != nil || len(b) != 1000 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
}

// TestEveryDamagedByteIsFound flips each byte of a file, one at a time, and cuts it at each length.
func TestEveryDamagedByteIsFound(t *testing.T) {
	fs := disk.NewSim(1)
	s := open(t, fs)
	id := mustWrite(t, s, 9, 1, content(350))
	name := filepath.Join(dir, id.String()+".snap")
	f, _ := fs.Open(name)
	size, _ := f.Size()
	for at := range size {
		fs.Flip(name, at, 0x10)
		if b, err := read(s, id); reason(err) != snap.ReasonDamaged || !strings.Contains(err.Error(), id.String()) {
			t.Fatalf("byte %d: %d bytes, %v", at, len(b), err)
		} else if !bytes.HasPrefix(content(350), b) {
			t.Fatalf("byte %d: something wrong was handed out", at)
		}
		fs.Flip(name, at, 0x10)
	}
	whole := make([]byte, size)
	f.ReadAt(whole, 0)
	for n := range size {
		f.Truncate(n)
		if _, err := read(s, id); reason(err) != snap.ReasonDamaged {
			t.Fatalf("cut to %d: %v", n, err)
		}
		f.WriteAt(whole, 0)
	}
	if _, err := read(s, id); err != nil {
		t.Fatal(err)
	}
}

// TestCrashAtEveryOperation: a snapshot that was committed is there and right after a crash; one that was not is there
// and right, or not at all.
func TestCrashAtEveryOperation(t *testing.T) {
	run := func(fs *disk.Sim, done *[]snap.ID) error {
		s, err := snap.Open(fs, dir, small(1))
		if err != nil {
			return err
		}
		for index := range uint64(4) {
			id, err := write(s, 9, index+1, content(250+int(index)))
			if err != nil {
				return err
			}
			*done = append(*done, id)
			s.Retain(9, id.Index, id.Term)
		}
		return nil
	}
	whole := disk.NewSim(1)
	if err := run(whole, new([]snap.ID)); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= whole.Ops(); at++ {
		for seed := range uint64(8) {
			fs := disk.NewSim(seed)
			fs.CrashAt(at)
			var done []snap.ID
			if err := run(fs, &done); !errors.Is(err, disk.ErrCrashed) && !fs.Down() {
				t.Fatalf("operation %d: %v", at, err)
			}
			fs.Crash()
			s := open(t, fs)
			ids := s.List(9)
			if len(done) > 0 && (len(ids) == 0 || ids[0].Index < done[len(done)-1].Index) {
				t.Fatalf("operation %d, seed %d: %v of %v", at, seed, ids, done)
			}
			for _, id := range ids {
				if b, err := read(s, id); err != nil || !bytes.Equal(b, content(249+int(id.Index))) {
					t.Fatalf("operation %d, seed %d: %v: %d bytes, %v", at, seed, id, len(b), err)
				}
			}
			if files, _ := fs.List(dir); len(files) != len(ids) {
				t.Fatalf("operation %d, seed %d: left behind: %v", at, seed, files)
			}
			mustWrite(t, s, 9, 100, content(10))
		}
	}
}

func TestAFullDiskIsSaidAndLeavesNothing(t *testing.T) {
	fs := disk.NewSim(1)
	s := open(t, fs)
	id := mustWrite(t, s, 9, 1, content(1000))
	fs.SetCapacity(2000)
	if _, err := write(s, 9, 2, content(1000)); reason(err) != disk.ReasonFull {
		t.Fatal(err)
	}
	if _, err := s.Receive(snap.ID{Group: 9, Index: 3, Term: 1, Nonce: 1}, 5000); reason(err) != disk.ReasonFull {
		t.Fatal(err)
	}
	if files, _ := fs.List(dir); len(files) != 1 {
		t.Fatalf("left behind: %v", files)
	}
	if _, err := read(s, id); err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(1 << 40)
	mustWrite(t, s, 9, 2, content(1000))
}

func TestAFailedSyncIsNoSnapshot(t *testing.T) {
	fs := disk.NewSim(1)
	s := open(t, fs)
	for nth := 1; ; nth++ {
		n := 0
		fs.Inject(func(op disk.Op) error {
			if op.Kind == disk.OpSync || op.Kind == disk.OpSyncDir {
				if n++; n == nth {
					return syscall.EIO
				}
			}
			return nil
		})
		_, err := write(s, 9, uint64(nth), content(1000))
		if n < nth {
			break
		}
		if reason(err) != disk.ReasonFailed {
			t.Fatalf("sync %d: %v", nth, err)
		}
		if got := s.List(9); len(got) != 0 {
			t.Fatalf("sync %d: %v", nth, got)
		}
	}
}

func TestALargeFileIsGivenBackInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := disk.NewSim(1)
		s := open(t, fs)
		mustWrite(t, s, 9, 1, content(9<<20))
		for index := uint64(2); index < 5; index++ {
			mustWrite(t, s, 9, index, content(10))
		}
		var steps []string
		fs.Inject(func(op disk.Op) error {
			if slices.Contains([]disk.Kind{disk.OpTruncate, disk.OpRemove, disk.OpRename}, op.Kind) {
				steps = append(steps, fmt.Sprint(op.Kind))
			}
			return nil
		})
		begun := time.Now()
		s.Retain(9, 4, 3)
		if got := strings.Join(steps, " "); got != "rename rename remove truncate remove" {
			t.Error(got)
		}
		if time.Since(begun) == 0 {
			t.Error("at once")
		}

		// Whoever stops does not wait for it, and the next Open removes what is left.
		mustWrite(t, s, 9, 5, content(9<<20))
		mustWrite(t, s, 9, 6, content(10))
		mustWrite(t, s, 9, 7, content(10))
		s.Stop()
		begun = time.Now()
		s.Retain(9, 7, 3)
		if time.Since(begun) != 0 {
			t.Error("it takes its time though it was stopped")
		}
		open(t, fs)
		files, err := fs.List(dir)
		if err != nil || len(files) != 2 {
			t.Errorf("%v, %v", files, err)
		}
	})
}
