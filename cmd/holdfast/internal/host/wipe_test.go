//go:build unix

package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
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
			if slices.Contains(ids, e.Name()) || e.Name() == filepath.Base(wipingFile(data)) {
				left = append(left, e.Name())
			}
		}
		return left
	}

	data := fill()
	if err := wipeAll(data, ids); err != nil || kept(data) != nil {
		t.Errorf("wiped: %v, and %q is left", err, kept(data))
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
