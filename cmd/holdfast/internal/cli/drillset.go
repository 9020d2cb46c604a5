//go:build unix

package cli

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

// randomName is the drill whose load and promises random faults have where none is named.
const randomName = "random"

// drillSet are the drills of a system.
type drillSet struct {
	own, standard []*drill.Scenario
	leftOut       []string
}

// drillsOf reads the system's own drills, and makes the standard set. One of its own replaces the one of that name.
func drillsOf(sys *system.System) (drillSet, error) {
	own, err := drill.LoadDir(sys.Dir)
	world := inject.WorldOfFile(sys)
	var problems drill.Problems
	if err == nil {
		for _, sc := range own {
			problems = append(problems, sc.Check(world)...)
		}
		if len(problems) > 0 {
			err = problems
		}
	}
	switch {
	case errors.As(err, &problems):
		return drillSet{}, usage("drills with %s\n%s", plural(len(problems), "problem"), problems.Error())
	case err != nil:
		return drillSet{}, err
	}
	set := drillSet{own: own}
	standard, leftOut := drill.Standard(world, set.find(drill.StandardName))
	set.leftOut = leftOut
	for _, sc := range standard {
		if set.find(sc.Name) == nil {
			set.standard = append(set.standard, sc)
		}
	}
	return set, nil
}

func (d drillSet) all() []*drill.Scenario { return slices.Concat(d.own, d.standard) }

func (d drillSet) find(name string) *drill.Scenario {
	for _, sc := range d.all() {
		if sc.Name == name {
			return sc
		}
	}
	return nil
}

func (d drillSet) names() (out []string) {
	for _, sc := range d.all() {
		out = append(out, sc.Name)
	}
	return out
}

// random is what random faults come to where no drill is named: the system's own one of that name, else the load of the
// standard set.
func (d drillSet) random() *drill.Scenario {
	sc := cmp.Or(d.find(randomName), d.find(drill.StandardName), &drill.Scenario{})
	changed := *sc
	changed.Name, changed.About = randomName, cmp.Or(changed.About, "Whatever comes.")
	if sc.Name == drill.StandardName {
		changed.About = "Whatever comes."
	}
	if len(changed.Load.Steps) == 0 && changed.For == 0 {
		changed.For = time.Minute
	}
	return &changed
}

// choose returns the drills that are meant.
func (d drillSet) choose(names []string, opts drillOptions) (out []*drill.Scenario, err error) {
	switch {
	case opts.all && (len(names) > 0 || opts.random):
		return nil, usage("--all are all of them: it goes with neither NAME nor --random")
	case opts.length < 0 || opts.length > 24*time.Hour || opts.every < 0:
		return nil, usage("--for and --every want a time, of a day at most")
	case opts.tries < 1:
		return nil, usage("--tries wants a number, of 1 at least")
	case opts.all:
		out = d.all()
	case len(names) == 0 && opts.random:
		out = []*drill.Scenario{d.random()}
	case len(names) == 0:
		quick := d.find("quick")
		if quick == nil {
			return nil, usage("no service has several instances, so nobody could stand in for anybody; name a drill: %s", strings.Join(d.names(), ", "))
		}
		out = []*drill.Scenario{quick}
	}
	for _, name := range names {
		sc := d.find(name)
		if sc == nil {
			known := d.names()
			hint := ""
			if near := control.Suggest(name, known); near != "" {
				hint = "did you mean " + near + "? "
			}
			return nil, usage("no drill %q; %sdrills: %s", name, hint, strings.Join(known, ", "))
		}
		out = append(out, sc)
	}
	for i, sc := range out {
		out[i] = adapt(sc, opts)
		if len(sc.Faults) > 0 && len(out[i].Faults) == 0 && out[i].Random == nil {
			return nil, usage("--for %s is too short for %s: all that it breaks comes later", opts.length, sc.Name)
		}
	}
	return out, nil
}

// adapt lets flags replace what the drill says.
func adapt(sc *drill.Scenario, opts drillOptions) *drill.Scenario {
	changed := *sc
	if opts.random {
		random := drill.Random{}
		if sc.Random != nil {
			random = *sc.Random
		}
		random.Every = cmp.Or(opts.every, random.Every)
		changed.Faults, changed.Random = nil, &random
	}
	if opts.length > 0 {
		changed = changed.Last(opts.length)
	}
	return &changed
}
