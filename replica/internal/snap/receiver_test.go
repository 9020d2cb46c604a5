package snap_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
)

// file returns the bytes of a snapshot's file as a sender sends them.
func file(t testing.TB, s *snap.Store, id snap.ID) []byte {
	t.Helper()
	raw, err := s.Raw(id)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	b := make([]byte, raw.Size())
	if _, err := raw.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReceive(t *testing.T) {
	from, to := open(t, disk.NewSim(1)), open(t, disk.NewSim(2))
	id := mustWrite(t, from, 9, 5, content(1234))
	b := file(t, from, id)
	r, err := to.Receive(id, int64(len(b)))
	if err != nil || r.Offset() != 0 {
		t.Fatal(err)
	}
	for at := 0; at < len(b); at += 41 {
		if _, err := r.Write(b[at:min(at+41, len(b))]); err != nil {
			t.Fatal(err)
		}
	}
	if got := to.List(9); len(got) != 0 {
		t.Fatal("it counts before it was committed")
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, err := read(to, id); err != nil || !bytes.Equal(got, content(1234)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if !bytes.Equal(file(t, to, id), b) {
		t.Fatal("the file is another one")
	}
}

// TestReceiveAcrossCrashes stops the receiver in every operation and has it go on until the snapshot is there; then the
// power fails once more.
func TestReceiveAcrossCrashes(t *testing.T) {
	from := open(t, disk.NewSim(1))
	id := mustWrite(t, from, 9, 5, content(1500))
	b := file(t, from, id)
	run := func(fs *disk.Sim) (resumed int64, err error) {
		s, err := snap.Open(fs, dir, small(3))
		if err != nil {
			return 0, err
		}
		if len(s.List(9)) > 0 {
			return 0, nil
		}
		r, err := s.Receive(id, int64(len(b)))
		if err != nil {
			return 0, err
		}
		defer r.Close()
		resumed = r.Offset()
		for at := resumed; at < int64(len(b)); at += 60 {
			if _, err := r.Write(b[at:min(at+60, int64(len(b)))]); err != nil {
				return resumed, err
			}
		}
		return resumed, r.Commit()
	}
	whole := disk.NewSim(1)
	if _, err := run(whole); err != nil {
		t.Fatal(err)
	}
	var saved int64
	for seed := range uint64(6) {
		for at := 1; at <= whole.Ops(); at++ {
			fs := disk.NewSim(seed)
			for step := at; ; step += 3 {
				fs.CrashAt(fs.Ops() + step)
				n, err := run(fs)
				saved += n
				if err == nil {
					break
				}
				if !errors.Is(err, disk.ErrCrashed) {
					t.Fatalf("seed %d, operation %d: %v", seed, at, err)
				}
				if (at+step)%2 == 0 {
					fs.Kill()
				} else {
					fs.Crash()
				}
			}
			fs.Crash()
			if got, err := read(open(t, fs), id); err != nil || !bytes.Equal(got, content(1500)) {
				t.Fatalf("seed %d, operation %d: %d bytes, %v", seed, at, len(got), err)
			}
		}
	}
	if saved == 0 {
		t.Fatal("nothing was ever resumed")
	}
}

// TestAFailedSyncIsNotForgottenByResuming: what a failed sync left in memory alone is written again.
func TestAFailedSyncIsNotForgottenByResuming(t *testing.T) {
	from := open(t, disk.NewSim(1))
	id := mustWrite(t, from, 9, 5, content(1500))
	b := file(t, from, id)
	for seed := range uint64(20) {
		fs := disk.NewSim(seed)
		s := open(t, fs)
		r, err := s.Receive(id, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		fs.Inject(func(op disk.Op) error {
			if op.Kind == disk.OpSync {
				return syscall.EIO
			}
			return nil
		})
		if _, err := r.Write(b[:1200]); reason(err) != disk.ReasonFailed {
			t.Fatal(err)
		}
		r.Close()
		fs.Inject(nil)
		if r, err = s.Receive(id, int64(len(b))); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write(b[r.Offset():]); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
		fs.Crash()
		if _, err := read(open(t, fs), id); err != nil {
			t.Fatalf("seed %d: acknowledged, and gone with the power: %v", seed, err)
		}
	}
}

func TestReceiveRefusesWhatIsWrong(t *testing.T) {
	from, fs := open(t, disk.NewSim(1)), disk.NewSim(2)
	to := open(t, fs)
	id := mustWrite(t, from, 9, 5, content(350))
	b := file(t, from, id)
	refused := func(what string, id snap.ID, b []byte, size int64) {
		t.Helper()
		r, err := to.Receive(id, size)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, werr := r.Write(b)
		if err := r.Commit(); reason(err) != snap.ReasonDamaged || werr != nil && reason(werr) != snap.ReasonDamaged {
			t.Fatalf("%s: %v, %v", what, werr, err)
		}
		if files, _ := fs.List(dir); len(files) != 0 {
			t.Fatalf("%s: left behind: %v", what, files)
		}
	}
	for at := range b {
		bad := bytes.Clone(b)
		bad[at] ^= 4
		refused(fmt.Sprintf("byte %d", at), id, bad, int64(len(b)))
	}
	refused("cut off", id, b[:len(b)-1], int64(len(b)))
	refused("shorter than announced", id, b, int64(len(b))+1)
	refused("longer than announced", id, b, int64(len(b))-1)
	other := id
	other.Nonce++
	refused("another one's bytes", other, b, int64(len(b)))
	if _, err := to.Receive(id, 3); err == nil {
		t.Fatal("3 bytes are no snapshot")
	}
}

func TestReceivingAnotherOneForgetsTheFirst(t *testing.T) {
	fs := disk.NewSim(1)
	s := open(t, fs)
	for index := range uint64(3) {
		r, err := s.Receive(snap.ID{Group: 9, Index: index, Term: 1, Nonce: 1}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	r, err := s.Receive(snap.ID{Group: 8, Index: 1, Term: 1, Nonce: 1}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if files, _ := fs.List(dir); len(files) != 2 {
		t.Fatalf("%v", files)
	}
	if err := s.Drop(9); err != nil {
		t.Fatal(err)
	}
	if files, _ := fs.List(dir); len(files) != 1 {
		t.Fatalf("%v", files)
	}
}

// FuzzFile has a receiver and a reader take any bytes: they end in an error or give what was written, and never more
// memory than a chunk.
func FuzzFile(f *testing.F) {
	s := open(f, disk.NewSim(1))
	id, err := write(s, 9, 5, content(350))
	if err != nil {
		f.Fatal(err)
	}
	good := file(f, s, id)
	f.Add(good)
	f.Add(good[:60])
	f.Add([]byte("HFSNAPv1"))
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		b := bytes.Clone(good)
		b[rng.IntN(len(b))] ^= byte(1 + rng.IntN(255))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := disk.NewSim(1)
		s := open(t, fs)
		if r, err := s.Receive(id, int64(len(b))); err == nil {
			_, werr := r.Write(b)
			if err := r.Commit(); (err == nil) != (werr == nil && bytes.Equal(b, good)) {
				t.Fatalf("%v, %v", werr, err)
			}
		}
		if file, err := fs.Create(filepath.Join(dir, id.String()+".snap")); err == nil {
			file.WriteAt(b, 0)
			if got, err := read(s, id); err == nil && !bytes.Equal(got, content(350)) {
				t.Fatalf("%d bytes were handed out", len(got))
			}
		}
	})
}
