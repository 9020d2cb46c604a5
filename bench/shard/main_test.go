package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

func TestShort(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"6 hosts / 3 hosts", "acknowledged and lost", "applied twice"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
