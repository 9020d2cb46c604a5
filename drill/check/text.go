package check

import (
	"maps"
	"slices"
	"strings"
)

const (
	maxShown   = 60  // bytes of a value in a finding
	maxFinding = 500 // of a finding that comes from outside
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// shorten makes what came from outside fit for a line.
func shorten(s string) string { return line(s, maxShown) }

// line makes a text one line of at most n bytes.
func line(s string, n int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n-1], "") + "…"
	}
	return s
}
