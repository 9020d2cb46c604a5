package control

import (
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// Reasons in errors of the API, for programs; the messages are for people.
const (
	// ReasonAmbiguous: a service of several instances was named where one has to be meant. The metadata has
	// the service under "service" and its instances, separated by spaces, under "instances".
	ReasonAmbiguous = "AMBIGUOUS_TARGET"
	// ReasonUnknown: no service or instance has the name.
	ReasonUnknown = "UNKNOWN_NAME"
	// ReasonUnknownFault: no fault that is in force has the ID; it was mended, or its lease ran out.
	ReasonUnknownFault = "UNKNOWN_FAULT"
	// ReasonDoesNotFollow: the process is not Holdfast's, or does not speak to the platform, so that it cannot be made to
	// suffer this kind of fault. The metadata has it under "instance".
	ReasonDoesNotFollow = "DOES_NOT_FOLLOW"
	// Domain is the domain of these reasons.
	Domain = "control.holdfast"
)

// selection is what a target stands for.
type selection struct {
	service   string
	instances []string // IDs; not empty
}

// resolve finds what target stands for: one instance, or all instances of a service.
func resolve(info Info, instances []Instance, target string) (selection, error) {
	var ids []string
	for _, inst := range instances {
		if inst.ID == target {
			return selection{inst.Service, []string{inst.ID}}, nil
		}
		if inst.Service == target {
			ids = append(ids, inst.ID)
		}
	}
	services := serviceNames(info, instances)
	switch {
	case len(ids) > 0:
		return selection{target, ids}, nil
	case slices.Contains(services, target):
		return selection{}, failure.New(failure.FailedPrecondition, "%s has no instances", target)
	}
	return selection{}, unknown(target, services, instances)
}

// one refuses a selection of several instances unless all of them are meant.
func (s selection) one(target string, all bool) error {
	if all || len(s.instances) == 1 {
		return nil
	}
	return failure.New(failure.InvalidArgument, "%s has %d instances: %s; name one of them, or set \"all\"",
		target, len(s.instances), strings.Join(s.instances, ", ")).
		WithReason(ReasonAmbiguous, Domain).
		WithMetadata("service", s.service).
		WithMetadata("instances", strings.Join(s.instances, " "))
}

// checkService returns an error unless name is a service of the system.
func checkService(info Info, instances []Instance, name string) error {
	services := serviceNames(info, instances)
	if slices.Contains(services, name) {
		return nil
	}
	return unknown(name, services, nil)
}

// unknown explains that nothing is called name, and what it may have been meant to be. Instances are offered
// only if the name looks like one.
func unknown(name string, services []string, instances []Instance) error {
	var message string
	if service, ok := serviceOfID(name); ok && instances != nil && slices.Contains(services, service) {
		var ids []string
		for _, inst := range instances {
			if inst.Service == service {
				ids = append(ids, inst.ID)
			}
		}
		message = "no instance " + strconv.Quote(name) + "; " + service + " has " + listOr(ids, "none")
	} else {
		message = "no service " + strconv.Quote(name)
		if guess := Suggest(name, services); guess != "" {
			message += "; did you mean " + guess + "? services: "
		} else {
			message += "; services: "
		}
		message += listOr(services, "none")
	}
	return failure.New(failure.NotFound, "%s", message).WithReason(ReasonUnknown, Domain)
}

// serviceOfID splits "orders-2" into its service; ok is false if id does not end in a number.
func serviceOfID(id string) (service string, ok bool) {
	i := strings.LastIndexByte(id, '-')
	if i <= 0 || i == len(id)-1 || strings.Trim(id[i+1:], "0123456789") != "" {
		return "", false
	}
	return id[:i], true
}

// serviceNames lists the services of the file and, last, the control plane if the system has its own.
func serviceNames(info Info, instances []Instance) []string {
	names := make([]string, 0, len(info.Services)+1)
	for _, s := range info.Services {
		names = append(names, s.Name)
	}
	if slices.ContainsFunc(instances, func(i Instance) bool { return i.Service == ControlService }) {
		names = append(names, ControlService)
	}
	return names
}

func listOr(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
