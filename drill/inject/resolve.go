package inject

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// Resolved is a fault of which is known whom it hits.
type Resolved struct {
	Fault
	// Targets are the instances that are hit, in the order in which they were named; for Scale it is the service, for
	// connections whose they are, on either end as far as these are named.
	Targets []string
	// Links are the connections that suffer: those that an instance of From makes to one of To, and the other way round. An
	// end is instances, Edge, or "*", which is everybody else.
	Links []Link
	// What says it in words, without for how long: "kill -9 orders-2".
	What string
}

// Link is the ends of connections.
type Link struct{ From, To []string }

// Resolve draws whom a fault hits. It is pure: the same fault, world and state of r give the same. The error, for a target
// that is not in the world, is NOT_FOUND, and FAILED_PRECONDITION for one that has too few instances.
func Resolve(f Fault, w World, r *rand.Rand) (Resolved, error) {
	d := &drawing{world: w, rand: r}
	out := Resolved{Fault: f}
	switch {
	case f.Kind == Scale:
		out.Targets = f.Target
		if len(f.Target) != 1 || f.Target[0] == control.ControlService {
			return Resolved{}, failure.New(failure.InvalidArgument, "scale: takes one service, and not the control plane")
		}
		if _, ok := w.Service(f.Target[0]); !ok {
			return Resolved{}, d.unknown(f.Target[0])
		}
	case len(f.Between) > 0:
		sets := make([][]string, len(f.Between))
		for i, names := range f.Between {
			set, err := d.all(names)
			if err != nil {
				return Resolved{}, fmt.Errorf("between: %w", err)
			}
			sets[i] = set
			out.Targets = append(out.Targets, set...)
			for _, before := range sets[:i] {
				out.Links = append(out.Links, Link{before, set})
			}
		}
	case len(f.From) > 0:
		from, err := d.all(f.From)
		if err != nil {
			return Resolved{}, fmt.Errorf("from: %w", err)
		}
		to := []string{everyone}
		if len(f.To) > 0 {
			if to, err = d.all(f.To); err != nil {
				return Resolved{}, fmt.Errorf("to: %w", err)
			}
		}
		out.Targets = from
		out.Links = []Link{{from, to}}
	case f.Kind == Registry && f.Mode == "wiped":
		s, ok := w.Service(control.ControlService)
		if !ok {
			return Resolved{}, failure.New(failure.FailedPrecondition, "registry: the system has none of its own that could be wiped; a command can do it to the one it uses")
		}
		out.Targets = s.Instances
	case f.Kind == Registry:
		out.Links = []Link{{[]string{everyone}, []string{TheRegistry}}}
	case f.Kind == Broker:
		out.Links = []Link{{[]string{everyone}, []string{TheQueue}}}
	case f.Kind == Command:
	default:
		targets, err := d.all(f.Target)
		if err != nil {
			return Resolved{}, fmt.Errorf("%s: %w", f.Kind, err)
		}
		out.Targets = targets
	}
	out.What = out.say()
	return out, nil
}

// drawing remembers who was drawn, so that nobody is drawn twice for one fault.
type drawing struct {
	world World
	rand  *rand.Rand
	taken []string
}

func (d *drawing) all(targets []string) ([]string, error) {
	var out []string
	for _, t := range targets {
		ids, err := d.one(t)
		if err != nil {
			return nil, err
		}
		out = append(out, ids...)
		d.taken = append(d.taken, ids...)
	}
	return out, nil
}

// one resolves one target.
func (d *drawing) one(target string) ([]string, error) {
	if target == Edge || target == TheRegistry || target == TheQueue {
		return []string{target}, nil
	}
	name, group, _ := strings.Cut(target, "/")
	if _, ok := d.world.Of(name); ok {
		if group != "" {
			return nil, failure.New(failure.InvalidArgument, "%q is an instance; after the / of %q there is nothing to choose from", name, target)
		}
		if slices.Contains(d.taken, name) {
			return nil, failure.New(failure.InvalidArgument, "%s is named twice", name)
		}
		return []string{name}, nil
	}
	instances, err := d.instances(name)
	if err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(instances), func(id string) bool { return slices.Contains(d.taken, id) })
	n := 1
	switch group {
	case "all", "rest":
		n = len(left)
	case "minority":
		n = max(1, Minority(len(instances)))
	case "majority":
		n = len(instances)/2 + 1
	}
	if n == 0 || n > len(left) {
		return nil, failure.New(failure.FailedPrecondition, "%s: %s has %d instances that are left to choose from", target, name, len(left))
	}
	if n == len(left) {
		return left, nil
	}
	chosen := make([]string, 0, n)
	for _, i := range d.rand.Perm(len(left))[:n] {
		chosen = append(chosen, left[i])
	}
	slices.SortFunc(chosen, func(a, b string) int { return slices.Index(left, a) - slices.Index(left, b) })
	return chosen, nil
}

// instances are those of a service, or of all services but the control plane.
func (d *drawing) instances(name string) ([]string, error) {
	if name != "*" {
		s, ok := d.world.Service(name)
		switch {
		case !ok:
			return nil, d.unknown(name)
		case len(s.Instances) == 0:
			return nil, failure.New(failure.FailedPrecondition, "%s has no instances", name)
		}
		return s.Instances, nil
	}
	var out []string
	for _, s := range d.world.Services {
		if s.Name != control.ControlService {
			out = append(out, s.Instances...)
		}
	}
	if len(out) == 0 {
		return nil, failure.New(failure.FailedPrecondition, "the system has no instances")
	}
	return out, nil
}

func (d *drawing) unknown(name string) error {
	hint := ""
	if near := control.Suggest(name, d.world.names()); near != "" {
		hint = "; did you mean " + near + "?"
	}
	return failure.New(failure.NotFound, "the system has no service and no instance %q%s", name, hint).
		WithReason(control.ReasonUnknown, control.Domain)
}
