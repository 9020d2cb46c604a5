package report

import (
	"fmt"

	"github.com/holdfast-go/holdfast/drill/check"
)

// Verdict is what counts in the end, and the exit code.
type Verdict int

// The verdicts.
const (
	NobodyNoticed Verdict = iota // 0
	UsersNoticed                 // 1: an expectation was missed or an invariant is broken
	CouldNotRun                  // 2
)

// String is "nobody noticed", "users noticed" or "could not run".
func (v Verdict) String() string {
	switch v {
	case NobodyNoticed:
		return "nobody noticed"
	case UsersNoticed:
		return "users noticed"
	default:
		return "could not run"
	}
}

// ExitCode is that of a program that ends with v.
func (v Verdict) ExitCode() int {
	if v < NobodyNoticed || v > CouldNotRun {
		return int(CouldNotRun)
	}
	return int(v)
}

// Verdict is CouldNotRun if CouldNot says so; else UsersNoticed if an expectation was missed or an invariant is broken;
// else CouldNotRun if anything of what was to be done or judged was not: a fault, an expectation, an invariant, or all of
// it. What is left is NobodyNoticed.
func (r *Report) Verdict() Verdict {
	v, _ := r.judge()
	return v
}

// Reasons say why the verdict is what it is, one line each, the gravest first. There are none if nobody noticed.
func (r *Report) Reasons() []string {
	_, reasons := r.judge()
	return reasons
}

// Disturbed reports whether there is no verdict although the drill was made, and this machine is why, of a promise at least, or
// may be, since its host took the processors: another time there may be one. There never is if a promise could not be judged for
// another reason.
func (r *Report) Disturbed() bool {
	if r.Verdict() != CouldNotRun || r.CouldNot != "" {
		return false
	}
	disturbed := r.Host != nil && len(r.Host.Spans) > 0
	for _, e := range r.Expectations {
		if e.Unknown != "" && !e.Machine {
			return false
		}
		disturbed = disturbed || e.Unknown != ""
	}
	return disturbed
}

func (r *Report) judge() (Verdict, []string) {
	if r.CouldNot != "" {
		return CouldNotRun, []string{r.CouldNot}
	}
	var broken, unknown []string
	for _, v := range r.Invariants {
		switch v.Answer {
		case check.Holds:
		case check.Broken:
			broken = append(broken, fmt.Sprintf("%s is broken: %s", v.Name, v.Says))
		default:
			unknown = append(unknown, fmt.Sprintf("%s could not be checked: %s", v.Name, v.Says))
		}
	}
	for _, e := range r.Expectations {
		switch {
		case e.Unknown != "":
			unknown = append(unknown, fmt.Sprintf("%s could not be judged: %s", e.Name, e.Unknown))
		case !e.Kept:
			broken = append(broken, fmt.Sprintf("%s was %s, and had to be %s", e.Name, e.Value, e.Goal))
		}
	}
	for _, f := range r.Faults {
		if f.Error != "" {
			unknown = append(unknown, fmt.Sprintf("%s could not be done: %s", f.What, f.Error))
		}
	}
	if len(r.Expectations)+len(r.Invariants) == 0 {
		unknown = append(unknown, "nothing was expected of it, so there is nothing to judge")
	}
	switch {
	case len(broken) > 0:
		return UsersNoticed, append(broken, unknown...)
	case len(unknown) > 0:
		return CouldNotRun, unknown
	}
	return NobodyNoticed, nil
}

// Worst is the verdict on several: UsersNoticed if any is, else CouldNotRun if any is or there are none, else NobodyNoticed.
func Worst(reports ...*Report) Verdict {
	worst := NobodyNoticed
	for _, r := range reports {
		switch r.Verdict() {
		case UsersNoticed:
			return UsersNoticed
		case CouldNotRun:
			worst = CouldNotRun
		case NobodyNoticed:
		}
	}
	if len(reports) == 0 {
		return CouldNotRun
	}
	return worst
}
