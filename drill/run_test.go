package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

var bad = []inject.Fault{
	{Kind: inject.Freeze, At: 12 * time.Second, For: 3 * time.Second, Target: []string{"web-2"}},
	{Kind: inject.Kill, At: 5 * time.Second, Target: []string{"web"}},
}

func TestNobodyNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		r, told := drilled(t.Context(), y, Scenario{Name: "x", Faults: bad, Expect: Expect{Success: 0.9999, P99: 20 * ms, Mask: time.Second}})
		if v := r.Verdict(); v != report.NobodyNoticed {
			t.Errorf("verdict = %v: %q", v, r.Reasons())
		}
		if r.Figures.Calls < 1000 || r.Figures.Failed != 0 || r.Length != 25*time.Second || len(r.Faults) != 2 || r.System != "toy" || r.Command != "again" {
			t.Errorf("report = %+v", r.Figures)
		}
		if f := r.Faults[1]; f.What != "freeze web-2" || f.Begun != 12*time.Second || f.Ended != 15*time.Second || f.Error != "" {
			t.Errorf("fault = %+v", f)
		}
		if got := strings.Join(y.calls, "; "); got != "kill "+r.Faults[0].Target[0]+"; freeze web-2; mend web-2" {
			t.Errorf("the system was told %s", got)
		}
		golden(t, "told.txt", strings.Join(told, "\n")+"\n")
		if len(r.Instances) != 2 || len(r.Instances[0].Phases)+len(r.Instances[1].Phases) != 3 {
			t.Errorf("lanes = %+v", r.Instances)
		}
	})
}

func TestUsersNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.alone = true
		r, _ := drilled(t.Context(), y, Scenario{Name: "x", Faults: bad, Expect: Expect{Success: 0.9999, Mask: 500 * ms}})
		if v := r.Verdict(); v != report.UsersNoticed || len(r.Reasons()) != 2 {
			t.Errorf("verdict = %v: %q", v, r.Reasons())
		}
		if r.Figures.Failed == 0 || len(r.Failed) != r.Figures.Failed || len(r.Advice) == 0 {
			t.Errorf("%d failed, %d told, advice %q", r.Figures.Failed, len(r.Failed), r.Advice)
		}
		// The last calls to a frozen instance end a second after it was thawed.
		if mask := r.Faults[1].Mask; mask < 3*time.Second || mask > 4*time.Second {
			t.Errorf("the freeze was masked after %v", mask)
		}
	})
}

// Whatever ends a drill, what it broke is mended.
func TestWhatIsBrokenIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(13*time.Second, cancel) // in the middle of the freeze
		r, _ := drilled(ctx, y, Scenario{Name: "x", Faults: bad})
		if r.Verdict() != report.CouldNotRun || r.CouldNot == "" || !strings.Contains(r.CouldNot, "interrupted") {
			t.Errorf("verdict = %v, %s", r.Verdict(), r.CouldNot)
		}
		if y.calls[len(y.calls)-1] != "mend web-2" || len(y.faults) != 0 || len(r.Faults) != 2 || r.Figures.Calls == 0 {
			t.Errorf("the system was told %q, %+v", y.calls, r.Faults)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		// A fault that lasts beyond the end of the load ends with it.
		long := inject.Fault{Kind: inject.Freeze, At: 2 * time.Second, For: time.Hour, Target: []string{"web-2"}}
		r, _ := drilled(t.Context(), y, Scenario{Name: "x", For: 5 * time.Second, Faults: []inject.Fault{long}})
		if len(y.faults) != 0 || r.Faults[0].Ended < 5*time.Second || r.Faults[0].Error != "" {
			t.Errorf("%+v", r.Faults)
		}
	})
}

// A restart that takes longer than was thought is seen to its end; one that does not end has not been done.
func TestARestartThatTakesLong(t *testing.T) {
	restart := Scenario{Name: "x", For: 15 * time.Second, Faults: []inject.Fault{{Kind: inject.Restart, At: 3 * time.Second, Target: []string{"web/all"}}}}
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.restart, y.keys = 10*time.Second, make(map[string]int)
		restart.Load.Calls = []load.Call{{Name: "get", Weight: 1, Method: "POST", Path: "/", Key: "{{run}}-{{seq}}", Timeout: time.Second}}
		r, _ := drilled(t.Context(), y, restart)
		for key, n := range y.keys {
			if n > 1 {
				t.Errorf("%d calls had the key %s", n, key)
			}
		}
		if f := r.Faults[0]; r.Verdict() != report.NobodyNoticed || f.Error != "" || f.Ended != 23*time.Second || r.Length < 25*time.Second || r.Length > 28*time.Second {
			t.Errorf("verdict = %v: %q, %+v in %v", r.Verdict(), r.Reasons(), f, r.Length)
		}
		if last := r.Timeline[len(r.Timeline)-4]; last.OK == 0 {
			t.Errorf("no load at %v", last.From)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.restart = time.Hour
		r, _ := drilled(t.Context(), y, restart)
		if r.Verdict() != report.CouldNotRun || !strings.Contains(r.Faults[0].Error, "the load was over before it was done") {
			t.Errorf("verdict = %v: %+v", r.Verdict(), r.Faults)
		}
	})
}

// A fault for which the system is not ready until the load is over has not been done, and neither has one of which there was
// hardly time for.
func TestAFaultThatComesLate(t *testing.T) {
	for late, want := range map[time.Duration]string{7 * time.Second: "before it was done", 4500 * ms: "the load was over after 1.", time.Second: ""} {
		synctest.Test(t, func(t *testing.T) {
			y := newToy()
			y.broken = failure.New(failure.Unavailable, "it is just being started")
			time.AfterFunc(5*time.Second+late, func() {
				y.mu.Lock()
				defer y.mu.Unlock()
				y.broken = nil
			})
			f := inject.Fault{Kind: inject.Freeze, At: 5 * time.Second, For: 4 * time.Second, Target: []string{"web-2"}}
			r, _ := drilled(t.Context(), y, Scenario{Name: "x", For: 10 * time.Second, Faults: []inject.Fault{f}})
			if got := r.Faults[0].Error; !strings.Contains(got, want) || (got == "") != (want == "") || (r.Verdict() == report.CouldNotRun) != (want != "") {
				t.Errorf("%v late: verdict = %v, %q; want %q", late, r.Verdict(), got, want)
			}
		})
	}
}

// An instance that never comes back is a finding, even if no call failed.
func TestAnInstanceThatStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.down = time.Hour
		r, _ := drilled(t.Context(), y, Scenario{Name: "x", Faults: bad[1:]})
		if r.Verdict() != report.UsersNoticed || r.Figures.Failed != 0 || len(r.Invariants) != 1 || !strings.Contains(strings.Join(r.Reasons(), " "), "the system is well again is broken: 60 s after") {
			t.Errorf("verdict = %v: %q", r.Verdict(), r.Reasons())
		}
	})
}

// Faults of a platform that ends in the drill are not taken for the system's.
func TestThePlatformEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.alone = true
		y.ended = time.Now().Add(13500 * ms) // in the middle of the freeze
		r, _ := drilled(t.Context(), y, Scenario{Name: "x", Faults: bad})
		if r.Verdict() != report.CouldNotRun || !strings.HasPrefix(r.CouldNot, "the platform itself ended, about 12 s after") || len(r.Advice) != 0 {
			t.Errorf("verdict = %v: %s, advice %q", r.Verdict(), r.CouldNot, r.Advice)
		}
		if r.Length > 15*time.Second {
			t.Errorf("the load went on for %v", r.Length)
		}
		for _, f := range r.Failed {
			if explained := strings.Contains(f.Explain, "The platform itself"); explained != (f.Due+f.Took >= 12*time.Second) {
				t.Errorf("%v: %s", f.Due, f.Explain)
			}
		}
	})
}

// Calls that were to fail, of methods that nobody calls, are no fault that was stood.
func TestAFaultThatHitsNothing(t *testing.T) {
	for _, called := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			y := newToy()
			y.called = called
			f := inject.Fault{Kind: inject.Errors, At: 5 * time.Second, For: 4 * time.Second, Target: []string{"web-2"}, Methods: []string{"/x.Y/Nobody"}}
			r, _ := drilled(t.Context(), y, Scenario{Name: "x", Faults: []inject.Fault{f}})
			if got := r.Faults[0].Error; strings.Contains(got, "it hit no call") == called || (r.Verdict() == report.CouldNotRun) == called || r.Faults[0].Ended > 9100*ms {
				t.Errorf("called: %v, verdict = %v, %+v", called, r.Verdict(), r.Faults[0])
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := inject.Fault{Kind: inject.Disk, At: 5 * time.Second, For: 4 * time.Second, Target: []string{"web-2"}, Mode: "full"}
		r, _ := drilled(t.Context(), newToy(), Scenario{Name: "x", Faults: []inject.Fault{f}})
		if r.Verdict() != report.CouldNotRun || !strings.Contains(r.CouldNot, "web keeps no replicated state") {
			t.Errorf("verdict = %v: %s", r.Verdict(), r.CouldNot)
		}
	})
}

// A random fault does not take the last instance when another one takes longer to come back than was thought.
func TestRandomFaultsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.down = 25 * time.Second
		r, _ := drilled(t.Context(), y, Scenario{Name: "x", For: 2 * time.Minute, Random: &Random{Every: time.Second, Kinds: []inject.Kind{inject.Kill}}})
		if r.Verdict() != report.NobodyNoticed || len(r.Faults) < 2 || !strings.Contains(strings.Join(r.LeftOut, "\n"), "was still missing") {
			t.Errorf("verdict = %v: %q, %d faults, left out %q", r.Verdict(), r.Reasons(), len(r.Faults), r.LeftOut)
		}
	})
}

// Random faults of which none can be drawn are no drill.
func TestNothingCanBeDrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := drilled(t.Context(), newToy(), Scenario{Name: "x", For: 12 * time.Second, Random: &Random{}})
		if r.Verdict() != report.CouldNotRun || !strings.Contains(r.CouldNot, "nothing can be drawn in 12 s") || r.Figures.Calls != 0 {
			t.Errorf("verdict = %v: %s", r.Verdict(), r.CouldNot)
		}
	})
}

func TestWhatCannotBeRun(t *testing.T) {
	for want, sc := range map[string]Scenario{
		`no instance "wbe"; did you mean web?`: {Faults: []inject.Fault{{Kind: inject.Kill, Target: []string{"wbe"}}}},
		"cannot be drawn":                      {Random: &Random{Kinds: []inject.Kind{inject.Scale}}},
		"none of its own":                      {Faults: []inject.Fault{{Kind: inject.Registry, Mode: "wiped"}}},
		"which lasts 7 s":                      {For: 7 * time.Second, Faults: []inject.Fault{{Kind: inject.Kill, At: 7 * time.Second, Target: []string{"web"}}}},
		"is too short":                         Scenario{Faults: bad}.Last(time.Second),
		"it has no function":                   {Invariants: []check.Invariant{{Func: &check.Func{}}}},
		"nonsense":                             {Load: load.Mix{Calls: []load.Call{{Name: "get", Weight: 1, Method: "GET", Path: "/{{nonsense}}"}}}},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				y := newToy()
				sc.Name = "x"
				r, _ := drilled(t.Context(), y, sc)
				if r.Verdict() != report.CouldNotRun || !strings.Contains(r.CouldNot, want) || len(y.calls) != 0 || r.Figures.Calls != 0 {
					t.Errorf("verdict = %v, %q after %q", r.Verdict(), r.CouldNot, y.calls)
				}
			})
		})
	}
}

// Calls that nobody has written are tried before they are taken for what users do.
func TestNobodyHasWrittenCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		good := Run(t.Context(), &Scenario{Name: "x", For: 5 * time.Second}, Config{look: ours, Control: y, HTTP: y})
		if good.Verdict() != report.NobodyNoticed || good.Calls[0].Name != "get web" || good.Figures.Calls < 200 {
			t.Errorf("verdict = %v, %q, %+v", good.Verdict(), good.Reasons(), good.Figures)
		}
		y.status = 404
		r := Run(t.Context(), &Scenario{Name: "x"}, Config{look: ours, Control: y, HTTP: y})
		if r.Verdict() != report.CouldNotRun || !strings.Contains(r.CouldNot, "GET / of web is answered 404") {
			t.Errorf("verdict = %v, %s", r.Verdict(), r.CouldNot)
		}
	})
}

func TestAFaultThatCannotBeDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.broken = failure.New(failure.Internal, "no such thing")
		r, _ := drilled(t.Context(), y, Scenario{Name: "x", Faults: bad})
		if r.Verdict() != report.CouldNotRun || !strings.Contains(r.Faults[1].Error, "no such thing") {
			t.Errorf("verdict = %v, %+v", r.Verdict(), r.Faults)
		}
	})
}

func TestOnlyOneDrillAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.faults["f"] = control.FaultRequest{}
		r, _ := drilled(t.Context(), y, Scenario{Name: "x"})
		if r.Verdict() != report.CouldNotRun || !strings.Contains(r.CouldNot, "another drill") {
			t.Errorf("verdict = %v, %s", r.Verdict(), r.CouldNot)
		}
	})
}

// A system that is not well is waited for, and not drilled if it stays so.
func TestASystemThatIsNotWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.away["web-2"] = time.Now().Add(10 * time.Second)
		r, told := drilled(t.Context(), y, Scenario{Name: "x", Faults: bad})
		if r.Verdict() != report.NobodyNoticed || !slices.Contains(told, "  0.0 waiting for web-2, which is starting") {
			t.Errorf("verdict = %v: %q, told %q", r.Verdict(), r.Reasons(), told)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		y := newToy()
		y.away["web-2"] = time.Now().Add(time.Hour)
		r, _ := drilled(t.Context(), y, Scenario{Name: "x", Faults: bad})
		if r.Verdict() != report.CouldNotRun || r.CouldNot != "the system is not well: web-2, which is starting" {
			t.Errorf("verdict = %v: %s", r.Verdict(), r.CouldNot)
		}
	})
}

// A Go function can be an invariant.
func TestInvariantsAreJudged(t *testing.T) {
	for answer, want := range map[check.Answer]report.Verdict{check.Holds: report.NobodyNoticed, check.Broken: report.UsersNoticed, check.Unknown: report.CouldNotRun} {
		synctest.Test(t, func(t *testing.T) {
			sc := Scenario{Name: "x", Faults: bad, Invariants: []check.Invariant{{Name: "mine", Func: &check.Func{Judge: func(_ context.Context, w *check.World) check.Verdict {
				return check.Verdict{Answer: answer, Says: fmt.Sprintf("%d calls", len(w.Record.Samples()))}
			}}}}}
			r, _ := drilled(t.Context(), newToy(), sc)
			if r.Verdict() != want || len(r.Invariants) != 1 || r.Invariants[0].Says != fmt.Sprintf("%d calls", r.Figures.Calls) {
				t.Errorf("verdict = %v: %+v", r.Verdict(), r.Invariants)
			}
		})
	}
}

func TestRandomFaultsAreRepeated(t *testing.T) {
	run := func() (out string) {
		synctest.Test(t, func(t *testing.T) {
			y := newToy()
			r, _ := drilled(t.Context(), y, Scenario{Name: "x", For: time.Minute, Random: &Random{Every: 5 * time.Second, Kinds: []inject.Kind{inject.Kill, inject.Freeze, inject.Restart}}})
			for _, f := range r.Faults {
				out += fmt.Sprintln(f.Kind, f.What, f.Begun, f.Ended)
			}
			if r.Verdict() != report.NobodyNoticed {
				t.Errorf("verdict = %v: %q", r.Verdict(), r.Reasons())
			}
		})
		return out
	}
	if a, b := run(), run(); a != b || strings.Count(a, "\n") < 3 {
		t.Errorf("one:\n%s\nother:\n%s", a, b)
	}
}
