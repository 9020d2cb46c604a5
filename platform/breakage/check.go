package breakage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// maxTroubles bounds how many of them are told.
const maxTroubles = 5

// check refuses what cannot be done to a system as it is now. The request itself is valid.
func check(r control.FaultRequest, w World, packets bool) error {
	switch r.Kind {
	case control.FaultFreeze, control.FaultSlowCPU:
		return w.known(r.Targets...)
	case control.FaultCalls, control.FaultDisk, control.FaultMemory:
		if err := w.known(r.Targets...); err != nil {
			return err
		}
		for _, id := range r.Targets {
			if !w.follower(id) {
				return doesNotFollow(id, fmt.Sprintf("a fault of kind %s is for processes that do", r.Kind))
			}
		}
	case control.FaultNet:
		for _, l := range r.Links {
			if err := checkLink(l, w, packets); err != nil {
				return err
			}
		}
	case control.FaultScale:
		if !slices.ContainsFunc(w.Services, func(s string) bool { return s == r.Targets[0] }) {
			return failure.New(failure.NotFound, "no service %q that can be scaled; there are %s", r.Targets[0], strings.Join(w.Services, ", ")).
				WithReason(control.ReasonUnknown, control.Domain)
		}
	case control.FaultClock:
		return checkClocks(r.Targets, w)
	}
	return nil
}

func checkLink(l control.Link, w World, packets bool) error {
	for _, end := range slices.Concat(l.From, l.To) {
		switch {
		case end == control.Everybody || end == control.EdgeEnd || isAddr(end):
		case isEngine(end) && len(w.addrs(end)) > 0:
		case isEngine(end):
			return failure.New(failure.FailedPrecondition, "this system has no %s", end)
		default:
			if err := w.known(end); err != nil {
				return err
			}
		}
	}
	if l.Loss > 0 && !packets {
		return failure.New(failure.FailedPrecondition, "only packets can be lost, and there are none to be seen without network namespaces: holdfast up --netns")
	}
	for _, from := range l.From {
		for _, to := range l.To {
			switch {
			case packets && inNetwork(to):
				continue
			case l.Loss > 0:
				return failure.New(failure.FailedPrecondition, "packets to %s cannot be lost: name the instances", to)
			}
			if err := checkPair(from, to, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPair is whether the connections between two ends can be shaped by the processes that make them.
func checkPair(from, to string, w World) error {
	for _, end := range []string{from, to} {
		if i, ok := w.find(end); ok && !i.member() && !w.follower(end) {
			return doesNotFollow(end, "its connections are out of reach")
		}
	}
	isMember := func(end string) bool {
		i, ok := w.find(end)
		return ok && i.member()
	}
	other := func(end, than string) bool {
		return end == control.Everybody || isEngine(end) || isMember(end) && end != than
	}
	if isMember(from) && other(to, from) || isMember(to) && other(from, to) {
		member := from
		if !isMember(from) {
			member = to
		}
		return doesNotFollow(member, "connections between control members are out of reach; those of services to it can be named one by one")
	}
	return nil
}

func doesNotFollow(id, why string) error {
	return failure.New(failure.FailedPrecondition, "%s does not follow the platform: %s. With network namespaces (holdfast up --netns, Linux, as root) the network of any process can be broken", id, why).
		WithReason(control.ReasonDoesNotFollow, control.Domain).WithMetadata("instance", id)
}

// known refuses names that no instance has.
func (w World) known(ids ...string) error {
	for _, id := range ids {
		if _, ok := w.find(id); !ok {
			var all []string
			for _, i := range w.Instances {
				all = append(all, i.ID)
			}
			return failure.New(failure.NotFound, "no instance %q; there are %s", id, strings.Join(all, ", ")).
				WithReason(control.ReasonUnknown, control.Domain)
		}
	}
	return nil
}

// trouble says who does not suffer a fault at the moment. errs is what the workers have met, by end.
func trouble(r control.FaultRequest, w World, errs map[string]error) string {
	var all []string
	for _, id := range named(r) {
		i, ok := w.find(id)
		switch {
		case !ok && r.Kind != control.FaultScale && id != control.EdgeEnd:
			all = append(all, id+" is gone")
		case ok && i.PID == 0:
			all = append(all, id+" is not running")
		case errs[id] != nil:
			all = append(all, errs[id].Error())
		case ok && needsFollower(r.Kind) && !i.member() && !w.follower(id):
			all = append(all, id+" does not follow")
		}
	}
	if more := len(all) - maxTroubles; more > 0 {
		all = append(all[:maxTroubles], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

func needsFollower(k control.FaultKind) bool {
	switch k {
	case control.FaultNet, control.FaultCalls, control.FaultDisk, control.FaultMemory:
		return true
	case control.FaultFreeze, control.FaultSlowCPU, control.FaultScale, control.FaultClock:
	}
	return false
}

// named are the processes, or the service, that a request names.
func named(r control.FaultRequest) []string {
	ids := slices.Clone(r.Targets)
	for _, l := range r.Links {
		for _, end := range slices.Concat(l.From, l.To) {
			if end != control.Everybody && !isEngine(end) && !isAddr(end) {
				ids = append(ids, end)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
