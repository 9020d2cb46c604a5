package kv

import (
	"testing"
	"time"
)

func TestAStoreIsAwayWhenNothingAnswersForAsLongAsACallTakes(t *testing.T) {
	epoch := time.Unix(1000, 0)
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	type try struct {
		start, end int
		answered   bool
	}
	for name, c := range map[string]struct {
		tries []try
		now   int
		want  bool
	}{
		"nothing known":                {nil, 0, false},
		"one failure, long ago":        {[]try{{0, 700, false}}, 4000, false},
		"failures for too short":       {[]try{{0, 300, false}, {0, 300, false}, {300, 600, false}}, 600, false},
		"failures for long":            {[]try{{0, 700, false}, {700, 1400, false}, {1400, 2100, false}}, 2100, true},
		"of many callers at once":      {[]try{{0, 700, false}, {10, 710, false}, {20, 720, false}, {1500, 2200, false}}, 2200, true},
		"an answer in between":         {[]try{{0, 700, false}, {700, 1400, false}, {1000, 1500, true}, {1400, 2100, false}}, 2100, false},
		"it is back":                   {[]try{{0, 700, false}, {700, 1400, false}, {1400, 2100, false}, {2100, 2110, true}}, 2110, false},
		"nobody has asked for a while": {[]try{{0, 700, false}, {700, 1400, false}, {1400, 2100, false}}, 8000, false},
		"and then it fails again":      {[]try{{0, 700, false}, {700, 1400, false}, {1400, 2100, false}, {8000, 8700, false}}, 8700, false},
	} {
		var p pulse
		for _, try := range c.tries {
			p.beat(at(try.start), at(try.end), try.answered)
		}
		if got := p.gone(at(c.now)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
