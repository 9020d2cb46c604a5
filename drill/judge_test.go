package drill

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

const ms = time.Millisecond

// steady are calls every 10 ms that take 5 ms, changed as a test wants.
func steady(length time.Duration, change func(s *load.Sample)) (out []load.Sample) {
	for due := time.Duration(0); due < length; due += 10 * ms {
		s := load.Sample{Call: "get", Due: due, Took: 5 * ms, Outcome: load.OK, Status: "200"}
		if change != nil {
			change(&s)
		}
		out = append(out, s)
	}
	return out
}

func judged(sc Scenario, faults []report.Fault, samples []load.Sample) *report.Report {
	r := &report.Report{Faults: faults, Length: sc.For}
	judge(r, sc, inject.World{Services: []inject.Service{
		{Name: "orders", Instances: []string{"orders-1", "orders-2", "orders-3"}}, {Name: "mail", Instances: []string{"mail-1"}},
	}}, samples, 0)
	return r
}

// The drill itself does not get to run: if that is much of it, or just when something is broken, what it has measured is not the
// system's, whether it was kept or not.
func TestHeldUp(t *testing.T) {
	held := func(length, kill time.Duration, change func(s *load.Sample)) *report.Report {
		samples := steady(length, func(s *load.Sample) {
			if s.Due >= 8*time.Second && s.Due < 10*time.Second {
				s.Late = 10*time.Second - s.Due
				s.Took += s.Late
			}
			change(s)
		})
		r := &report.Report{Faults: []report.Fault{{Kind: "kill", Begun: kill}}, Length: length, HeldUp: 2 * time.Second}
		judge(r, Scenario{For: length, Expect: Expect{Success: 0.9999, P50: time.Second, P99: 1500 * ms}}, inject.World{}, samples, 0)
		return r
	}
	const short, long = 20 * time.Second, 400 * time.Second
	well := func(*load.Sample) {}
	fail := func(from, to time.Duration) func(s *load.Sample) {
		return func(s *load.Sample) {
			if s.Due >= from && s.Due < to {
				s.Outcome = load.Failed
			}
		}
	}
	for _, tc := range []struct {
		name         string
		length, kill time.Duration
		change       func(s *load.Sample)
		want         report.Verdict
		says         string
	}{
		{"and all goes well", short, 5 * time.Second, well, report.CouldNotRun, "load could not be judged: the drill itself did not get to run for 2 s"},
		{"a small part of the time", long, 5 * time.Second, well, report.NobodyNoticed, ""},
		{"a part of the time that takes the best times with it", long, 5 * time.Second, func(s *load.Sample) {
			if s.Due >= 7*time.Second && s.Due < 14*time.Second {
				s.Took += 2 * time.Second
			}
		}, report.CouldNotRun, "p99 could not be judged: the drill itself did not get to run"},
		{"a small part of the time, which is when a user is not served", long, 5 * time.Second, func(s *load.Sample) { s.Took *= 400 }, report.UsersNoticed, "p50"},
		{"just after something was broken", long, 7500 * ms, well, report.CouldNotRun, "load could not be judged"},
		{"as something is broken", long, 9500 * ms, well, report.CouldNotRun, "load could not be judged"},
		{"and then something is broken", long, 10100 * ms, well, report.NobodyNoticed, ""},
		{"which fails calls", short, 5 * time.Second, fail(9*time.Second, 9100*ms), report.CouldNotRun, "10 of the 10 calls that failed were under way while the drill itself"},
		{"which failed a call sent before", short, 5 * time.Second, func(s *load.Sample) {
			if s.Due == 7990*ms {
				s.Outcome, s.Took = load.Failed, 2100*ms
			}
		}, report.CouldNotRun, "1 of the 1 calls that failed"},
		{"which fails calls not long after", short, 5 * time.Second, fail(14*time.Second, 14100*ms), report.CouldNotRun, "10 of the 10 calls that failed"},
		{"and calls fail at another time", short, 5 * time.Second, fail(16*time.Second, 16100*ms), report.UsersNoticed, "success"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := held(tc.length, tc.kill, tc.change)
			if r.Verdict() != tc.want || !strings.Contains(strings.Join(r.Reasons(), "\n"), tc.says) {
				t.Errorf("%v: %q", r.Verdict(), r.Reasons())
			}
		})
	}
}

// Calls that there is no room for are no successes.
func TestWhatWasNotKeptIsCounted(t *testing.T) {
	sc := Scenario{For: 20 * time.Second, Expect: Expect{Success: 0.99, P99: time.Second, Mask: time.Second}, Invariants: []check.Invariant{
		{Register: &check.Register{}}, {Acknowledged: &check.Acknowledged{}}, {Command: &check.Command{}},
	}}
	judge := func(tally load.Tally) *report.Report {
		r := judged(sc, []report.Fault{{Kind: "kill", Begun: 5 * time.Second}}, steady(20*time.Second, nil))
		r.Invariants = []check.Verdict{{Answer: check.Holds}, {Answer: check.Holds}, {Answer: check.Broken}, {Name: "the system is well again", Answer: check.Broken}}
		beyond(r, sc, tally)
		return r
	}
	r := judge(load.Tally{OK: 2_000_000, Failed: 1_000_000, Dropped: 1_000_000})
	if r.Verdict() != report.UsersNoticed || r.Figures.Success > 0.67 || r.Figures.Calls != 3_000_000 || r.Expectations[0].Kept {
		t.Errorf("%v: %+v", r.Verdict(), r.Figures)
	}
	if got := []check.Answer{r.Invariants[0].Answer, r.Invariants[1].Answer, r.Invariants[2].Answer}; !slices.Equal(got, []check.Answer{check.Holds, check.Unknown, check.Broken}) {
		t.Errorf("invariants: %v", got)
	}
	sc.Invariants = nil
	r = judged(sc, []report.Fault{{Kind: "kill", Begun: 5 * time.Second}}, steady(20*time.Second, nil))
	beyond(r, sc, load.Tally{OK: 3_000_000, Dropped: 1_000_000})
	if r.Verdict() != report.CouldNotRun || len(r.LeftOut) != 1 {
		t.Errorf("times of which a third is not known: %v, %q", r.Verdict(), r.Reasons())
	}
}

func TestFigures(t *testing.T) {
	samples := steady(10*time.Second, func(s *load.Sample) {
		switch n := int(s.Due / (10 * ms)); {
		case n >= 990:
			s.Took = time.Second
		case n < 10:
			s.Outcome = load.Refused
		case n == 500:
			s.Outcome, s.Took = load.Failed, time.Hour
		}
	})
	f := figures(samples)
	if f.Calls != 1000 || f.OK != 989 || f.Failed != 1 || f.Refused != 10 || f.Success != 989./990 {
		t.Errorf("counts = %+v", f)
	}
	if f.P50 != 5*ms || f.P99 != time.Second || f.Slowest != time.Second {
		t.Errorf("times = %v %v %v", f.P50, f.P99, f.Slowest)
	}
	if f := figures(nil); f.Success != 1 || f.P99 != 0 {
		t.Errorf("of nothing: %+v", f)
	}
}

// A quantile is one of the values, at least the share of them does not exceed it, and it is the least such.
func TestQuantileIsTheNearestRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 50), 1, 300).Draw(t, "values")
		q := rapid.SampledFrom([]float64{0.5, 0.9, 0.99, 0.999, 1}).Draw(t, "q")
		sorted := make([]time.Duration, len(values))
		for i, v := range values {
			sorted[i] = time.Duration(v)
		}
		slices.Sort(sorted)
		got := quantile(sorted, q)
		share := func(limit time.Duration) float64 {
			n := 0
			for _, v := range sorted {
				if v <= limit {
					n++
				}
			}
			return float64(n) / float64(len(sorted))
		}
		if !slices.Contains(sorted, got) || share(got) < q-1e-9 || got > sorted[0] && share(got-1) >= q {
			t.Fatalf("%v of %v is %v", q, sorted, got)
		}
	})
}

// Every call is in the timeline, once, and in one of the counts.
func TestTimelineLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "length"))
		n := rapid.IntRange(0, 200).Draw(t, "n")
		var samples []load.Sample
		for range n {
			samples = append(samples, load.Sample{
				Due:     time.Duration(rapid.Int64Range(0, int64(length)+int64(time.Second)).Draw(t, "due")),
				Outcome: rapid.SampledFrom([]load.Outcome{load.OK, load.Failed, load.Refused}).Draw(t, "outcome"),
			})
		}
		slices := timeline(samples, length)
		sum := 0
		for i, s := range slices {
			sum += s.OK + s.Failed + s.Refused
			if i > 0 && s.From-slices[i-1].From != slices[1].From {
				t.Fatalf("slices are not as long as each other")
			}
		}
		if sum != n || len(slices) > maxSlices || len(slices) == 0 {
			t.Fatalf("%d of %d calls in %d slices", sum, n, len(slices))
		}
	})
}

func TestExpectations(t *testing.T) {
	good := report.Figures{OK: 99999, Failed: 1, Success: 0.99999, P50: 10 * ms, P99: 100 * ms, P999: 200 * ms, Mask: 500 * ms, Recover: 2 * time.Second, Amplification: 1.1}
	all := Expect{Success: 0.9999, P50: 10 * ms, P99: 100 * ms, P999: 200 * ms, Mask: 500 * ms, Recover: 2 * time.Second, Amplification: 1.1}
	var b strings.Builder
	show := func(name string, e Expect, f report.Figures, broken bool, heldUp time.Duration) {
		fmt.Fprintf(&b, "%s\n", name)
		for _, x := range expectations(e, f, broken, heldUp) {
			fmt.Fprintf(&b, "  %-13s %-30s %-12s kept %-5v %s\n", x.Name, x.Goal, x.Value, x.Kept, x.Unknown)
		}
	}
	show("just kept", all, good, true, 0)
	bad := report.Figures{OK: 9998, Failed: 2, Success: 0.9998, P50: 11 * ms, P99: 101 * ms, P999: 201 * ms, Mask: 501 * ms, Recover: 2500 * ms, Amplification: 1.11}
	show("all missed", all, bad, true, 0)

	show("held up, which excuses times alone", all, bad, true, 1100*ms)
	show("held up, and kept all the same", all, good, true, 1100*ms)
	show("nothing was broken", all, good, false, 0)
	show("no calls, nobody says how many attempts", all, report.Figures{Success: 1}, true, 0)
	show("none was answered", all, report.Figures{Failed: 1}, true, 0)
	show("nothing is expected", Expect{}, bad, true, 0)
	golden(t, "expectations.txt", b.String())
}

// What is not quite all is never called all.
func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{
		1: "100 %", 0.9999: "99.99 %", 0.99999: "99.999 %", 0.999999: "99.9999 %", 1 - 1e-9: "99.99999 %", 0.5: "50.00 %", 0: "0.00 %", 0.88427: "88.42 %", 0.99996: "99.996 %", 0.999899: "99.98 %",
	} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %s, want %s", share, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "share")
		var said float64
		if _, err := fmt.Sscanf(percent(share), "%f", &said); err != nil || said > share*100+1e-7 || said < share*100-0.0101 {
			t.Fatalf("percent(%v) = %s", share, percent(share))
		}
	})
}

// What a failed call is explained with, and what is advised.
func TestExplainAndAdvise(t *testing.T) {
	sc := Scenario{For: 20 * time.Second, Expect: Expect{Amplification: 1.2}}
	sc.Load.Calls = []load.Call{
		{Name: "get", Method: "GET", Path: "/"},
		{Name: "post", Method: "POST", Path: "/"},
		{Name: "keyed", Method: "POST", Path: "/", Key: "k"},
	}
	w := inject.World{Services: []inject.Service{
		{Name: "orders", Instances: []string{"orders-1", "orders-2", "orders-3"}},
		{Name: "mail", Instances: []string{"mail-1"}},
		{Name: "control", Instances: []string{"control-1", "control-2", "control-3"}},
	}}
	busy := `{"title":"Service Unavailable","detail":"this is not possible at the moment","code":"UNAVAILABLE"}`
	for _, tc := range []struct {
		name   string
		faults []report.Fault
		lanes  []report.Instance
		sample load.Sample
	}{
		{"before anything was broken", nil, nil, load.Sample{Call: "get", Status: "503", Error: busy}},
		{"a wrong call", nil, nil, load.Sample{Call: "get", Status: "400", Error: `{"title":"Bad Request","detail":"not valid","errors":[{"field":"a","description":"is missing"}]}`}},
		{"a wrong call, later", []report.Fault{{Kind: "kill", Target: []string{"mail-1"}, Begun: 2 * time.Second}}, nil, load.Sample{Call: "get", Status: "409", Error: "sold out"}},
		{"the only one", []report.Fault{{Kind: "kill", What: "kill -9 mail-1", Target: []string{"mail-1"}, Begun: 9 * time.Second}}, []report.Instance{{ID: "mail-1", Phases: []report.Phase{{State: "ready"}, {From: 9 * time.Second, State: "starting"}, {From: 11 * time.Second, State: "ready"}}}}, load.Sample{Call: "get", Status: "503", Error: busy}},
		{"just after", []report.Fault{{Kind: "kill", What: "kill -9 mail-1", Target: []string{"mail-1"}, Begun: 9 * time.Second}}, nil, load.Sample{Call: "get", Status: "503", Error: busy}},
		{"most of three", []report.Fault{{Kind: "freeze", What: "freeze orders-1, orders-2", Target: []string{"orders-1", "orders-2"}, Begun: 9 * time.Second, Ended: 12 * time.Second}}, nil, load.Sample{Call: "get", Status: "504", Error: "late"}},
		{"all of them", []report.Fault{{Kind: "freeze", Target: []string{"orders-1", "orders-2", "orders-3"}, Begun: 9 * time.Second, Ended: 12 * time.Second}}, nil, load.Sample{Call: "get", Error: "context deadline exceeded"}},
		{"one of three hangs", []report.Fault{{Kind: "freeze", Target: []string{"orders-1"}, Begun: 9 * time.Second, Ended: 12 * time.Second}}, nil, load.Sample{Call: "get", Error: "context deadline exceeded"}},
		{"one of three dies", []report.Fault{{Kind: "kill", Target: []string{"orders-1"}, Begun: 10 * time.Second}}, nil, load.Sample{Call: "get", Error: "EOF"}},
		{"without a key", []report.Fault{{Kind: "kill", Target: []string{"orders-1"}, Begun: 10 * time.Second}}, nil, load.Sample{Call: "post", Error: "EOF"}},
		{"with a key that nobody uses", []report.Fault{{Kind: "kill", Target: []string{"orders-1"}, Begun: 10 * time.Second}}, nil, load.Sample{Call: "keyed", Status: "502", Error: "the answer was lost"}},
		{"turned away", []report.Fault{{Kind: "kill", Target: []string{"orders-1"}, Begun: 10 * time.Second}}, nil, load.Sample{Call: "post", Status: "429", Error: "busy"}},
		{"rolled", []report.Fault{{Kind: "restart", What: "restart orders-1", Target: []string{"orders-1"}, Begun: 9 * time.Second, Ended: 11 * time.Second}}, nil, load.Sample{Call: "get", Error: "connection refused"}},
		{
			"rolled one by one",
			[]report.Fault{{Kind: "restart", What: "restart orders-1, orders-2, orders-3", Target: []string{"orders-1", "orders-2", "orders-3"}, Begun: 9 * time.Second, Ended: 15 * time.Second}},
			[]report.Instance{{ID: "orders-1", Phases: []report.Phase{{State: "ready"}, {From: 9 * time.Second, State: "draining"}, {From: 11 * time.Second, State: "ready"}}}},
			load.Sample{Call: "get", Error: "connection refused"},
		},
		{"forgotten", []report.Fault{{Kind: "registry", What: "wipe the registry", Target: []string{"control-1"}, Begun: 2 * time.Second}}, nil, load.Sample{Call: "get", Status: "UNAVAILABLE", Error: "no children to pick from"}},
		{"the control plane", []report.Fault{{Kind: "freeze", Target: []string{"control-1", "control-2"}, Begun: 9 * time.Second, Ended: 12 * time.Second}}, nil, load.Sample{Call: "get", Status: "UNAVAILABLE", Error: "etcd: no leader"}},
		{
			"a crash that nobody asked for",
			[]report.Fault{{Kind: "latency", Target: []string{"mail-1"}, Begun: time.Second, Ended: 2 * time.Second}},
			[]report.Instance{{ID: "orders-2", Phases: []report.Phase{{State: "ready"}, {From: 10 * time.Second, State: "backoff"}, {From: 12 * time.Second, State: "ready"}}}},
			load.Sample{Call: "get", Status: "500", Error: "boom"},
		},
		{
			"one that is not back yet",
			[]report.Fault{{Kind: "kill", What: "kill -9 orders-2", Target: []string{"orders-2"}, Begun: time.Second}},
			[]report.Instance{{ID: "orders-2", Phases: []report.Phase{{State: "ready"}, {From: 1100 * ms, State: "backoff"}, {From: 2 * time.Second, State: "starting"}, {From: 12 * time.Second, State: "ready"}}}},
			load.Sample{Call: "get", Status: "503", Error: "no room"},
		},
		{
			"a crash after it was back",
			[]report.Fault{{Kind: "kill", What: "kill -9 orders-2", Target: []string{"orders-2"}, Begun: time.Second}},
			[]report.Instance{{ID: "orders-2", Phases: []report.Phase{{State: "ready"}, {From: 1100 * ms, State: "backoff"}, {From: 2 * time.Second, State: "ready"}, {From: 9 * time.Second, State: "backoff"}}}},
			load.Sample{Call: "get", Status: "503", Error: "no room"},
		},
		{"long after", []report.Fault{{Kind: "kill", Target: []string{"mail-1"}, Begun: time.Second}}, nil, load.Sample{Call: "get", Status: "500", Error: "boom"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.sample.Outcome, tc.sample.Due, tc.sample.Took = load.Failed, 10*time.Second, 100*ms
			r := &report.Report{Faults: tc.faults, Length: sc.For, Instances: tc.lanes}
			judge(r, sc, w, append(steady(20*time.Second, nil), tc.sample), 1.05)
			if len(r.Failed) != 1 {
				t.Fatalf("%d failures", len(r.Failed))
			}
			got := fmt.Sprintf("%s\n\nduring: %s\nadvice:\n", r.Failed[0].Explain, strings.Join(r.Failed[0].During, "; "))
			for _, a := range r.Advice {
				got += "- " + a + "\n"
			}
			golden(t, "explain-"+strings.ReplaceAll(strings.ReplaceAll(tc.name, " ", "-"), ",", "")+".txt", got)
		})
	}
}

func TestAdviceIsAboutWhatHappened(t *testing.T) {
	r := judged(Scenario{For: 20 * time.Second}, []report.Fault{{Kind: "kill", Target: []string{"mail-1"}, Begun: 5 * time.Second}}, steady(20*time.Second, nil))
	if len(r.Advice) != 0 || len(r.Failed) != 0 {
		t.Errorf("nobody noticed, and it says %q", r.Advice)
	}
	r = &report.Report{Length: 20 * time.Second, Invariants: []check.Verdict{{Name: "register", Answer: check.Broken}}}
	judge(r, Scenario{For: 20 * time.Second, Expect: Expect{Amplification: 1.2}}, inject.World{}, steady(20*time.Second, nil), 3)
	if len(r.Advice) != 2 || !strings.Contains(r.Advice[0], "register is broken") || !strings.Contains(r.Advice[1], "3.00 attempts") {
		t.Errorf("advice = %q", r.Advice)
	}
}

// Of more failures than a report takes, each kind is there.
func TestFailuresAreSpread(t *testing.T) {
	samples := steady(20*time.Second, func(s *load.Sample) {
		s.Outcome, s.Status = load.Failed, "503"
		if s.Due == 19*time.Second {
			s.Status = "500"
		}
	})
	r := judged(Scenario{For: 20 * time.Second}, nil, samples)
	rare := slices.IndexFunc(r.Failed, func(f report.Failure) bool { return f.Status == "500" })
	if len(r.Failed) != report.MaxFailures || r.MoreFailed != len(samples)-report.MaxFailures || rare < 0 {
		t.Errorf("%d and %d more, the rare one at %d", len(r.Failed), r.MoreFailed, rare)
	}
	if last := r.Failed[len(r.Failed)-1].Due; last < 15*time.Second {
		t.Errorf("the last one is of %v", last)
	}
	if !slices.IsSortedFunc(r.Failed, func(a, b report.Failure) int { return int(a.Due - b.Due) }) {
		t.Error("not in their order")
	}
}

// Judging never panics, and its figures agree with each other, whatever was measured.
func TestWhateverWasMeasured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := time.Duration(rapid.IntRange(1, 60).Draw(t, "length")) * time.Second
		at := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(length)).Draw(t, name))
		}
		var faults []report.Fault
		for range rapid.IntRange(0, 6).Draw(t, "faults") {
			f := report.Fault{Kind: string(rapid.SampledFrom(inject.Kinds()).Draw(t, "kind")), Target: []string{rapid.SampledFrom([]string{"orders-1", "mail-1", "nobody"}).Draw(t, "target")}, Begun: at("begun")}
			if rapid.Bool().Draw(t, "lasts") {
				f.Ended = f.Begun + at("lasted")
			}
			faults = append(faults, f)
		}
		var samples []load.Sample
		for range rapid.IntRange(0, 100).Draw(t, "samples") {
			samples = append(samples, load.Sample{
				Call: "get", Due: at("due"), Took: at("took"), Status: rapid.SampledFrom([]string{"", "200", "503", "404", "weird"}).Draw(t, "status"),
				Outcome: rapid.SampledFrom([]load.Outcome{load.OK, load.Failed, load.Refused}).Draw(t, "outcome"), Error: rapid.String().Draw(t, "error"),
			})
		}
		slices.SortStableFunc(samples, func(a, b load.Sample) int { return int(a.Due - b.Due) })
		sc := Scenario{For: length, Expect: Expect{Success: 0.5, P99: time.Second}}
		sc.Load.Calls = []load.Call{{Name: "get"}}
		r := judged(sc, faults, samples)
		failed := 0
		for _, f := range r.Faults {
			if f.Mask < 0 || f.Mask > r.Figures.Mask || (f.Failed > 0) != (f.Mask > 0) && f.Mask > 0 {
				t.Fatalf("fault %+v of %+v", f, r.Figures)
			}
		}
		for _, s := range samples {
			if s.Outcome == load.Failed {
				failed++
			}
		}
		if r.Figures.Failed != failed || len(r.Failed)+r.MoreFailed != failed || r.Calls[0].Failed != failed {
			t.Fatalf("%d failed: %+v", failed, r.Figures)
		}
		for _, f := range r.Failed {
			if f.Explain == "" {
				t.Fatalf("%+v is not explained", f)
			}
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}
