package drill

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

func TestMask(t *testing.T) {
	between := func(from, to time.Duration) func(s *load.Sample) {
		return func(s *load.Sample) {
			if s.Due >= from && s.Due < to {
				s.Outcome = load.Failed
			}
		}
	}
	kill := report.Fault{Kind: "kill", Begun: 5 * time.Second}
	freeze := report.Fault{Kind: "freeze", Begun: 5 * time.Second, Ended: 10 * time.Second}
	for _, tc := range []struct {
		name   string
		faults []report.Fault
		change func(s *load.Sample)
		masks  []time.Duration
		failed []int
	}{
		{"nothing fails", []report.Fault{kill}, nil, []time.Duration{0}, []int{0}},
		{"for a second", []report.Fault{kill}, between(5*time.Second, 6*time.Second), []time.Duration{995 * ms}, []int{100}},
		{"before it, which is nobody's", []report.Fault{kill}, between(1*time.Second, 2*time.Second), []time.Duration{0}, []int{0}},
		{"until it ends", []report.Fault{freeze}, between(5*time.Second, 10*time.Second), []time.Duration{4995 * ms}, []int{500}},
		{"because it ends", []report.Fault{freeze}, between(10*time.Second, 10500*ms), []time.Duration{495 * ms}, []int{50}},
		{"the later one's", []report.Fault{freeze, {Kind: "kill", Begun: 7 * time.Second}}, between(7*time.Second, 8*time.Second), []time.Duration{0, 995 * ms}, []int{0, 100}},
		{"both at once", []report.Fault{kill, {Kind: "kill", Begun: 5050 * ms}}, between(5*time.Second, 6*time.Second), []time.Duration{995 * ms, 995 * ms}, []int{100, 100}},
		{"across the next one", []report.Fault{kill, {Kind: "kill", Begun: 6 * time.Second}}, between(5*time.Second, 7*time.Second), []time.Duration{1995 * ms, 995 * ms}, []int{200, 100}},
		{"across its end", []report.Fault{freeze}, between(5*time.Second, 11*time.Second), []time.Duration{5995 * ms}, []int{600}},
		{"twice, which is two outages", []report.Fault{kill, {Kind: "kill", Begun: 8 * time.Second}}, func(s *load.Sample) {
			between(5*time.Second, 6*time.Second)(s)
			between(8*time.Second, 9*time.Second)(s)
		}, []time.Duration{995 * ms, 995 * ms}, []int{100, 100}},
		{"under way when it began", []report.Fault{kill}, func(s *load.Sample) {
			if s.Due == 4990*ms {
				s.Outcome, s.Took = load.Failed, 300*ms
			}
		}, []time.Duration{290 * ms}, []int{1}},
		{"stuck in it, and lost when it ends", []report.Fault{freeze}, func(s *load.Sample) {
			if s.Due == 6*time.Second {
				s.Outcome, s.Took = load.Failed, 4100*ms
			}
		}, []time.Duration{5100 * ms}, []int{1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := judged(Scenario{For: 20 * time.Second}, slices.Clone(tc.faults), steady(20*time.Second, tc.change))
			for i, f := range r.Faults {
				if f.Mask != tc.masks[i] || f.Failed != tc.failed[i] {
					t.Errorf("fault %d: masked after %v, %d failed; want %v, %d", i, f.Mask, f.Failed, tc.masks[i], tc.failed[i])
				}
			}
			if r.Figures.Mask != slices.Max(tc.masks) {
				t.Errorf("mask = %v", r.Figures.Mask)
			}
		})
	}
}

func TestRecover(t *testing.T) {
	slow := func(from, to, took time.Duration) func(s *load.Sample) {
		return func(s *load.Sample) {
			if s.Due >= from && s.Due < to {
				s.Took = took
			}
		}
	}
	freeze := []report.Fault{{Kind: "freeze", Begun: 5 * time.Second, Ended: 10 * time.Second}}
	for _, tc := range []struct {
		name   string
		faults []report.Fault
		expect Expect
		change func(s *load.Sample)
		want   time.Duration
	}{
		{"nothing is slow", freeze, Expect{}, nil, 0},
		{"slow at first", freeze, Expect{}, slow(5*time.Second, 5300*ms, 200*ms), 500 * ms},
		// Those that were under way when it ended are slow after it.
		{"slow until it ends", freeze, Expect{}, slow(5*time.Second, 10*time.Second, 200*ms), 5500 * ms},
		{"stuck until it ends", freeze, Expect{}, func(s *load.Sample) {
			if s.Due >= 5*time.Second && s.Due < 10*time.Second {
				s.Took = 10*time.Second - s.Due
			}
		}, 5 * time.Second},
		{"slow, which is noise", freeze, Expect{}, slow(5*time.Second, 10*time.Second, 45*ms), 0},
		{"slow, and nobody minds", freeze, Expect{P99: 300 * ms}, slow(5*time.Second, 10*time.Second, 200*ms), 0},
		{"slow for a goal", freeze, Expect{P99: 20 * ms}, slow(5*time.Second, 6*time.Second, 45*ms), time.Second},
		{"slow before it", freeze, Expect{}, slow(3*time.Second, 4*time.Second, 200*ms), 0},
		{"nothing was broken", nil, Expect{}, slow(5*time.Second, 10*time.Second, 200*ms), 0},
		{"one slow call is not p99", freeze, Expect{}, slow(6*time.Second, 6005*ms, time.Second), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := judged(Scenario{For: 20 * time.Second, Expect: tc.expect}, slices.Clone(tc.faults), steady(20*time.Second, tc.change))
			if r.Figures.Recover != tc.want {
				t.Errorf("recover = %v, want %v", r.Figures.Recover, tc.want)
			}
		})
	}
}

// What is not back, and what nobody can tell of, is not kept.
func TestWhetherItIsBack(t *testing.T) {
	var kills []report.Fault
	for at := 5 * time.Second; at < 15*time.Second; at += time.Second {
		kills = append(kills, report.Fault{Kind: "kill", Begun: at})
	}
	kill := kills[:1]
	rare := func(s *load.Sample) bool { return s.Due%(330*ms) != 0 } // three calls a second
	for _, tc := range []struct {
		name    string
		faults  []report.Fault
		change  func(s *load.Sample)
		leave   func(s *load.Sample) bool
		want    time.Duration
		verdict report.Verdict
	}{
		{"nobody is answered any more", kill, func(s *load.Sample) {
			if s.Due >= 5*time.Second {
				s.Outcome = load.Failed
			}
		}, nil, 25 * time.Second, report.UsersNoticed},
		{"few calls, all slow", kill, func(s *load.Sample) {
			if s.Due >= 5*time.Second {
				s.Took = 4 * time.Second
			}
		}, rare, 23500 * ms, report.UsersNoticed},
		{"few calls, slow for a while", kill, func(s *load.Sample) {
			if s.Due >= 5*time.Second && s.Due < 8*time.Second {
				s.Took = 4 * time.Second
			}
		}, rare, 3 * time.Second, report.NobodyNoticed},
		{"few calls, none of them slow", kill, nil, rare, 0, report.NobodyNoticed},
		{"no calls after it", []report.Fault{{Kind: "kill", Begun: 29980 * ms}}, nil, nil, 0, report.CouldNotRun},
		{"slow across others", kills, func(s *load.Sample) {
			if s.Due >= 5*time.Second && s.Due < 15*time.Second {
				s.Took = 200 * ms
			}
		}, nil, 10 * time.Second, report.UsersNoticed},
		{"slow after each of many", kills, func(s *load.Sample) {
			if s.Due >= 5*time.Second && s.Due < 15*time.Second && s.Due%time.Second < 300*ms {
				s.Took = 200 * ms
			}
		}, nil, 500 * ms, report.NobodyNoticed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			samples := steady(30*time.Second, tc.change)
			if tc.leave != nil {
				samples = slices.DeleteFunc(samples, func(s load.Sample) bool { return tc.leave(&s) })
			}
			r := judged(Scenario{For: 30 * time.Second, Expect: Expect{Recover: 5 * time.Second}}, slices.Clone(tc.faults), samples)
			if r.Figures.Recover != tc.want || r.Verdict() != tc.verdict {
				t.Errorf("recover = %v, want %v: %v, %v", r.Figures.Recover, tc.want, r.Verdict(), r.Reasons())
			}
		})
	}
}

// An outage that goes on through one fault after the other is as long as it is.
func TestAnOutageIsNotCutByTheNextFault(t *testing.T) {
	var kills []report.Fault
	for at := 5 * time.Second; at < 15*time.Second; at += time.Second {
		kills = append(kills, report.Fault{Kind: "kill", Begun: at})
	}
	for _, every := range []time.Duration{10 * ms, 2 * time.Second} { // often, and seldom
		samples := slices.DeleteFunc(steady(30*time.Second, func(s *load.Sample) {
			if s.Due >= 5*time.Second && s.Due < 15*time.Second {
				s.Outcome = load.Failed
			}
		}), func(s load.Sample) bool { return s.Due%every != 0 })
		r := judged(Scenario{For: 30 * time.Second, Expect: Expect{Mask: 2 * time.Second}}, slices.Clone(kills), samples)
		if r.Figures.Mask < 7*time.Second || r.Verdict() != report.UsersNoticed {
			t.Errorf("a call each %v: mask = %v: %v", every, r.Figures.Mask, r.Verdict())
		}
	}
}
