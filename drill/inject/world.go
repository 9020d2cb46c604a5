package inject

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

// World is whom faults can be about: the services of a system and their instances.
type World struct {
	Services []Service
	// Network says that each instance has a network of its own, so that connections of foreign processes suffer, too.
	Network bool
	// Clock says that wall clocks can be moved, those of all programs that the platform has built.
	Clock bool
}

// Service is a service of a World, or the control plane, whose name is "control".
type Service struct {
	Name      string
	Instances []string // IDs, in the order of their numbers
	Public    bool     // users reach it over HTTP
	// Replicated says that its instances keep state among themselves, so that most of them have to be there, as far as known.
	Replicated bool
	// Foreign says that its processes do not suffer what a process has to do to itself: they are not Holdfast's.
	Foreign bool
}

// WorldOf is the world of a running system. Instances that are on their way out are not in it.
func WorldOf(info control.Info, instances []control.Instance) World {
	w := World{Network: info.Network != "", Clock: info.Clock}
	add := func(name string, public, replicated bool) {
		s := Service{Name: name, Public: public, Replicated: replicated}
		for _, i := range instances {
			if i.Service == name && i.State != "draining" && i.State != "stopped" {
				s.Instances = append(s.Instances, i.ID)
			}
		}
		slices.SortFunc(s.Instances, func(a, b string) int { return cmp.Or(cmp.Compare(number(a), number(b)), cmp.Compare(a, b)) })
		w.Services = append(w.Services, s)
	}
	for _, s := range info.Services {
		add(s.Name, s.HTTP != "", s.Replicated)
	}
	if slices.ContainsFunc(instances, func(i control.Instance) bool { return i.Service == control.ControlService }) {
		add(control.ControlService, false, false)
	}
	return w
}

// number is that of an instance: "orders-2" has 2.
func number(id string) int {
	n, _ := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
	return n
}

// Service returns the service of that name.
func (w World) Service(name string) (Service, bool) {
	for _, s := range w.Services {
		if s.Name == name {
			return s, true
		}
	}
	return Service{}, false
}

// Of returns the service that an instance is of.
func (w World) Of(id string) (Service, bool) {
	for _, s := range w.Services {
		if slices.Contains(s.Instances, id) {
			return s, true
		}
	}
	return Service{}, false
}

// Can reports whether faults of a kind can be done to a service: whether its processes have to help with it, and do.
func (w World) Can(k Kind, s Service) bool {
	switch k { //nolint:exhaustive // all others can be done to anybody
	case Partition, Latency, Bandwidth, Reset:
		return !s.Foreign || w.Network
	case Loss:
		return w.Network
	case Errors, Memory:
		return !s.Foreign
	case Disk: // replicated state is what a process writes by itself
		return !s.Foreign && s.Replicated
	case Clock:
		return w.Clock && s.Name != control.ControlService
	}
	return true
}

// Minority is how many of n instances can be lost while more than half stay: 1 of 3, 2 of 5, none of 2.
func Minority(n int) int { return max(0, (n-1)/2) }

func (w World) names() []string {
	out := make([]string, len(w.Services))
	for i, s := range w.Services {
		out[i] = s.Name
	}
	return out
}

// WorldOfFile is the world of a system as its file has it, before it runs.
func WorldOfFile(sys *system.System) World {
	var w World
	add := func(s Service, n int) {
		for i := range n {
			s.Instances = append(s.Instances, s.Name+"-"+strconv.Itoa(i+1))
		}
		w.Services = append(w.Services, s)
	}
	for _, s := range sys.Services {
		add(Service{Name: s.Name, Public: s.HTTP != "", Replicated: s.State == system.Replicated}, s.Replicas)
	}
	if sys.Control.Members > 0 {
		add(Service{Name: control.ControlService}, sys.Control.Members)
	}
	return w
}
