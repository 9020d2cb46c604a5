//go:build real

package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

// TestRealShort: engines with servers of their own, with the effects in PostgreSQL. Nothing is judged by the program, so it is
// here.
func TestRealShort(t *testing.T) {
	for _, engine := range []string{"nats3", "kafka", "rabbit"} {
		t.Run(engine, func(t *testing.T) {
			var out strings.Builder
			if err := trial.Execute(t.Context(), program, []string{"-short", "-timeline", "-engines", engine}, &out); err != nil {
				t.Fatal(err, out.String())
			}
			kept(t, out.String())
		})
	}
}

// TestRealPartition: the load lasts longer than the last cut.
func TestRealPartition(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short", "-partition", "-timeline", "-engines", "nats"}, &out); err != nil {
		t.Fatal(err, out.String())
	}
	kept(t, out.String())
	for _, c := range cuts {
		if figure(out.String(), c.name+": answers that are not clear") != "0" || !strings.Contains(out.String(), c.name+": until that has had its effect") {
			t.Errorf("%s:\n%s", c.name, out.String())
		}
	}
}
