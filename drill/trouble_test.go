package drill

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
