package report_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/report"
)

func TestVerdict(t *testing.T) {
	met := report.Expectation{Name: "success", Goal: "all", Value: "all", Kept: true}
	for name, c := range map[string]struct {
		change func(*report.Report)
		want   report.Verdict
	}{
		"all is well":                     {func(*report.Report) {}, report.NobodyNoticed},
		"an expectation was missed":       {func(r *report.Report) { r.Expectations[0].Kept = false }, report.UsersNoticed},
		"an invariant is broken":          {func(r *report.Report) { r.Invariants[0].Answer = check.Broken }, report.UsersNoticed},
		"an invariant is unknown":         {func(r *report.Report) { r.Invariants[0].Answer = check.Unknown }, report.CouldNotRun},
		"an answer that is none":          {func(r *report.Report) { r.Invariants[0].Answer = "" }, report.CouldNotRun},
		"an expectation cannot be judged": {func(r *report.Report) { r.Expectations[0].Unknown = "held up" }, report.CouldNotRun},
		"a fault could not be done":       {func(r *report.Report) { r.Faults[0].Error = "refused" }, report.CouldNotRun},
		"nothing was expected":            {func(r *report.Report) { r.Expectations, r.Invariants = nil, nil }, report.CouldNotRun},
		"it was broken off": {func(r *report.Report) {
			r.CouldNot, r.Expectations[0].Kept = "interrupted", false
		}, report.CouldNotRun},
		"what is broken counts more than what is unknown": {func(r *report.Report) {
			r.Invariants[0].Answer, r.Expectations[0].Kept = check.Unknown, false
		}, report.UsersNoticed},
	} {
		r := &report.Report{
			Expectations: []report.Expectation{met}, Invariants: []check.Verdict{{Name: "stock", Answer: check.Holds}},
			Faults: []report.Fault{{What: "kill"}},
		}
		c.change(r)
		if got := r.Verdict(); got != c.want || got.ExitCode() != int(c.want) {
			t.Errorf("%s: %v, exit code %d; want %v", name, got, got.ExitCode(), c.want)
		}
		if reasons := r.Reasons(); (len(reasons) == 0) != (c.want == report.NobodyNoticed) {
			t.Errorf("%s: the reasons are %q", name, reasons)
		}
	}
}

func TestWorst(t *testing.T) {
	good, bad, not := sample(), badSample(), notRun()
	for _, c := range []struct {
		of   []*report.Report
		want report.Verdict
	}{
		{nil, report.CouldNotRun},
		{[]*report.Report{good, good}, report.NobodyNoticed},
		{[]*report.Report{good, not}, report.CouldNotRun},
		{[]*report.Report{not, bad, good}, report.UsersNoticed},
	} {
		if got := report.Worst(c.of...); got != c.want {
			t.Errorf("the worst of %d is %v, want %v", len(c.of), got, c.want)
		}
	}
	if got := report.Verdict(7).ExitCode(); got != 2 {
		t.Errorf("an unknown verdict ends with %d", got)
	}
}

// How long failures lasted says little when they had not ended.
func TestItSaysThatCallsStillFail(t *testing.T) {
	for name, at := range map[string]int{"at the end": 1, "before": 10} {
		r := badSample()
		r.Timeline[len(r.Timeline)-at].Failed = 3
		r.Timeline = append(r.Timeline, report.Slice{From: r.Length + 3*time.Second}) // while it waited for the last answers
		var b bytes.Buffer
		if err := report.Terminal(&b, r, report.Screen{Width: 120}); err != nil {
			t.Fatal(err)
		}
		if says := strings.Contains(b.String(), "still failed at the end"); says != (at == 1) {
			t.Errorf("failures %s: %s", name, b.String())
		}
	}
}

// A drill is made again only when this machine is why there is no verdict, or may be.
func TestDisturbed(t *testing.T) {
	machine := report.Expectation{Name: "success", Unknown: "the host took it", Machine: true}
	kept := report.Expectation{Name: "p99", Kept: true}
	for name, tc := range map[string]struct {
		r    report.Report
		want bool
	}{
		"this machine":             {report.Report{Expectations: []report.Expectation{machine, kept}}, true},
		"and an invariant":         {report.Report{Expectations: []report.Expectation{machine}, Invariants: []check.Verdict{{Answer: check.Unknown}}}, true},
		"and one that holds":       {report.Report{Expectations: []report.Expectation{machine}, Invariants: []check.Verdict{{Answer: check.Holds}}}, true},
		"and a fault that was not": {report.Report{Expectations: []report.Expectation{machine}, Faults: []report.Fault{{Error: "no"}}}, true},
		"a fault that was not":     {report.Report{Expectations: []report.Expectation{kept}, Faults: []report.Fault{{Error: "no"}}}, false},
		"while the host took much": {report.Report{Expectations: []report.Expectation{kept}, Faults: []report.Fault{{Error: "no"}}, Host: &report.Host{Spans: []report.Span{{To: 1}}}}, true},
		"took a little":            {report.Report{Expectations: []report.Expectation{kept}, Faults: []report.Fault{{Error: "no"}}, Host: &report.Host{Share: 0.1}}, false},
		"and nobody noticed":       {report.Report{Expectations: []report.Expectation{kept}, Host: &report.Host{Spans: []report.Span{{To: 1}}}}, false},
		"and another one":          {report.Report{Expectations: []report.Expectation{machine, {Name: "mask", Unknown: "nothing was broken"}}}, false},
		"and one that was missed":  {report.Report{Expectations: []report.Expectation{machine, {Name: "mask"}}}, false},
		"nothing":                  {report.Report{Expectations: []report.Expectation{kept}}, false},
		"nothing was expected":     {report.Report{}, false},
		"the platform ended":       {report.Report{Expectations: []report.Expectation{machine}, CouldNot: "the platform itself ended"}, false},
	} {
		if got := tc.r.Disturbed(); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
