//go:build real

package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

func TestRealShort(t *testing.T) {
	var out bytes.Buffer
	if err := trial.Execute(t.Context(), program, []string{"-short", "-only", "postgresql-memory", "-seeds", "1", "-json"}, &out); err != nil {
		t.Fatal(err)
	}
	var lines []trial.Line
	if err := json.Unmarshal(out.Bytes(), &lines); err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	measured := make(map[string]float64)
	for _, line := range lines {
		measured[line.Name] = line.Measured
	}
	if measured["backlog published by the relay"] <= 0 {
		t.Errorf("nothing was published:\n%s", out.String())
	}
	for _, name := range []string{lost, invented, doubles} {
		if n, ok := measured[name]; !ok || n != 0 {
			t.Errorf("%v %s (%v)", n, name, ok)
		}
	}
}
