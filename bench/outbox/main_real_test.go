//go:build real

package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

func TestRealShort(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short", "-only", "postgresql-memory", "-seeds", "1"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "backlog published") {
		t.Errorf("no figures in:\n%s", out.String())
	}
}
