package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// TestContract runs over both file systems what both promise.
func TestContract(t *testing.T) {
	for name, fsys := range map[string]disk.FS{"os": disk.OS(), "sim": disk.NewSim(1)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			path := func(name string) string { return filepath.Join(dir, name) }
			ok := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			ok(fsys.MkdirAll(dir))
			ok(fsys.MkdirAll(dir))
			if _, err := fsys.Open(path("x")); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("open of nothing: %v", err)
			}
			f, err := fsys.Create(path("x"))
			ok(err)
			_, err = f.WriteAt([]byte("hello"), 3)
			ok(err)
			ok(f.Sync())
			ok(f.Allocate(4)) // never smaller
			if n, err := f.Size(); n != 8 || err != nil {
				t.Fatal(n, err)
			}
			ok(f.Allocate(5000))
			ok(f.Truncate(6))
			ok(f.Truncate(10))
			b := make([]byte, 20)
			if n, _ := f.ReadAt(b, 0); n != 10 || string(b[:10]) != "\x00\x00\x00hel\x00\x00\x00\x00" {
				t.Fatalf("%q", b[:n])
			}
			ok(f.Close())
			g, err := fsys.Create(path("y"))
			ok(err)
			ok(g.Close())
			ok(fsys.MkdirAll(path("dir")))
			if got, err := fsys.List(dir); err != nil || !slices.Equal(got, []disk.Info{{Name: "x", Size: 10}, {Name: "y"}}) {
				t.Fatalf("%v, %v", got, err)
			}
			ok(fsys.Rename(path("x"), path("y")))
			ok(fsys.SyncDir(dir))
			if got, err := fsys.List(dir); err != nil || !slices.Equal(got, []disk.Info{{Name: "y", Size: 10}}) {
				t.Fatalf("%v, %v", got, err)
			}
			ok(fsys.Remove(path("y")))
			if err := fsys.Remove(path("y")); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			lock, err := fsys.Lock(path("LOCK"))
			ok(err)
			if _, err := fsys.Lock(path("LOCK")); !errors.Is(err, disk.ErrLocked) {
				t.Fatalf("locked twice: %v", err)
			}
			ok(lock.Close())
			lock, err = fsys.Lock(path("LOCK"))
			ok(err)
			ok(lock.Close())
		})
	}
}

// TestFailed: a caller can tell a full disk from a broken one.
func TestFailed(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
		code   failure.Code
	}{
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, disk.ReasonFull, failure.ResourceExhausted},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.EIO}, disk.ReasonFailed, failure.Internal},
		{fmt.Errorf("lock: %w", disk.ErrLocked), disk.ReasonInUse, failure.FailedPrecondition},
	} {
		var e *failure.Error
		if err := disk.Failed(c.err, "log: write"); !errors.As(err, &e) || e.Reason != c.reason || e.Code != c.code ||
			!errors.Is(err, c.err) || !strings.Contains(err.Error(), "log: write") {
			t.Errorf("%v: %v", c.err, err)
		}
	}
	if disk.Failed(nil, "") != nil {
		t.Error("nothing failed")
	}
	e := failure.New(failure.DataLoss, "x")
	if !errors.Is(disk.Failed(e, "y"), e) {
		t.Error("wrapped twice")
	}
}

func write(t *testing.T, f disk.File, at int64, b string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(b), at); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, s *disk.Sim, name string) (string, bool) {
	t.Helper()
	f, err := s.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	} else if err != nil {
		t.Fatal(err)
	}
	n, _ := f.Size()
	b := make([]byte, n)
	f.ReadAt(b, 0)
	return string(b), true
}

// TestSimCrashes: over many seeds, what was synced is always there, and of the rest everything that may happen does.
func TestSimCrashes(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		s := disk.NewSim(seed)
		s.MkdirAll("d")
		f, _ := s.Create("d/f")
		write(t, f, 0, strings.Repeat("a", 1024))
		f.Sync()
		s.SyncDir("d")
		write(t, f, 0, strings.Repeat("b", 1536)) // three sectors, not synced
		g, _ := s.Create("d/g")
		write(t, g, 0, "g")
		g.Sync()
		s.Rename("d/g", "d/h")
		s.Crash()
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, disk.ErrCrashed) {
			t.Fatalf("a file of before the crash: %v", err)
		}
		b, ok := content(t, s, "d/f")
		if !ok || len(b) != 1024 && len(b) != 1536 || strings.Trim(b, "ab\x00") != "" || strings.Contains(b[:1024], "\x00") {
			t.Fatalf("seed %d: %q", seed, b)
		}
		switch old := strings.Count(b[:1024], "a"); {
		case old == 0:
			seen["all new"] = true
		case old == 1024:
			seen["all old"] = true
		case old == 512 && b[0] == 'b':
			seen["first only"] = true
		case old == 512 && b[0] == 'a':
			seen["second only"] = true
		default:
			seen["torn"] = true
		}
		seen[fmt.Sprint("size ", len(b))] = true
		_, isG := content(t, s, "d/g")
		_, isH := content(t, s, "d/h")
		seen[fmt.Sprint("names ", isG, isH)] = true
	}
	for _, want := range []string{
		"all new", "all old", "first only", "second only", "torn", "size 1024", "size 1536",
		"names false false", "names true false", "names false true",
	} {
		if !seen[want] {
			t.Errorf("never: %s", want)
		}
	}
}

// TestSimForgetsWhatAFailedSyncLeft: it reads as written, no later sync makes it durable, and the crash shows it.
func TestSimForgetsWhatAFailedSyncLeft(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		s := disk.NewSim(seed)
		s.MkdirAll("d")
		f, _ := s.Create("d/f")
		s.SyncDir("d")
		write(t, f, 0, strings.Repeat("x", 2048))
		s.Inject(func(op disk.Op) error {
			if op.Kind == disk.OpSync {
				return syscall.EIO
			}
			return nil
		})
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		s.Inject(nil)
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2048)
		f.ReadAt(b, 0)
		if bytes.Contains(b, []byte{0}) {
			t.Fatal("lost before the crash")
		}
		s.Crash()
		if after, _ := content(t, s, "d/f"); strings.Contains(after, "\x00") || len(after) < 2048 {
			lost++
		}
	}
	if lost < 25 {
		t.Fatalf("lost %d times of 50", lost)
	}
}

func TestSimCrashAtAndRepeat(t *testing.T) {
	run := func(at int) (ops int, result string) {
		s := disk.NewSim(5)
		s.CrashAt(at)
		s.MkdirAll("d")
		f, err := s.Create("d/f")
		for i := range 5 {
			if err == nil {
				_, err = f.WriteAt([]byte("0123456789"), int64(i*7))
			}
			if err == nil {
				err = f.Sync()
			}
			if err == nil {
				err = s.SyncDir("d")
			}
		}
		ops = s.Ops()
		if at > 0 && (!s.Down() || !errors.Is(err, disk.ErrCrashed)) {
			t.Fatalf("operation %d: %v", at, err)
		}
		s.Crash()
		files, _ := s.List("d")
		b, _ := content(t, s, "d/f")
		return ops, fmt.Sprint(files, b)
	}
	n, _ := run(0)
	if n != 17 {
		t.Fatalf("%d operations", n)
	}
	for at := 1; at <= n; at++ {
		ops, first := run(at)
		if ops != at {
			t.Fatalf("crashed in %d, not in %d", ops, at)
		}
		if _, again := run(at); again != first {
			t.Fatalf("operation %d: %s, then %s", at, first, again)
		}
	}
}

func TestSimKillKeepsWhatWasWritten(t *testing.T) {
	s := disk.NewSim(1)
	s.MkdirAll("d")
	f, _ := s.Create("d/f")
	write(t, f, 0, "hello")
	lock, err := s.Lock("d/LOCK")
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if err := f.Sync(); !errors.Is(err, disk.ErrCrashed) {
		t.Fatalf("a file of a process that is gone: %v", err)
	}
	if b, _ := content(t, s, "d/f"); b != "hello" {
		t.Fatalf("%q", b)
	}
	if _, err := s.Lock("d/LOCK"); err != nil {
		t.Fatal(err)
	}
	lock.Close() // of the process that is gone
	if _, err := s.Lock("d/LOCK"); !errors.Is(err, disk.ErrLocked) {
		t.Fatal(err)
	}
}

func TestSimFull(t *testing.T) {
	s := disk.NewSim(1)
	s.MkdirAll("d")
	s.SetCapacity(100)
	f, _ := s.Create("d/f")
	if n, err := f.WriteAt(make([]byte, 150), 0); n != 100 || !errors.Is(err, syscall.ENOSPC) || !disk.Full(err) {
		t.Fatal(n, err)
	}
	if err := f.Allocate(101); !disk.Full(err) {
		t.Fatal(err)
	}
	write(t, f, 0, "within")
	f.Truncate(10)
	if err := f.Allocate(100); err != nil {
		t.Fatal(err)
	}
}

func TestSimShortWrite(t *testing.T) {
	s := disk.NewSim(1)
	s.MkdirAll("d")
	f, _ := s.Create("d/f")
	s.Inject(func(op disk.Op) error {
		if op.Kind == disk.OpWrite {
			return disk.ShortError{N: 2, Err: syscall.EIO}
		}
		return nil
	})
	if n, err := f.WriteAt([]byte("hello"), 0); n != 2 || !errors.Is(err, syscall.EIO) {
		t.Fatal(n, err)
	}
	if b, _ := content(t, s, "d/f"); b != "he" {
		t.Fatalf("%q", b)
	}
}
