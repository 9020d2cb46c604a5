package drill

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// troubled is a system that accepts faults, and in which nobody suffers them until a while has passed.
type troubled struct {
	*toy
	until time.Time
}

func (y troubled) Inject(ctx context.Context, req control.FaultRequest) (control.Fault, error) {
	<-time.After(100 * time.Millisecond) // as over a network, with processes that take note
	f, err := y.toy.Inject(ctx, req)
	f.Trouble = y.trouble()
	return f, err
}

func (y troubled) Renew(ctx context.Context, id string) (control.Fault, error) {
	f, err := y.toy.Renew(ctx, id)
	f.Trouble = y.trouble()
	return f, err
}

func (y troubled) trouble() string {
	if time.Now().Before(y.until) {
		return "web-1 has not taken note yet"
	}
	return ""
}

// A fault that nobody has suffered proves nothing: there is no verdict, whatever the system says of having accepted it.
func TestAFaultThatNobodySuffers(t *testing.T) {
	for _, tc := range []struct {
		name     string
		length   time.Duration
		fault    inject.Fault
		troubled time.Duration
		says     string // "" is that nobody noticed
	}{
		{"suffered", 20 * time.Second, inject.Fault{Kind: inject.Freeze, Target: []string{"web-1"}}, 0, ""},
		{"suffered late", 20 * time.Second, inject.Fault{Kind: inject.Freeze, Target: []string{"web-1"}}, 8 * time.Second, ""},
		{"never suffered", 20 * time.Second, inject.Fault{Kind: inject.Freeze, Target: []string{"web-1"}}, time.Hour, "web-1 has not taken note yet"},
		{"of a method that nobody calls", 20 * time.Second, inject.Fault{Kind: inject.Errors, Target: []string{"web-1"}, Methods: []string{"GET /nobody"}}, 0, "it hit no call"},
		{"the same until the end", 10 * time.Second, inject.Fault{Kind: inject.Errors, Target: []string{"web-1"}, Methods: []string{"GET /nobody"}}, 0, "it hit no call"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				y := newToy()
				tc.fault.At, tc.fault.For = 5*time.Second, 5*time.Second
				sc := Scenario{For: tc.length, Faults: []inject.Fault{tc.fault}}
				sc.Load.Calls = []load.Call{{Name: "get", Weight: 1, Method: "GET", Path: "/", Timeout: time.Second}}
				sc.Expect.Success = 0.01
				r := Run(t.Context(), &sc, Config{look: ours, Control: troubled{y, time.Now().Add(tc.troubled)}, Seed: 1, HTTP: y})
				want := report.NobodyNoticed
				if tc.says != "" {
					want = report.CouldNotRun
				}
				if why := strings.Join(r.Reasons(), "; "); r.Verdict() != want || !strings.Contains(why, tc.says) {
					t.Errorf("%v: %s", r.Verdict(), why)
				}
			})
		})
	}
}

// foreigners is a system of which no process is Holdfast's.
type foreigners struct{ *toy }

func (y foreigners) Stats(context.Context) (control.Stats, error) { return control.Stats{}, nil }

// What others say to their registry and their broker cannot be cut off, so that a drill that would do so is none.
func TestAnEngineThatIsOutOfReach(t *testing.T) {
	for _, kind := range []inject.Kind{inject.Registry, inject.Broker} {
		synctest.Test(t, func(t *testing.T) {
			y := newToy()
			sc := Scenario{For: 25 * time.Second, Faults: []inject.Fault{{Kind: kind, Mode: "down", At: 5 * time.Second, For: 10 * time.Second}}}
			sc.Load.Calls = []load.Call{{Name: "get", Weight: 1, Method: "GET", Path: "/", Timeout: time.Second}}
			r := Run(t.Context(), &sc, Config{look: ours, Control: foreigners{y}, Seed: 1, HTTP: y})
			if why := strings.Join(r.Reasons(), "; "); r.Verdict() != report.CouldNotRun || !strings.Contains(why, "out of reach") {
				t.Errorf("%s: %v: %s", kind, r.Verdict(), why)
			}
		})
	}
}

// What the processes of a system cannot be made to suffer is refused before anything begins, whatever it is.
func TestAFaultThatCannotBeDoneIsRefusedAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name    string
		foreign bool
		fault   inject.Fault
		says    string
	}{
		{"errors of somebody else's", true, inject.Fault{Kind: inject.Errors, Target: []string{"web-1"}}, "web is not Holdfast's"},
		{"a connection of somebody else's", true, inject.Fault{Kind: inject.Partition, From: []string{"web-1"}}, "--netns"},
		{"loss without namespaces", false, inject.Fault{Kind: inject.Loss, From: []string{"web-1"}, Share: 0.1}, "--netns"},
		{"clocks that cannot be moved", false, inject.Fault{Kind: inject.Clock, Target: []string{"web-1"}, Jump: time.Minute}, "--clock"},
		{"a member from everybody", false, inject.Fault{Kind: inject.Partition, From: []string{"control-1"}}, "between members of the control plane"},
		{"a member from the others", false, inject.Fault{Kind: inject.Partition, Between: [][]string{{"control-1"}, {"control-2"}}}, "between members of the control plane"},
		{"everybody from a member", false, inject.Fault{Kind: inject.Latency, From: []string{"*"}, To: []string{"control-1"}, Delay: time.Second}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				y := newToy()
				y.members = 3
				var c Control = y
				if tc.foreign {
					c = foreigners{y}
				}
				tc.fault.At, tc.fault.For = 5*time.Second, 5*time.Second
				sc := Scenario{For: 20 * time.Second, Faults: []inject.Fault{tc.fault}}
				sc.Load.Calls = []load.Call{{Name: "get", Weight: 1, Method: "GET", Path: "/", Timeout: time.Second}}
				r := Run(t.Context(), &sc, Config{look: ours, Control: c, Seed: 1, HTTP: y})
				why := strings.Join(r.Reasons(), "; ")
				if refused := r.Verdict() == report.CouldNotRun && r.Figures.Calls == 0; refused != (tc.says != "") || !strings.Contains(why, tc.says) {
					t.Errorf("%v after %d calls: %s", r.Verdict(), r.Figures.Calls, why)
				}
			})
		})
	}
}

// An invariant that says how long it may take has that long.
func TestAnInvariantHasItsTime(t *testing.T) {
	for _, i := range []check.Invariant{
		{Command: &check.Command{Timeout: 20 * time.Minute}},
		{HTTP: &check.HTTP{Within: 20 * time.Minute}},
		{Once: &check.Once{Within: 20 * time.Minute}},
		{Acknowledged: &check.Acknowledged{Within: 20 * time.Minute}},
	} {
		if got := patience(i); got != 20*time.Minute {
			t.Errorf("%+v: %v", i, got)
		}
	}
}
