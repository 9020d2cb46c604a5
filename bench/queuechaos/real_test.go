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
				kept(t, out.String())
			})
		}
	}
}
