package snap_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
)

// slowFS is a disk that takes a second for each sync of a file.
type slowFS struct{ *disk.Sim }

type slowFile struct{ disk.File }

func (s slowFS) Create(name string) (disk.File, error) {
	f, err := s.Sim.Create(name)
	return slowFile{f}, err
}

func (s slowFS) Open(name string) (disk.File, error) {
	f, err := s.Sim.Open(name)
	if err != nil {
		return nil, err
	}
	return slowFile{f}, nil
}

func (f slowFile) Sync() error {
	time.Sleep(time.Second) //nolint:forbidigo // in virtual time
	return f.File.Sync()
}

// TestResumingHoldsUpNobody: what was received of a large snapshot is read and written once more, which takes as long
// as it takes; other groups, and the log's own marks, do not wait for that.
func TestResumingHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := open(t, disk.NewSim(1))
		id := mustWrite(t, from, 9, 5, content(3000))
		b := file(t, from, id)
		fs := disk.NewSim(2)
		r, err := open(t, fs).Receive(id, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write(b[:2500]); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}

		to, err := snap.Open(slowFS{fs}, dir, small(3))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan *snap.Receiver)
		began := time.Now()
		go func() {
			r, err := to.Receive(id, int64(len(b)))
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		time.Sleep(time.Millisecond) //nolint:forbidigo // in virtual time
		to.List(1)
		to.Retain(1, 1, 1)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("others waited for %v", took)
		}
		r = <-done
		if took := time.Since(began); took < time.Second || r.Offset() == 0 {
			t.Errorf("resumed at %d after %v: this test shows nothing", r.Offset(), took)
		}
		if _, err := r.Write(b[r.Offset():]); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	})
}
