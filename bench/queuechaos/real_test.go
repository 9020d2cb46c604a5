//go:build real

package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

// TestRealShort: each engine, with the effects in PostgreSQL, and cut off. Nothing is judged by the program, so it is here.
func TestRealShort(t *testing.T) {
	for _, engine := range broker.Kinds {
		for _, args := range [][]string{nil, {"-partition"}} {
			t.Run(engine+strings.Join(args, ""), func(t *testing.T) {
				var out strings.Builder
				all := append([]string{"-short", "-timeline", "-engines", engine}, args...)
				if err := trial.Execute(t.Context(), program, all, &out); err != nil {
					t.Fatal(err, out.String())
				}
				for _, never := range []string{"of these lost", "effects that happened twice", "effects out of their key's order", "dead letters"} {
					if !zero(out.String(), never) {
						t.Errorf("%s:\n%s", never, out.String())
					}
				}
			})
		}
	}
}

// zero says whether the report has a line of that name whose figure is 0.
func zero(report, name string) bool {
	for line := range strings.Lines(report) {
		if before, after, ok := strings.Cut(line, name); ok && !strings.Contains(before, "s  ") {
			fields := strings.Fields(after)
			return len(fields) > 4 && fields[3] == "0"
		}
	}
	return false
}
