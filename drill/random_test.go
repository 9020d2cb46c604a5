package drill

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/platform/control"
)

// shop is a system like the example: services of two and of three, and a control plane.
func shop() inject.World {
	var w inject.World
	for _, s := range []struct {
		name string
		n    int
	}{{"gateway", 2}, {"orders", 3}, {"cart", 5}, {"mail", 1}, {control.ControlService, 3}} {
		svc := inject.Service{Name: s.name, Public: s.name == "gateway", Replicated: s.n >= 3}
		for i := range s.n {
			svc.Instances = append(svc.Instances, fmt.Sprintf("%s-%d", s.name, i+1))
		}
		w.Services = append(w.Services, svc)
	}
	return w
}

// The faults of a seed stay what they are: a report says how to have them again.
func TestTheFaultsOfASeed(t *testing.T) {
	var b strings.Builder
	for _, f := range Draw(Random{}, shop(), 7, 2*time.Minute) {
		line, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	golden(t, "random-7.jsonl", b.String())
}

func TestDrawSparesAMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		r := Random{
			Every: time.Duration(rapid.IntRange(100, 5000).Draw(t, "every")) * ms,
			Kinds: rapid.SliceOfNDistinct(rapid.SampledFrom(drawable()), 0, 5, rapid.ID).Draw(t, "kinds"),
			Spare: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"orders", "cart-2", "control"}), 0, 2, rapid.ID).Draw(t, "spare"),
		}
		length := time.Duration(rapid.IntRange(10, 300).Draw(t, "length")) * time.Second
		w := shop()
		w.Network = rapid.Bool().Draw(t, "network")
		w.Services[0].Foreign = rapid.Bool().Draw(t, "foreign")
		faults := Draw(r, w, seed, length)
		again := Draw(r, w, seed, length)
		if fmt.Sprint(faults) != fmt.Sprint(again) {
			t.Fatal("the same seed draws other faults")
		}
		type span struct {
			ids         []string
			from, until time.Duration
		}
		of := make(map[string][]span)
		for i, f := range faults {
			if problems := f.Validate(); len(problems) > 0 {
				t.Fatalf("%+v: %v", f, problems)
			}
			if i > 0 && f.At < faults[i-1].At || f.At < Calm || f.At+f.For > length-Settle {
				t.Fatalf("fault %d is from %v for %v, in %v", i, f.At, f.For, length)
			}
			resolved, err := inject.Resolve(f, w, nil) // nil: nothing is left to be drawn
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, f.Kind) {
				t.Fatalf("%s was not asked for", f.Kind)
			}
			for _, id := range resolved.Targets {
				svc, _ := w.Of(id)
				if slices.Contains(r.Spare, id) && f.Kind != inject.Restart || slices.Contains(r.Spare, svc.Name) {
					t.Fatalf("%s was to be spared: %+v", id, f)
				}
				if !w.Can(f.Kind, svc) {
					t.Fatalf("%s cannot be done to %s", f.Kind, id)
				}
			}
			svc, _ := w.Of(resolved.Targets[0])
			until := f.At + f.For
			if f.Kind == inject.Kill {
				until += comesBack
			}
			of[svc.Name] = append(of[svc.Name], span{resolved.Targets, f.At, until})
		}
		for name, spans := range of {
			svc, _ := w.Service(name)
			for _, s := range spans {
				hit := make(map[string]bool)
				for _, other := range spans {
					if other.from <= s.from && s.from < other.until {
						for _, id := range other.ids {
							hit[id] = true
						}
					}
				}
				if len(hit) > bearable(len(svc.Instances)) {
					t.Fatalf("%d of %s are hit at %v: %v", len(hit), name, s.from, hit)
				}
			}
		}
	})
}

// What is drawn uses the time that there is, and leaves nobody out.
func TestDrawIsBusy(t *testing.T) {
	faults := Draw(Random{}, shop(), 1, 30*time.Minute)
	seen := make(map[string]int)
	for _, f := range faults {
		seen[string(f.Kind)]++
		for _, id := range append(slices.Clone(f.Target), f.From...) {
			seen[id]++
		}
	}
	for _, k := range RandomKinds() {
		if seen[string(k)] == 0 {
			t.Errorf("no %s among %d faults", k, len(faults))
		}
	}
	for _, s := range shop().Services {
		for _, id := range s.Instances {
			if (seen[id] == 0) != (s.Name == "mail") {
				t.Errorf("%s is hit %d times", id, seen[id])
			}
		}
	}
	if len(faults) < 300 {
		t.Errorf("%d faults in half an hour", len(faults))
	}
}

// Disks of services that keep nothing on them are not drawn: nothing would come of it.
func TestDrawOfDisks(t *testing.T) {
	stateless := inject.World{Services: []inject.Service{{Name: "greet", Instances: []string{"greet-1", "greet-2", "greet-3"}}}}
	for _, f := range Draw(Random{}, stateless, 7, 10*time.Minute) {
		if f.Kind == inject.Disk {
			t.Fatalf("%+v", f)
		}
	}
	stateless.Services[0].Replicated = true
	if !slices.ContainsFunc(Draw(Random{}, stateless, 7, 10*time.Minute), func(f inject.Fault) bool { return f.Kind == inject.Disk }) {
		t.Error("no disk of a service with replicated state")
	}
}

// Random faults keep off those whom faults that were written hit, before, while and after these do.
func TestDrawBesideOthers(t *testing.T) {
	w := shop()
	var known []inject.Resolved
	for _, f := range []inject.Fault{
		{Kind: inject.Freeze, At: 30 * time.Second, For: 20 * time.Second, Target: []string{"orders-1"}},
		{Kind: inject.Scale, At: 60 * time.Second, For: 20 * time.Second, Target: []string{"cart"}, Replicas: 2},
		{Kind: inject.Registry, Mode: "down", At: 90 * time.Second, For: 20 * time.Second},
	} {
		r, err := inject.Resolve(f, w, nil)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, r)
	}
	alone, beside := 0, 0
	count := func(faults []inject.Fault) (n int) {
		d := &lottery{world: w}
		for _, f := range faults {
			for i, service := range []string{"orders", control.ControlService, "cart"} {
				svc, _ := w.Service(service)
				from := []time.Duration{30 * time.Second, 90 * time.Second, 60 * time.Second}[i]
				hits := strings.HasPrefix(append(slices.Clone(f.Target), f.From...)[0], service)
				if hits && f.At < from+20*time.Second && d.over(f, svc) > from {
					n++
				}
			}
		}
		return n
	}
	for seed := range uint64(20) {
		alone += count(Draw(Random{}, w, seed, 2*time.Minute))
		beside += count(drawBeside(Random{}, w, seed, 2*time.Minute, known))
	}
	if alone < 20 || beside != 0 {
		t.Errorf("%d hit the same services at the same time, and %d when they should not", alone, beside)
	}
}

func TestWhatCannotBeDrawn(t *testing.T) {
	for want, r := range map[string]Random{
		`"scale" cannot be drawn`: {Kinds: []inject.Kind{inject.Scale}},
		`"rain" cannot be drawn`:  {Kinds: []inject.Kind{"rain"}},
		`no instance "oders"`:     {Spare: []string{"oders"}},
	} {
		if err := r.validate(shop()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if err := (Random{Spare: []string{"orders", "cart-2"}, Kinds: RandomKinds()}).validate(shop()); err != nil {
		t.Error(err)
	}
}
