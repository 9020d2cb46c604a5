//go:build unix

package cli

import (
	"context"
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
