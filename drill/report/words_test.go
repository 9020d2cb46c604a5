package report

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/drill/check"
)

const ms = time.Millisecond

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 900: "0.9 µs", 41 * ms: "41 ms", 3600 * time.Microsecond: "3.6 ms", 999400 * time.Microsecond: "999 ms", 999600 * time.Microsecond: "1 s",
		1240 * ms: "1.24 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min", 245 * time.Second: "4 min 5 s", 90 * time.Minute: "1 h 30 min",
		5 * time.Hour: "5 h", -5 * ms: "-5 ms", -1 << 63: "-2562047 h 47 min", 100 * time.Microsecond: "0.1 ms",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%d) is %q, want %q", d, got, want)
		}
	}
}

func TestAHundredPercentIsAll(t *testing.T) {
	for share, want := range map[float64]string{1: "100 %", 0.9999: "99.99 %", 0.999999: "99.999 %", 0.99999999: "99.999 %", 0: "0 %", 0.5: "50 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) is %q, want %q", share, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.IntRange(1, 2_000_000).Draw(t, "all")
		failed := rapid.IntRange(1, all).Draw(t, "failed")
		if got := percent(float64(all-failed) / float64(all)); got == "100 %" {
			t.Errorf("%d of %d failed, and it says %s", failed, all, got)
		}
	})
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -4012: "-4,012", -999: "-999"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) is %q, want %q", n, got, want)
		}
	}
}

func TestCleanIsOneSafeLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", " a\nb\tc ": "a b c", "\x1b[31mred": `\u001b[31mred`, "\u202egpj.exe": `\u202egpj.exe`, "a\xffb": "a\ufffdb", "\u009b2J": `\u009b2J`,
		"aaaaaaaaaaaaaaaaaaaaaaaa": "aaaaaaaaaaaaaaaa…",
	} {
		if got := clean(text, 16); got != want {
			t.Errorf("clean(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestMergingLosesNoCallAndNoPeak(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := time.Duration(rapid.IntRange(100, 2000).Draw(t, "step")) * ms
		r := &Report{Length: time.Duration(rapid.IntRange(0, 3600).Draw(t, "length")) * time.Second}
		failed, peak := 0, time.Duration(0)
		for i := range rapid.IntRange(0, 400).Draw(t, "slices") {
			s := Slice{
				From: time.Duration(i) * step, OK: rapid.IntRange(0, 9).Draw(t, "ok"), Failed: rapid.IntRange(0, 2).Draw(t, "failed"),
				P99: time.Duration(rapid.IntRange(0, 5000).Draw(t, "p99")) * ms,
			}
			failed, peak = failed+s.Failed, max(peak, s.P99)
			r.Timeline = append(r.Timeline, s)
		}
		most := rapid.IntRange(1, 300).Draw(t, "most")
		line := newTimeline(r, most)
		if len(line.bins) > most {
			t.Fatalf("%d bins, of at most %d", len(line.bins), most)
		}
		for _, b := range line.bins {
			failed -= b.Failed
			if b.P99 == peak {
				peak = 0
			}
		}
		if failed != 0 || peak != 0 {
			t.Errorf("%d failed calls and the peak of %v are not in the bins", failed, peak)
		}
		if ticks := line.ticks(9); len(ticks) == 0 || len(ticks) > 9 || ticks[0].At != 0 {
			t.Errorf("ticks are %v", ticks)
		}
	})
}

// A history is written as "client w|r value begun-ended", times in milliseconds.
func ops(list ...check.Operation) []check.Operation { return list }

func w(client int, value string, begun, ended int) check.Operation {
	return check.Operation{Client: client, Key: "k", Write: true, Value: value, Begun: time.Duration(begun) * ms, Ended: time.Duration(ended) * ms}
}

func rd(client int, value string, begun, ended int) check.Operation {
	o := w(client, value, begun, ended)
	o.Write = false
	return o
}

func TestContradictionsAreSaidOnlyWhenTheyAreCertain(t *testing.T) {
	for name, c := range map[string]struct {
		ops  []check.Operation
		says string
	}{
		"a stale read": {
			ops(w(1, "1", 10, 20), w(1, "2", 30, 40), rd(2, "1", 50, 60)),
			"Client 2 read 1, which is older, although client 1 had written 2 and had its answer 10 ms before that read began.",
		},
		"a write that is lost": {
			ops(w(1, "1", 10, 20), rd(1, "", 50, 60)),
			"Client 1 read nothing, although it had written 1 and had its answer 30 ms before that read began.",
		},
		"two reads in the wrong order": {
			ops(w(1, "1", 10, 20), w(1, "2", 30, 0), rd(2, "2", 40, 45), rd(3, "1", 50, 60)),
			"Client 3 read 1, which is older, although client 2 had read 2 and had its answer 5 ms before that read began.",
		},
		"writes at the same time may be in any order":       {ops(w(1, "1", 10, 40), w(2, "2", 20, 30), rd(3, "1", 50, 60)), ""},
		"a write without an answer may come late":           {ops(w(1, "1", 10, 0), w(2, "2", 20, 30), rd(3, "1", 50, 60)), ""},
		"a read during the write":                           {ops(w(1, "1", 10, 20), w(1, "2", 30, 60), rd(2, "1", 50, 70)), ""},
		"a value that nobody here wrote may be of any time": {ops(w(1, "2", 20, 30), rd(3, "9", 50, 60)), ""},
		"no answer says nothing":                            {ops(w(1, "1", 10, 20), w(1, "2", 30, 40), rd(2, "1", 50, 0)), ""},
	} {
		h := newHistory(c.ops)
		if h.Says != c.says {
			t.Errorf("%s: it says %q, want %q", name, h.Says, c.says)
		}
		culprits := 0
		for _, b := range h.Bars {
			if b.Culprit {
				culprits++
			}
		}
		if (culprits >= 2) != (c.says != "") {
			t.Errorf("%s: %d operations are marked", name, culprits)
		}
	}
}

func TestBarsKeepTheOrderOfEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []check.Operation
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			begun := rapid.IntRange(1, 500).Draw(t, "begun")
			list = append(list, w(1, "v", begun, rapid.SampledFrom([]int{0, begun, begun + 3, begun + 100}).Draw(t, "ended")))
		}
		h := newHistory(list)
		if len(h.Bars)+h.More != len(list) || len(h.Bars) > maxOperations {
			t.Fatalf("%d bars and %d more of %d", len(h.Bars), h.More, len(list))
		}
		for _, a := range h.Bars {
			if a.From < 0 || a.To > 1 || a.To < a.From {
				t.Fatalf("a bar from %v to %v", a.From, a.To)
			}
			for _, b := range h.Bars {
				if a.Ended > 0 && (a.Ended < b.Begun) != (a.To < b.From) {
					t.Fatalf("%v ended before %v began, and is not drawn so: %v, %v", a.Ended, b.Begun, a.To, b.From)
				}
			}
		}
	})
}

func TestReasonsAreGroupedWhateverTimeTheyTook(t *testing.T) {
	r := &Report{}
	for i, text := range []string{"gave up after 1.5ms", "gave up after 20ms", "gave up after 3 s", "orders-2 died", "orders-3 died", "gave up after 1m0.3s"} {
		f := Failure{Explain: text}
		f.Call, f.Due = "browse", time.Duration(i)
		r.Failed = append(r.Failed, f)
	}
	groups := r.reasonsOfCalls()
	if len(groups) != 4 || groups[0].Calls != 3 || groups[0].Explain != "gave up after 1.5ms" || groups[0].Last != 2 {
		t.Errorf("the groups are %+v", groups)
	}
}

func TestLanesOfAServiceAreBesideEachOther(t *testing.T) {
	var list []Instance
	for _, id := range []string{"control-1", "orders-1", "orders-2", "cart-1", "orders-3", "control-2", "odd"} {
		list = append(list, Instance{ID: id})
	}
	var got []string
	for _, in := range byService(list) {
		got = append(got, in.ID)
	}
	if text := strings.Join(got, " "); text != "control-1 control-2 orders-1 orders-2 orders-3 cart-1 odd" {
		t.Errorf("the order is %s", text)
	}
}
