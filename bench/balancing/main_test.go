package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

func TestShort(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short", "-only", "10 clients,200 clients"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "p99 of hcl / weighted round robin") {
		t.Errorf("no figures in:\n%s", out.String())
	}
}

// The same seed gives the same world, call by call.
func TestSimulationCanBeRepeated(t *testing.T) {
	for _, c := range contenders {
		a, b := newWorld(1, 10, c.policy, c.knows).run(0, 2e9), newWorld(1, 10, c.policy, c.knows).run(0, 2e9)
		if len(a) != len(b) || len(a) < 1000 {
			t.Fatalf("%s: %d and %d calls", c.name, len(a), len(b))
		}
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("%s: call %d took %v, and %v", c.name, i, a[i], b[i])
			}
		}
	}
}
