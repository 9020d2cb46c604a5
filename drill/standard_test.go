package drill

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
)

// The set, as a transcript: what each drill does, and what is left out.
func TestStandard(t *testing.T) {
	for name, w := range map[string]inject.World{
		"shop":  shop(),
		"alone": {Services: []inject.Service{{Name: "one", Instances: []string{"one-1"}, Public: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			drills, leftOut := Standard(w, nil)
			var b strings.Builder
			for _, sc := range drills {
				fmt.Fprintf(&b, "%s: %s (%s)\n", sc.Name, sc.About, inject.Span(sc.Length()))
				for i, f := range sc.Faults {
					r, err := inject.Resolve(f, w, rand.New(rand.NewPCG(1, uint64(i))))
					if err != nil {
						t.Fatalf("%s: %v", sc.Name, err)
					}
					fmt.Fprintf(&b, "  %6s %6s  %s\n", inject.Span(f.At), inject.Span(f.For), r.What)
				}
			}
			for _, line := range leftOut {
				fmt.Fprintf(&b, "left out: %s\n", line)
			}
			golden(t, "standard-"+name+".txt", b.String())
		})
	}
}

func TestEveryStandardDrillCanBeRun(t *testing.T) {
	base := &Scenario{
		Name: StandardName, For: 20 * time.Second, File: "standard.yaml",
		Load: load.Mix{
			Steps: []load.Step{{For: time.Second, From: 30, To: 30}, {For: time.Second, From: 30, To: 90}},
			Calls: []load.Call{{Name: "get", Method: "GET", Path: "/", Weight: 1}},
		},
		Faults:     []inject.Fault{{Kind: inject.Kill, Target: []string{"orders"}}},
		Expect:     Expect{Success: 0.5, P99: time.Second, Mask: time.Second},
		Invariants: []check.Invariant{{Command: &check.Command{Run: "true"}}},
	}
	for _, b := range []*Scenario{nil, base} {
		drills, _ := Standard(shop(), b)
		for _, sc := range drills {
			done := sc.complete()
			for _, f := range sc.Faults {
				if problems := f.Validate(); len(problems) > 0 || f.At < Calm || f.At+f.For > done.For {
					t.Errorf("%s: %+v: %v", sc.Name, f, problems)
				}
			}
			if !sc.Lenient || len(sc.LeftOut) != 1 || done.Load.Length() != done.For || done.Load.Rate(0) == 0 {
				t.Errorf("%s: %+v", sc.Name, done)
			}
			switch {
			case b == nil && done.Expect.Success != DefaultSuccess:
				t.Errorf("%s expects %+v", sc.Name, done.Expect)
			case b != nil && (done.Expect.Success != 0.5 || len(done.Invariants) != 1 || done.Load.Rate(0) != 30 || sc.File != ""):
				t.Errorf("%s is not like its base: %+v", sc.Name, done)
			}
			if strings.Contains(sc.Name, "spike") != (done.Load.Peak() > done.Load.Rate(0)) {
				t.Errorf("%s has a peak of %v", sc.Name, done.Load.Peak())
			}
		}
	}
	if len(base.Faults) != 1 || base.LeftOut != nil {
		t.Errorf("the base was changed: %+v", base)
	}
}

func TestLast(t *testing.T) {
	sc := Scenario{
		Load:   load.Mix{Steps: []load.Step{{For: 10 * time.Second, From: 0, To: 100}, {For: 10 * time.Second, From: 7, To: 7}}},
		Faults: []inject.Fault{{Kind: inject.Kill, At: time.Second}, {Kind: inject.Freeze, At: 4 * time.Second, For: 2 * time.Second}},
	}
	short := sc.Last(5 * time.Second)
	if short.Length() != 5*time.Second || short.Load.Length() != 5*time.Second || short.Load.Steps[0].To != 50 || len(short.Faults) != 1 || len(short.LeftOut) != 1 {
		t.Errorf("short = %+v", short)
	}
	long := sc.Last(time.Minute)
	if long.Length() != time.Minute || long.Load.Length() != time.Minute || long.Load.Rate(59*time.Second) != 7 || len(long.Faults) != 2 || long.LeftOut != nil {
		t.Errorf("long = %+v", long)
	}
	if len(sc.Load.Steps) != 2 || sc.Load.Steps[0].To != 100 {
		t.Errorf("the scenario was changed: %+v", sc)
	}
}
