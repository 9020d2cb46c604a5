//go:build unix

package ports

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestReserve: nobody has what somebody has, until that is given back.
func TestReserve(t *testing.T) {
	seen := map[int]bool{}
	var all []*Reserved
	for range 20 {
		r, err := Reserve(3)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		for i := range 3 {
			if p := r.Port(i); seen[p] || p < first || p >= last || r.Addr(i) != Loopback(p) {
				t.Errorf("port %d of %v", p, seen)
			}
			seen[r.Port(i)] = true
		}
	}
	for _, r := range all {
		r.Release()
		r.Release()
	}
	(*Reserved)(nil).Release()
}

// TestLock: one at a time, in this process, too.
func TestLock(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	f, err := Lock(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(1); !errors.Is(err, ErrTaken) {
		t.Errorf("a second time: %v", err)
	}
	if g, err := Lock(2); err != nil {
		t.Errorf("another one: %v", err)
	} else {
		g.Close()
	}
	f.Close()
	if f, err = Lock(1); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestLockInADirectoryOfOthers: what anybody could have put links into is not used.
func TestLockInADirectoryOfOthers(t *testing.T) {
	for name, put := range map[string]func(dir, elsewhere string) error{
		"open to others": func(dir, _ string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"link":           func(dir, elsewhere string) error { return os.Symlink(elsewhere, dir) },
	} {
		tmp, elsewhere := t.TempDir(), t.TempDir()
		t.Setenv("TMPDIR", tmp)
		if err := put(filepath.Join(tmp, "holdfast-ports-"+strconv.Itoa(os.Getuid())), elsewhere); err != nil {
			t.Fatal(err)
		}
		if _, err := Lock(1); err == nil || errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "alone") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Reserve(1); err == nil {
			t.Errorf("%s: reserved", name)
		}
	}
}
