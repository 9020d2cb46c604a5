package drill

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
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

// toy is a system of two instances of web in virtual time: a control API, and the edge in front of them. A call that meets an
// instance that is away fails at once, or hangs with it if it is frozen.
type toy struct {
	mu     sync.Mutex
	away   map[string]time.Time // until when
	frozen map[string]bool
	faults map[string]control.FaultRequest
	calls  []string
	rng    *rand.Rand
	broken error // of Inject
	events chan control.Event
	status int  // of answers; 0 is 200
	alone  bool // clients do not try another instance
}

func newToy() *toy {
	return &toy{
		away: make(map[string]time.Time), frozen: make(map[string]bool), faults: make(map[string]control.FaultRequest),
		rng: rand.New(rand.NewPCG(1, 1)), events: make(chan control.Event, 100),
	}
}

func (y *toy) note(format string, args ...any) {
	y.calls = append(y.calls, fmt.Sprintf(format, args...))
}

func (y *toy) System(context.Context) (control.Info, error) {
	return control.Info{System: "toy", State: control.Ready, Dir: "/nowhere", Services: []control.Service{{Name: "web", Replicas: 2, Ready: 2, HTTP: "edge:80"}}}, nil
}

func (y *toy) Instances(context.Context) (out []control.Instance, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for i, id := range []string{"web-1", "web-2"} {
		state := "ready"
		if time.Now().Before(y.away[id]) {
			state = "starting"
		}
		out = append(out, control.Instance{Service: "web", ID: id, PID: 10 + i, State: state, Addrs: map[string]string{"http": id + ":80"}})
	}
	return out, nil
}

func (y *toy) InstancesOf(ctx context.Context, _ string) ([]control.Instance, error) {
	return y.Instances(ctx)
}

func (y *toy) Kill(_ context.Context, id string, _ bool) ([]string, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.note("kill %s", id)
	y.away[id] = time.Now().Add(time.Second)
	y.events <- control.Event{Time: time.Now(), Service: "web", Instance: id, State: "starting"}
	return nil, nil
}

func (y *toy) Restart(context.Context, string) ([]string, error) {
	<-time.After(3 * time.Second)
	return nil, nil
}
func (y *toy) Wipe(context.Context, string) ([]string, error) { return nil, nil }

func (y *toy) Inject(_ context.Context, req control.FaultRequest) (control.Fault, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.broken != nil {
		return control.Fault{}, y.broken
	}
	id := fmt.Sprintf("f%d", len(y.calls))
	y.note("%s %s", req.Kind, strings.Join(req.Targets, " "))
	y.faults[id] = req
	for _, t := range req.Targets {
		y.frozen[t] = true
	}
	return control.Fault{ID: id}, nil
}

func (y *toy) Renew(context.Context, string) (control.Fault, error) { return control.Fault{}, nil }

func (y *toy) Mend(_ context.Context, id string) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	req, ok := y.faults[id]
	if !ok {
		return failure.New(failure.NotFound, "no fault %s", id)
	}
	y.note("mend %s", strings.Join(req.Targets, " "))
	delete(y.faults, id)
	for _, t := range req.Targets {
		delete(y.frozen, t)
	}
	return nil
}

func (y *toy) Faults(context.Context) ([]control.Fault, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	var out []control.Fault
	for id := range y.faults {
		out = append(out, control.Fault{ID: id, What: "web-1 is frozen"})
	}
	return out, nil
}

func (y *toy) Stats(context.Context) (control.Stats, error) {
	return control.Stats{Instances: map[string]control.InstanceStats{"web-1": {}, "web-2": {}}}, nil
}

func (y *toy) Events(ctx context.Context, _ func(), emit func(control.Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-y.events:
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

// RoundTrip is a call of a user.
func (y *toy) RoundTrip(req *http.Request) (*http.Response, error) {
	answer := func(status int, text string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
	}
	y.mu.Lock()
	first := y.rng.IntN(2)
	y.mu.Unlock()
	for attempt := 0; ; attempt++ {
		y.mu.Lock()
		id := []string{"web-1", "web-2"}[(first+attempt)%2]
		away, frozen := time.Now().Before(y.away[id]), y.frozen[id]
		alone := y.alone
		y.mu.Unlock()
		switch {
		case !away && !frozen:
			<-time.After(5 * ms)
			return answer(cmp.Or(y.status, 200), "hello")
		case away && (alone || attempt > 1):
			return answer(503, `{"title":"Service Unavailable","detail":"`+id+` is away"}`)
		case frozen && (alone || attempt > 1):
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
	}
}

func drilled(ctx context.Context, y *toy, sc Scenario) (*report.Report, []string) {
	var told []string
	if len(sc.Load.Calls) == 0 {
		sc.Load.Calls = []load.Call{{Name: "get", Weight: 1, Method: "GET", Path: "/", Timeout: time.Second}}
	}
	r := Run(ctx, &sc, Config{Control: y, Seed: 1, Command: "again", HTTP: y, Progress: func(p Progress) {
		if p.Message != "" {
			told = append(told, fmt.Sprintf("%5.1f %s", p.At.Seconds(), p.Message))
		}
	}})
	return r, told
}

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

func TestWhatCannotBeRun(t *testing.T) {
	for want, sc := range map[string]Scenario{
		`no instance "wbe"; did you mean web?`: {Faults: []inject.Fault{{Kind: inject.Kill, Target: []string{"wbe"}}}},
		"cannot be drawn":                      {Random: &Random{Kinds: []inject.Kind{inject.Scale}}},
		"none of its own":                      {Faults: []inject.Fault{{Kind: inject.Registry, Mode: "wiped"}}},
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
		good := Run(t.Context(), &Scenario{Name: "x", For: 5 * time.Second}, Config{Control: y, HTTP: y})
		if good.Verdict() != report.NobodyNoticed || good.Calls[0].Name != "get web" || good.Figures.Calls < 200 {
			t.Errorf("verdict = %v, %q, %+v", good.Verdict(), good.Reasons(), good.Figures)
		}
		y.status = 404
		r := Run(t.Context(), &Scenario{Name: "x"}, Config{Control: y, HTTP: y})
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
