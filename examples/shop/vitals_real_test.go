//go:build real && linux

package shop_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// growthLimit is how much more memory any process may take at its worst than it had before, in KiB.
	growthLimit = 192 << 10
	// filesLimit is how many more files may be open than before. The connections that services keep among themselves come
	// and go.
	filesLimit = 40
)

// vitals are what must not change by bad input.
type vitals struct {
	instances map[string]control.Instance // by ID
	memory    map[string]memory           // by owner, "up" included
	files     map[string]int              // open ones, connections too, by owner
}

// health asks the command line, as one would.
func (r *running) health(t *testing.T) vitals {
	t.Helper()
	out, err := r.holdfast(t, "ps", "--json").Output()
	if err != nil {
		t.Fatalf("ps --json: %v", err)
	}
	var all []control.Instance
	decode(t, out, &all)
	v := vitals{make(map[string]control.Instance), make(map[string]memory), make(map[string]int)}
	pids := map[string]int{"up": r.cmd.Process.Pid}
	for _, i := range all {
		v.instances[i.ID] = i
		pids[i.ID] = i.PID
	}
	for owner, pid := range pids {
		if v.memory[owner], err = readMemory(pid); err != nil {
			t.Errorf("memory of %s: %v", owner, err)
		}
		if v.files[owner], err = openFiles(pid); err != nil {
			t.Errorf("files of %s: %v", owner, err)
		}
	}
	return v
}

// compare fails for whatever has been restarted, is gone, or has grown.
func (r *running) compare(t *testing.T, before vitals) {
	t.Helper()
	after := r.health(t)
	for id, was := range before.instances {
		is := after.instances[id]
		if is.PID != was.PID || is.Restarts != was.Restarts || is.State != "ready" {
			t.Errorf("%s was pid %d with %d restarts, is %q, pid %d with %d restarts (%s)", id, was.PID, was.Restarts, is.State, is.PID, is.Restarts, is.Reason)
		}
	}
	if len(after.instances) != len(before.instances) {
		t.Errorf("%d instances, were %d", len(after.instances), len(before.instances))
	}
	for _, owner := range slices.Sorted(maps.Keys(before.memory)) {
		was, is := before.memory[owner], after.memory[owner]
		t.Logf("%-12s %4d MiB before, %4d at most, %4d after; %3d open files before, %3d after",
			owner, was.now>>10, is.peak>>10, is.now>>10, before.files[owner], after.files[owner])
		if is.peak > was.now+growthLimit {
			t.Errorf("%s took %d MiB, had %d MiB before; the limit is %d MiB more", owner, is.peak>>10, was.now>>10, growthLimit>>10)
		}
	}
}

// awaitRelease waits until nobody holds more files, and so connections, than before.
func (r *running) awaitRelease(t *testing.T, before vitals) {
	t.Helper()
	eventually(t, 30*time.Second, "all connections are given up", func() error {
		after := r.health(t)
		for owner, was := range before.files {
			if is := after.files[owner]; is > was+filesLimit {
				return fmt.Errorf("%s has %d files open, had %d", owner, is, was)
			}
		}
		return nil
	})
}

// checkLogs fails for panics, of which those that are recovered show nowhere else.
func (r *running) checkLogs(t *testing.T) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(r.data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Base(path), ".log") {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if lower := strings.ToLower(line); strings.Contains(lower, "panic") || strings.HasPrefix(line, "goroutine ") || strings.Contains(line, "fatal error") || strings.Contains(line, "DATA RACE") {
				t.Errorf("%s: %s", filepath.Base(path), line)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if files == 0 {
		t.Errorf("no log files found in %s", r.data)
	}
}
