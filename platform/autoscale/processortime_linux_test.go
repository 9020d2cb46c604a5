package autoscale

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for stat, want := range map[string]time.Duration{
		"7 (web) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 100":       2 * time.Second,
		"7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 9 0 100":      30 * time.Millisecond,
		"7 (web) S 1 7 7 0 -1 4194560 100 0 0 0 150":                           -1,
		"7 (web) S 1 7 7 0 -1 4194560 100 0 0 0 -150 50 0":                     -1,
		"7 (web) S 1 7 7 0 -1 4194560 100 0 0 0 99999999999999999999 50 0 0 0": -1,
		"": -1,
	} {
		if got, ok := parseStat([]byte(stat)); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %s, %t", stat, got, ok)
		}
	}
}
