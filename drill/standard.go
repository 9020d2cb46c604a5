package drill

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/platform/control"
)

// StandardName is the drill of a system, without faults of its own, whose load, promises and invariants the standard set has.
const StandardName = "standard"

// Standard makes the drills that every system has: faults of which a system of several instances of each service promises that
// nobody notices. base is what they have in common, its load, promises and invariants; nil is a GET of each public address,
// and 99.99 %. What cannot be expected of the system is left out, with its reason: a service of one instance has nobody who
// could stand in for it.
func Standard(w inject.World, base *Scenario) (drills []*Scenario, leftOut []string) {
	s := &standard{world: w, base: Scenario{}}
	if base != nil {
		s.base = *base
	}
	s.base.Faults, s.base.Random, s.base.File, s.base.Lenient = nil, nil, "", true
	for _, svc := range w.Services {
		switch n := len(svc.Instances); {
		case svc.Name == control.ControlService:
			s.control = svc
		case n == 1:
			leftOut = append(leftOut, fmt.Sprintf("%s is spared: it has one instance, and nobody could stand in for it (replicas: 2)", svc.Name))
		case n > 1:
			s.services = append(s.services, svc)
		}
	}
	s.base.LeftOut = leftOut
	if len(s.services) > 0 {
		s.quick()
		s.inTurn("kill-each", "Every instance is killed, one after the other.", 0, inject.Fault{Kind: inject.Kill})
		s.inTurn("freeze-each", "Every instance hangs for a while, one after the other.", 4*time.Second, inject.Fault{Kind: inject.Freeze})
		s.restart()
	}
	s.controlPlane()
	if len(s.services) > 0 {
		s.oneOfEach("partition-one", "One instance of each service loses its network, both ways and one way.", inject.Fault{Kind: inject.Partition})
		s.splitBrain()
		s.oneOfEach("slow-one", "One instance of each service gets a tenth of the processor.", inject.Fault{Kind: inject.SlowCPU, Share: 0.1})
		s.oneOfEach("errors-one", "One instance of each service fails half of its calls.", inject.Fault{Kind: inject.Errors, Share: 0.5, Code: inject.DefaultCode})
		s.oneOfEach("latency", "The network of one instance of each service is slow.", inject.Fault{Kind: inject.Latency, Delay: 100 * time.Millisecond, Jitter: 50 * time.Millisecond})
	}
	s.spike()
	s.scale()
	return s.drills, leftOut
}

// standard makes the set.
type standard struct {
	world    inject.World
	base     Scenario
	services []inject.Service // those that can miss an instance
	control  inject.Service
	drills   []*Scenario
}

func (s *standard) add(name, about string, faults []inject.Fault, change ...func(*Scenario)) {
	sc := s.base
	sc.Name, sc.About, sc.Faults, sc.For = name, about, faults, 0
	// A rate that changes is the base's own; the set keeps to the one it begins with, for as long as the faults take.
	if rate := s.rate(); len(s.base.Load.Steps) != 1 || s.base.Load.Steps[0].From != s.base.Load.Steps[0].To || s.base.Load.Steps[0].For != 0 {
		sc.Load.Steps = []load.Step{{From: rate, To: rate}}
	}
	for _, c := range change {
		c(&sc)
	}
	s.drills = append(s.drills, &sc)
}

func (s *standard) rate() float64 {
	if len(s.base.Load.Steps) == 0 {
		return DefaultRate
	}
	return cmp.Or(s.base.Load.Steps[0].From, s.base.Load.Steps[0].To, DefaultRate)
}

// quick is one of each, in a minute.
func (s *standard) quick() {
	n := 0
	next := func() inject.Service {
		n++
		return s.services[(n-1)%len(s.services)]
	}
	one := func() []string { return []string{next().Name} }
	faults := []inject.Fault{
		{Kind: inject.Kill, At: 5 * time.Second, Target: one()},
		{Kind: inject.Freeze, At: 12 * time.Second, For: 4 * time.Second, Target: one()},
		{Kind: inject.Partition, At: 20 * time.Second, For: 4 * time.Second, From: one()},
		{Kind: inject.Errors, At: 28 * time.Second, For: 4 * time.Second, Target: one(), Share: 0.5, Code: inject.DefaultCode},
		{Kind: inject.Latency, At: 35 * time.Second, For: 4 * time.Second, From: one(), Delay: 100 * time.Millisecond},
		{Kind: inject.Restart, At: 41 * time.Second, Target: one()},
	}
	if len(s.control.Instances) > 0 {
		faults = append(faults, inject.Fault{Kind: inject.Freeze, At: 46 * time.Second, For: 5 * time.Second, Target: []string{control.ControlService + "/all"}})
	}
	s.add("quick", "A minute with one of each: what is killed, hangs, is cut off, fails, is slow.", faults, func(sc *Scenario) { sc.For = time.Minute })
}

// inTurn does the same to every instance, the first of each service before the second of any.
func (s *standard) inTurn(name, about string, long time.Duration, f inject.Fault) {
	// A service is left alone for ten seconds after it was hit, which the others' turns take if there are enough of them.
	gap := max(3*time.Second, (10*time.Second/time.Duration(len(s.services))).Round(time.Second)) + long
	var faults []inject.Fault
	at := Calm
	for i := 0; ; i++ {
		more := false
		for _, svc := range append(slices.Clone(s.services), s.control) {
			if i >= len(svc.Instances) {
				continue
			}
			more = true
			f.At, f.For, f.Target = at, long, []string{svc.Instances[i]}
			faults = append(faults, f)
			at += gap
		}
		if !more {
			break
		}
	}
	s.add(name, about, faults)
}

func (s *standard) restart() {
	f := inject.Fault{Kind: inject.Restart, At: Calm}
	n := 0
	for _, svc := range s.services {
		f.Target = append(f.Target, svc.Name+"/all")
		n += len(svc.Instances)
	}
	s.add("restart-all", "Every service is rolled over to a new version.", []inject.Fault{f}, func(sc *Scenario) {
		sc.For = Calm + time.Duration(n)*rolls + Settle
	})
}

func (s *standard) controlPlane() {
	if len(s.control.Instances) == 0 {
		return
	}
	all := []string{control.ControlService + "/all"}
	s.add("control-frozen", "Registry and broker hang, all of them, for 15 s.", []inject.Fault{{Kind: inject.Freeze, At: Calm, For: 15 * time.Second, Target: all}})
	s.add("control-killed", "Registry and broker die, all of them at once.", []inject.Fault{{Kind: inject.Kill, At: Calm, Target: all}},
		func(sc *Scenario) { sc.For = 30 * time.Second })
	s.add("registry-wiped", "The registry forgets everything.", []inject.Fault{{Kind: inject.Registry, At: Calm, Mode: "wiped"}},
		func(sc *Scenario) { sc.For = 30 * time.Second })
}

// oneOfEach does the same to one instance of each service, service after service.
func (s *standard) oneOfEach(name, about string, f inject.Fault) {
	const long, gap = 6 * time.Second, 9 * time.Second
	var faults []inject.Fault
	at := Calm
	for i, svc := range s.services {
		f.At, f.For = at, long
		switch f.Kind {
		case inject.Partition:
			f.From, f.Way = []string{svc.Name}, []string{"both", "out", "in"}[i%3]
		case inject.Latency:
			f.From = []string{svc.Name}
		default:
			f.Target = []string{svc.Name}
		}
		faults = append(faults, f)
		at += gap
	}
	s.add(name, about, faults)
}

func (s *standard) splitBrain() {
	var faults []inject.Fault
	at := Calm
	for _, svc := range s.services {
		if len(svc.Instances) < 3 {
			continue
		}
		faults = append(faults, inject.Fault{
			Kind: inject.Partition, At: at, For: 8 * time.Second,
			Between: [][]string{{svc.Name + "/minority"}, {svc.Name + "/rest"}},
		})
		at += 11 * time.Second
	}
	if len(faults) > 0 {
		s.add("split-brain", "The instances of a service lose each other: a minority here, a majority there.", faults)
	}
}

func (s *standard) spike() {
	rate := s.rate()
	s.add("overload-spike", "Four times the load, all of a sudden, for five seconds.", nil, func(sc *Scenario) {
		sc.Load.Steps = []load.Step{
			{For: 10 * time.Second, From: rate, To: rate}, {For: 5 * time.Second, From: 4 * rate, To: 4 * rate}, {For: 15 * time.Second, From: rate, To: rate},
		}
		sc.Expect.Mask, sc.Expect.Recover = 0, 0 // nothing is broken that they could be measured from
	})
}

func (s *standard) scale() {
	var faults []inject.Fault
	at := Calm
	for _, svc := range s.services {
		if svc.Replicated {
			continue
		}
		faults = append(faults, inject.Fault{
			Kind: inject.Scale, At: at, For: 8 * time.Second, Target: []string{svc.Name}, Replicas: len(svc.Instances) + 1,
		})
		at += 12 * time.Second
	}
	if len(faults) > 0 {
		s.add("scale-up-down", "Services get one instance more, and lose it again.", faults)
	}
}
