package drill

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/platform/control"
)

// Check finds names in the scenario that are of no service of the world, such as [inject.WorldOfFile]'s. An instance that a
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
		if svc, ok := w.Service(call.Edge); call.Edge != "" && call.GRPC == "" && (!ok || !svc.Public) {
			c.problem(0, "%s: no service %q has a public address (http: in the system file)", call.Name, call.Edge)
		}
	}
	return c.problems
}

type whom struct {
	world    inject.World
	file     string
	names    []string
	problems Problems
}

func (c *whom) all(line int, what string, targets []string) {
	for _, target := range targets {
		name, _, _ := strings.Cut(target, "/")
		if c.known(name) {
			continue
		}
		hint := ""
		if near := control.Suggest(name, c.names); near != "" {
			hint = "; did you mean " + near + "?"
		}
		c.problem(line, "%s: the system has no service and no instance %q%s", what, name, hint)
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
