package drill

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/platform/control"
)

// Check finds names in the scenario, of whom faults hit and of whom calls and invariants ask, that are of no service of the world,
// such as [inject.WorldOfFile]'s. An instance that a
// service does not have is none of them: it may be scaled.
func (s *Scenario) Check(w inject.World) Problems {
	c := &whom{world: w, file: s.File}
	for _, svc := range w.Services {
		c.names = append(c.names, svc.Name)
	}
	for i, f := range s.Faults {
		line := 0
		if len(s.lines) == len(s.Faults) {
			line = s.lines[i]
		}
		c.all(line, string(f.Kind), f.Target)
		c.all(line, string(f.Kind), f.From)
		c.all(line, string(f.Kind), f.To)
		for _, set := range f.Between {
			c.all(line, string(f.Kind), set)
		}
	}
	if s.Random != nil {
		c.all(0, "random: spare", s.Random.Spare)
	}
	for _, call := range s.Load.Calls {
		c.call(call.Name, call)
	}
	for _, inv := range s.Invariants {
		c.invariant(inv)
	}
	return c.problems
}

type whom struct {
	world    inject.World
	file     string
	names    []string
	problems Problems
}

func (c *whom) invariant(inv check.Invariant) {
	calls := map[string]*load.Call{}
	switch {
	case inv.Register != nil:
		calls["register: write"], calls["register: read"] = &inv.Register.Write, &inv.Register.Read
	case inv.Acknowledged != nil:
		calls["acknowledged"] = &inv.Acknowledged.At
	case inv.Once != nil:
		calls["once"] = inv.Once.List
	case inv.HTTP != nil:
		calls["http"] = &inv.HTTP.Call
	case inv.Leader != nil: // which is asked at the instances themselves
		c.service("leader", inv.Leader.Service)
	}
	for _, what := range slices.Sorted(maps.Keys(calls)) {
		if call := calls[what]; call != nil {
			c.call(cmp.Or(inv.Name, what), *call)
		}
	}
}

// call looks whom a call is for.
func (c *whom) call(what string, call load.Call) {
	if call.GRPC != "" {
		name, _, _ := strings.Cut(call.GRPC, "/")
		c.service(what+": grpc", name)
		return
	}
	if svc, ok := c.world.Service(call.Edge); call.Edge != "" && (!ok || !svc.Public) {
		c.problem(0, "%s: no service %q has a public address (http: in the system file)", what, call.Edge)
	}
}

func (c *whom) service(what, name string) {
	if _, ok := c.world.Service(name); !ok {
		c.problem(0, "%s: the system has no service %q%s", what, name, c.hint(name))
	}
}

func (c *whom) hint(name string) string {
	if near := control.Suggest(name, c.names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

func (c *whom) all(line int, what string, targets []string) {
	for _, target := range targets {
		name, _, _ := strings.Cut(target, "/")
		if c.known(name) {
			continue
		}
		c.problem(line, "%s: the system has no service and no instance %q%s", what, name, c.hint(name))
	}
}

func (c *whom) known(name string) bool {
	switch name {
	case control.Everybody, inject.Edge, inject.TheRegistry, inject.TheQueue:
		return true
	}
	if _, ok := c.world.Service(name); ok {
		return true
	}
	dash := max(0, strings.LastIndexByte(name, '-'))
	_, service := c.world.Service(name[:dash])
	n, err := strconv.Atoi(strings.TrimPrefix(name[dash:], "-"))
	return service && err == nil && n > 0
}

func (c *whom) problem(line int, format string, args ...any) {
	c.problems = append(c.problems, Problem{File: c.file, Line: line, Message: fmt.Sprintf(format, args...)})
}
