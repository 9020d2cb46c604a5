package disk_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

func TestADiskFailsAsItIsTold(t *testing.T) {
	broken := map[string]error{}
	fs := disk.Failing(disk.OS(), func(op string) error { return broken[op] })
	dir := filepath.Join(t.TempDir(), "d")
	if err := fs.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "f")
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	again, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, op := range []string{"write", "sync", "change"} {
		cause := errors.New(op)
		broken[op] = cause
		for what, c := range map[string]struct {
			err error
			op  string
		}{
			"make a directory": {fs.MkdirAll(filepath.Join(dir, "e")), "write"},
			"create":           {func() error { _, err := fs.Create(filepath.Join(dir, "g")); return err }(), "write"},
			"write":            {func() error { _, err := f.WriteAt([]byte("kept"), 0); return err }(), "write"},
			"write again":      {func() error { _, err := again.WriteAt([]byte("kept"), 0); return err }(), "write"},
			"allocate":         {f.Allocate(4), "write"},
			"sync":             {f.Sync(), "sync"},
			"sync a directory": {fs.SyncDir(dir), "sync"},
			"truncate":         {f.Truncate(4), "change"},
			"rename":           {fs.Rename(name, name), "change"},
			"remove":           {func() error { _ = f.Truncate(4); return fs.Remove(filepath.Join(dir, "nothing")) }(), "change"},
		} {
			if hit := errors.Is(c.err, cause); hit != (c.op == op) {
				t.Errorf("%s broken: %s: %v", op, what, c.err)
			}
		}
		delete(broken, op)
		b := make([]byte, 4)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "kept" {
			t.Errorf("%s broken: read %q: %v", op, b, err)
		}
	}
}
