//go:build unix

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/report"
)

// Drills that Ctrl-C leaves no time for have not gone well: a verdict on all is none on those that were run.
func TestDrillsThatAreLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &app{name: "holdfast", control: "127.0.0.1:1"}
	a.Getenv = func(string) string { return "" }
	reports := a.runDrills(ctx, []*drill.Scenario{{Name: "one"}, {Name: "other"}}, "shop", drillOptions{seed: 7}, nil, nil)
	if len(reports) != 2 || reports[1].Drill != "other" || reports[1].CouldNot == "" || report.Worst(reports...) != report.CouldNotRun {
		t.Errorf("reports = %+v", reports)
	}
	if want := "holdfast drill --seed 7 shop other --control 127.0.0.1:1"; reports[1].Command != want {
		t.Errorf("again: %s, want %s", reports[1].Command, want)
	}
}

// A drill is made again while this machine alone is why there is no verdict, and never because of what the users noticed.
func TestTries(t *testing.T) {
	machine := report.Report{Expectations: []report.Expectation{{Name: "success", Unknown: "the host took it", Machine: true}}}
	noticed := report.Report{Expectations: []report.Expectation{{Name: "success"}}}
	fine := report.Report{Expectations: []report.Expectation{{Name: "success", Kept: true}}}
	for name, tc := range map[string]struct {
		runs  []report.Report // as they would go
		tries int
		gone  bool  // Ctrl-C during the first
		again []int // that are announced
	}{
		"well at once":            {runs: []report.Report{fine}, tries: 3},
		"noticed":                 {runs: []report.Report{noticed, fine}, tries: 3},
		"disturbed, then well":    {runs: []report.Report{machine, machine, fine}, tries: 3, again: []int{2, 3}},
		"disturbed, then noticed": {runs: []report.Report{machine, noticed, fine}, tries: 3, again: []int{2}},
		"disturbed each time":     {runs: []report.Report{machine, machine, fine}, tries: 2, again: []int{2}},
		"one try":                 {runs: []report.Report{machine, fine}, tries: 1},
		"interrupted":             {runs: []report.Report{machine, fine}, tries: 3, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			runs, again := 0, []int(nil)
			r := asOften(ctx, tc.tries, func() *report.Report {
				if runs++; tc.gone {
					cancel()
				}
				return &tc.runs[runs-1]
			}, func(try int) { again = append(again, try) })
			if !slices.Equal(again, tc.again) || runs != len(again)+1 || r != &tc.runs[runs-1] {
				t.Errorf("%d runs, announced %v, want %v; got the report of none, or not the last", runs, again, tc.again)
			}
		})
	}
}

// What hangs while it is undone holds up nothing else: what is undone after it, and the end of the system.
func TestTheGuardWaitsForNothingLong(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	enc := json.NewEncoder(&told)
	for i, run := range []string{"touch undone", "exec sleep 60"} {
		if err := enc.Encode(guardMessage{ID: i + 1, Undo: &inject.Undo{Run: run, Dir: dir}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Encode(guardMessage{Down: &guardedSystem{Dir: data}}); err != nil {
		t.Fatal(err)
	}
	if err := guardDrill(&told, os.Environ(), time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "undone")); err != nil {
		t.Errorf("what came before was not undone: %v", err)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data is still there: %v", err)
	}
}

// A report goes into what is at its path, if that is no file, and a file is replaced when the report is whole.
func TestWhereReportsGo(t *testing.T) {
	dir := t.TempDir()
	pipe, file, link, target := filepath.Join(dir, "pipe"), filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "target")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(file, []byte("before"), 0o600), os.WriteFile(target, []byte("much longer than the report"), 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		b, _ := os.ReadFile(pipe)
		read <- string(b)
	}()
	r := &drillReports{}
	for _, path := range []string{pipe, file, link} {
		f := drillReport{path: path, write: func(w io.Writer, _ ...*report.Report) error {
			_, err := io.WriteString(w, "report")
			return err
		}}
		if err := f.open(); err != nil {
			t.Fatal(err)
		}
		r.files = append(r.files, f)
	}
	if err := r.write(nil); err != nil {
		t.Fatal(err)
	}
	r.close()
	if got := <-read; got != "report" {
		t.Errorf("the pipe brought %q", got)
	}
	for path, mode := range map[string]fs.FileMode{pipe: fs.ModeNamedPipe, file: 0, link: fs.ModeSymlink} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != mode {
			t.Errorf("%s is now %v, %v", path, info, err)
		}
	}
	for _, path := range []string{file, target} {
		if b, err := os.ReadFile(path); string(b) != "report" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	if all, _ := os.ReadDir(dir); len(all) != 4 {
		t.Errorf("left behind: %v", all)
	}
}
