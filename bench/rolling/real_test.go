//go:build real

package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

func TestRealShortOnConsul(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short", "-only", "consul"}, &out); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
}
