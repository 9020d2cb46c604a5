//go:build real

package main

import (
	"strings"
	"testing"
)

func TestRealShort(t *testing.T) {
	for _, args := range []string{"-c 1,8", "-failover", "-memory", "-restart", "-snapshot"} {
		t.Run(args, func(t *testing.T) {
			var out strings.Builder
			if err := run(t.Context(), append(strings.Fields(args), "-short", "-dir", t.TempDir()), &out); err != nil {
				t.Fatal(err, out.String())
			}
			t.Log(out.String())
		})
	}
}
