package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
)

func TestMain(m *testing.M) {
	work.Child()
	goleak.VerifyTestMain(m)
}

func TestShort(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short", "-timeline", "-only", "stragglers"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "p99 lower by") {
		t.Errorf("no figures in:\n%s", out.String())
	}
}
