//go:build unix

package cli

import (
	"context"
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/drill"
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
