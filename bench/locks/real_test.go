//go:build real

package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

// TestRealReplica: the contenders keep the locks themselves.
func TestRealReplica(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short", "-only", engineReplica}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "hand-over p99") {
		t.Errorf("no figures in:\n%s", out.String())
	}
}
