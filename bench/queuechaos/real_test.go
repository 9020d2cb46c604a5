//go:build real

package main

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

// TestRealShort: engines with servers of their own, with the effects in PostgreSQL; not RabbitMQ, whose order per key is
// not what it should be (docs/queues.md). Nothing is judged by the program, so it is here.
func TestRealShort(t *testing.T) {
	for _, engine := range []string{"nats3", "kafka"} {
		t.Run(engine, func(t *testing.T) {
			var out strings.Builder
			if err := trial.Execute(t.Context(), program, []string{"-short", "-timeline", "-engines", engine}, &out); err != nil {
				t.Fatal(err, out.String())
			}
			kept(t, out.String())
		})
	}
}
