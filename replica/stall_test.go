package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// hangingFS is a disk whose syncs can be made to wait: nothing fails, nothing is done.
type hangingFS struct {
	disk.FS
	gate atomic.Pointer[chan struct{}]
}

type hangingFile struct {
	disk.File
	fs *hangingFS
}

func (h *hangingFS) hang() (release func()) {
	gate := make(chan struct{})
	h.gate.Store(&gate)
	return func() {
		h.gate.Store(nil)
		close(gate)
	}
}

// Create implements disk.FS.
func (h *hangingFS) Create(name string) (disk.File, error) {
	f, err := h.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return hangingFile{f, h}, nil
}

// Open implements disk.FS.
func (h *hangingFS) Open(name string) (disk.File, error) {
	f, err := h.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return hangingFile{f, h}, nil
}

// Sync implements disk.File.
func (f hangingFile) Sync() error {
	if g := f.fs.gate.Load(); g != nil {
		<-*g
	}
	return f.File.Sync()
}

func (w *world) canHang() {
	for _, b := range w.boxes {
		b.hang = &hangingFS{}
	}
}

// A leader whose disk hangs commits through the others, and would never apply what it has committed.
func TestTheDiskOfTheLeaderHangs(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.canHang()
		w.startAll()
		w.boxes["a"].put("x", "1")
		lead := w.leader()
		release := lead.hang.hang()
		began := time.Now()
		for _, n := range w.names {
			if b := w.boxes[n]; b != lead {
				b.put("by "+n, "1")
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the others' took %v", took)
		}
		if err := lead.tryPut(time.Second, "x", "2"); err == nil {
			t.Error("a command was applied that is not on the disk")
		}
		w.until("another leader", func() bool { name, _ := lead.g.Leader(); return name != "" && name != lead.name })
		_ = lead.g.Status() // does not wait for the disk
		for i := range 10 {
			for _, n := range w.names {
				if b := w.boxes[n]; b != lead {
					b.put(fmt.Sprint("k", i), "1")
					b.want(fmt.Sprint("k", i), "1")
				}
			}
		}
		err := <-lead.done
		if took := time.Since(began); !errors.Is(err, ErrDiskStalled) || took < 30*time.Second || took > 45*time.Second {
			t.Errorf("after %v Run: %v", took, err)
		}
		if err := lead.tryPut(time.Second, "x", "3"); !errors.Is(err, ErrDiskStalled) {
			t.Errorf("put: %v", err)
		}
		release()
		lead.host = nil
		time.Sleep(time.Second) //nolint:forbidigo // in virtual time: what hung ends
		lead.start()
		lead.want("k9", "1")
	})
}

// What hangs for less than that is over when it is over; that it was the follower's, nobody notices.
func TestTheDiskOfAFollowerHangs(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.canHang()
		w.startAll()
		w.boxes["a"].put("x", "1")
		lead := w.leader()
		follower := w.boxes["a"]
		if follower == lead {
			follower = w.boxes["b"]
		}
		release := follower.hang.hang()
		for i := range 200 {
			began := time.Now()
			lead.put(fmt.Sprint("k", i), "1")
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("put %d took %v", i, took)
			}
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in virtual time
		}
		if name, _ := lead.g.Leader(); name != lead.name {
			t.Errorf("%s leads", name)
		}
		release()
		follower.want("k199", "1")
	})
}

// A host alone has nobody to hand over to, and says what is wrong.
func TestTheOnlyDiskHangs(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		w.canHang()
		a := w.boxes["a"].start()
		a.put("x", "1")
		release := a.hang.hang()
		g, err := a.host.Group("another", newRegister(), GroupConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Propose(context.Background(), []byte("x=1")); err == nil {
			t.Error("applied")
		}
		if err := a.tryPut(time.Minute, "x", "2"); !errors.Is(err, ErrDiskStalled) {
			t.Errorf("put: %v", err)
		}
		if err := <-a.done; !errors.Is(err, ErrDiskStalled) {
			t.Errorf("Run: %v", err)
		}
		a.host = nil
		release()
		time.Sleep(time.Second) //nolint:forbidigo // in virtual time
	})
}
