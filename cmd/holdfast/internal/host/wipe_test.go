//go:build unix

package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/platform/supervise"
)

// A platform that is killed while it deletes what its members keep leaves none of them with its memory: the next start goes on
// where it was, before a member runs.
func TestAWipeOfAllIsOfAll(t *testing.T) {
	ids := []string{"control-1", "control-2", "control-3"}
	fill := func() (data string) {
		data = t.TempDir()
		for _, id := range ids {
			if err := os.MkdirAll(filepath.Join(data, "control", id, "member", "wal"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		return data
	}
	kept := func(data string) (left []string) {
		entries, err := os.ReadDir(filepath.Join(data, "control"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			in, _ := os.ReadDir(filepath.Join(data, "control", e.Name()))
			if slices.Contains(ids, e.Name()) && len(in) > 0 || e.Name() == filepath.Base(wipingFile(data)) {
				left = append(left, e.Name())
			}
		}
		return left
	}

	data := fill()
	mounted, err := os.Stat(filepath.Join(data, "control", ids[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := wipeAll(data, ids); err != nil || kept(data) != nil {
		t.Errorf("wiped: %v, and %q is left", err, kept(data))
	}

	if now, err := os.Stat(filepath.Join(data, "control", ids[0])); err != nil || !os.SameFile(mounted, now) {
		t.Errorf("a directory that a disk may be mounted at was deleted: %v", err)
	}

	// Killed before the second: the first is away, and of the others nobody has deleted anything.
	data = fill()
	if err := os.RemoveAll(filepath.Join(data, "control", ids[0])); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wipingFile(data), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := chooseMembers(data, nil, len(ids), false); err != nil || kept(data) != nil {
		t.Errorf("the next start: %v, and %q is left", err, kept(data))
	}

	// Nobody began one.
	data = fill()
	if _, err := chooseMembers(data, nil, len(ids), false); err != nil || !slices.Equal(kept(data), ids) {
		t.Errorf("a start without a wipe: %v, and %q is left", err, kept(data))
	}

	// It cannot be begun: nothing has happened.
	data = fill()
	if err := os.Mkdir(wipingFile(data), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := wipeAll(data, ids); err == nil || len(kept(data)) != len(ids)+1 {
		t.Errorf("a wipe that cannot be written down: %v, and %q is left", err, kept(data))
	}
}

// No member runs beside a wipe that has begun: the next start would delete what it has acknowledged since.
func TestAWipeThatFailsHalfWay(t *testing.T) {
	data := t.TempDir()
	h := &Host{cfg: Config{Data: data}, plane: plane{ids: []string{"control-1", "control-2"}}}
	if err := os.MkdirAll(filepath.Join(data, "control", "control-1", "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "control", "control-2"), nil, 0o600); err != nil { // what cannot be emptied
		t.Fatal(err)
	}
	if err := h.wipeAll(); !errors.Is(err, supervise.ErrLeave) {
		t.Errorf("half-way: %v", err)
	}
	if _, err := chooseMembers(data, nil, 2, false); err == nil {
		t.Error("the next start does not say that it cannot go on with it")
	}
	if err := os.Remove(filepath.Join(data, "control", "control-2")); err != nil {
		t.Fatal(err)
	}
	if _, err := chooseMembers(data, nil, 2, false); err != nil {
		t.Error(err)
	}
}
