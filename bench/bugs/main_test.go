package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/system"
)

// tagged are where the bugs are.
var tagged = map[string]string{
	"retry": "resilience/bug_retry_on.go", "fence": "lock/guard/etcdguard/bug_fence_on.go", "stale": "replica/internal/core/mutant_stale_read_on.go",
	"ack": "replica/bug_ack_on.go", "drain": "bug_drain_on.go", "register": "registry/bug_register_on.go",
}

func TestEachBugHasADrillThatCanFindIt(t *testing.T) {
	if _, err := system.Load("till"); err != nil {
		t.Fatal(err)
	}
	drills, err := drill.LoadDir("till")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		i := slices.IndexFunc(drills, func(d *drill.Scenario) bool { return d.Name == b.name })
		if i < 0 {
			t.Errorf("%s: no drill of that name", b.name)
			continue
		}
		looks := []string{"success"}
		for _, inv := range drills[i].Invariants {
			c, err := check.New(inv)
			if err != nil {
				t.Fatal(err)
			}
			looks = append(looks, c.Name())
		}
		for _, name := range b.by {
			if !slices.Contains(looks, name) {
				t.Errorf("%s: its drill looks at %q, not at %q", b.name, looks, name)
			}
		}
		src, err := os.ReadFile(filepath.Join("../..", tagged[b.name]))
		if err != nil || !bytes.Contains(src, []byte("bug_"+b.name)) {
			t.Errorf("%s: %s is not built with the tag bug_%s: %v", b.name, tagged[b.name], b.name, err)
		}
	}
}

func TestWhatADrillHasNoticedIsReadFromItsReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = report.JSON(f, &report.Report{
		Drill:        "fence",
		Expectations: []report.Expectation{{Name: "success"}, {Name: "p99", Kept: true}, {Name: "mask", Unknown: "too few"}},
		Invariants:   []check.Verdict{{Name: "journal", Answer: check.Broken}, {Name: "registers", Answer: check.Holds}, {Name: "x", Answer: check.Unknown}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := noticed(path, "fence")
	if err != nil || !slices.Equal(got, []string{"success", "journal"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := noticed(path, "retry"); err == nil {
		t.Error("another drill's report is taken for it")
	}
}
