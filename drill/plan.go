package drill

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// draw decides who is hit.
func (s *session) draw() error {
	if s.sc.short && len(s.sc.Faults) == 0 && s.sc.Random == nil {
		return failure.New(failure.InvalidArgument, "a load of %s is too short: all that is broken comes later", inject.Span(s.sc.For))
	}
	faults := slices.Clone(s.sc.Faults)
	slices.SortStableFunc(faults, byBeginning)
	for i, f := range faults {
		if f.At >= s.sc.For {
			return failure.New(failure.InvalidArgument, "a fault is to begin %s after the load does (%s), which lasts %s", inject.Span(f.At), f.Kind, inject.Span(s.sc.For))
		}
		if err := s.plan(f, i, false); err != nil {
			return err
		}
	}
	if s.sc.Random != nil {
		if err := s.sc.Random.validate(s.world); err != nil {
			return err
		}
		known := make([]inject.Resolved, len(s.faults))
		for i, p := range s.faults {
			known[i] = p.Resolved
		}
		drawn := drawBeside(*s.sc.Random, s.world, s.cfg.Seed, s.sc.For, known)
		for i, f := range drawn {
			if err := s.plan(f, len(faults)+i, true); err != nil {
				return err
			}
		}
		if faults = append(faults, drawn...); len(faults) == 0 {
			return failure.New(failure.FailedPrecondition, "nothing can be drawn in %s: random faults begin after %s, are over and recovered from %s before the end, and hit services of two instances or more",
				inject.Span(s.sc.For), inject.Span(Calm), inject.Span(Settle))
		}
	}
	if len(s.faults) == 0 && len(faults) > 0 {
		return failure.New(failure.FailedPrecondition, "nothing of it can be done here: %s", s.sc.LeftOut[len(s.sc.LeftOut)-1])
	}
	slices.SortStableFunc(s.faults, func(a, b planned) int { return byBeginning(a.Fault, b.Fault) })
	s.applier = inject.Applier{
		Control: s.cfg.Control, Note: "drill " + s.sc.Name, Dir: s.info.Dir, Env: s.environ(), Guard: s.cfg.Guard,
	}
	return nil
}

func byBeginning(a, b inject.Fault) int { return cmp.Compare(a.At, b.At) }

// planned is a fault that is to be done.
type planned struct {
	inject.Resolved
	random bool // it is not done when whom it would hit cannot bear it after all
}

// plan draws whom a fault hits, and puts it among those that are done, if it can be.
func (s *session) plan(f inject.Fault, i int, random bool) error {
	rng := rand.New(rand.NewPCG(s.cfg.Seed, uint64(i))) //nolint:gosec // the same seed has to hit the same ones
	r, err := inject.Resolve(f, s.world, rng)
	if err != nil {
		return err
	}
	why := s.cannot(r)
	switch {
	case why != "" && s.sc.Lenient:
		s.sc.LeftOut = append(slices.Clone(s.sc.LeftOut), r.What+": "+why)
		return nil
	case why != "":
		return failure.New(failure.FailedPrecondition, "%s: %s", r.What, why)
	}
	s.faults = append(s.faults, planned{r, random})
	return nil
}

// cannot says why a fault cannot be done, "" if it can.
func (s *session) cannot(r inject.Resolved) string {
	engine := (r.Kind == inject.Registry || r.Kind == inject.Broker) && len(r.Links) > 0
	if engine && !slices.ContainsFunc(s.world.Services, func(svc inject.Service) bool { return !svc.Foreign }) {
		return "no service is Holdfast's, and what others say to it is out of reach, with --netns as well (freeze: control/all is felt by everybody, and so is a command of yours)"
	}
	if !s.world.Network && slices.ContainsFunc(r.Links, s.amongMembers) {
		return "connections between members of the control plane are out of reach (start the system with --netns, or name the services whose connections to it are to suffer)"
	}
	for _, id := range r.Targets {
		svc, ok := s.world.Of(id)
		switch {
		case !ok || svc.Name == control.ControlService || s.world.Can(r.Kind, svc):
		case r.Kind == inject.Disk && !svc.Foreign:
			return svc.Name + " keeps no replicated state, which is what would suffer (state: replicated in the system file, if it does)"
		case r.Kind == inject.Loss:
			return "packets are lost only where each instance has a network of its own: start the system with --netns"
		case r.Kind == inject.Clock:
			return "wall clocks are moved only where the programs were built for it: start the system with --clock"
		default:
			return svc.Name + " is not Holdfast's, and does not do this to itself (start the system with --netns for what is about the network)"
		}
	}
	return ""
}

// amongMembers reports whether a link has connections between control members, or those of one to everybody.
func (s *session) amongMembers(l inject.Link) bool {
	member := func(end string) bool {
		svc, ok := s.world.Of(end)
		return ok && svc.Name == control.ControlService
	}
	wide := func(end string) bool {
		return end == control.Everybody || end == inject.TheRegistry || end == inject.TheQueue
	}
	for _, from := range l.From {
		for _, to := range l.To {
			if member(from) && (wide(to) || member(to) && to != from) || member(to) && wide(from) {
				return true
			}
		}
	}
	return false
}
