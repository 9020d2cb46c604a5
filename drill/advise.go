package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// advice is something to change, and how many failed calls it is about.
type advice struct {
	calls int
	text  string
}

// advise says what to change, what brings most first. It goes by what happened alone: a drill of which nobody noticed anything
// needs no advice.
func advise(r *report.Report, sc Scenario, w inject.World, samples []load.Sample) []string {
	a := &adviser{r: r, sc: sc, world: w, e: newExplainer(r, sc, w), found: make(map[string]*advice)}
	for _, s := range samples {
		if s.Outcome == load.Failed {
			a.failed(s)
		}
	}
	a.whole()
	slices.SortStableFunc(a.list, func(x, y *advice) int { return cmp.Compare(y.calls, x.calls) })
	var out []string
	for _, x := range a.list {
		out = append(out, x.text)
	}
	return out[:min(len(out), maxAdvice)]
}

// maxAdvice is as much as anybody follows up.
const maxAdvice = 8

type adviser struct {
	r     *report.Report
	sc    Scenario
	world inject.World
	e     *explainer
	found map[string]*advice
	list  []*advice
}

// add counts a call towards a piece of advice.
func (a *adviser) add(calls int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	x := a.found[text]
	if x == nil {
		x = &advice{text: text}
		a.found[text] = x
		a.list = append(a.list, x)
	}
	x.calls += calls
}

// failed finds what would have helped one call.
func (a *adviser) failed(s load.Sample) {
	before := a.e.first == 0 || s.Due+s.Took < a.e.first
	switch {
	case s.Empty && before:
		a.add(1, "%s is answered 200 with nothing in it while nothing is broken: if that is right, it has to say expect: [200].", s.Call)
		return
	case wrongCall(s) && before:
		a.add(1, "Look at the call %s first: it was answered %s before anything was broken (%s).", s.Call, s.Status, reason(s))
		return
	case wrongCall(s):
		a.add(1, "%s was answered %s: if that is right when it happens, list it under refused; if not, find out why it comes while something is broken.", s.Call, s.Status)
		return
	case before:
		a.add(1, "Calls failed before anything was broken: make the system stand this load first.")
		return
	}
	if unknown, f := a.e.forgotten(s); unknown {
		a.add(1, "No instance was known any more after: %s. Whoever was registered has to register again when the registry is back, until it is there; and whoever calls keeps the instances that it knew last. Holdfast's services and clients do both.", f.What)
		return
	}
	helped := false
	for _, svc := range a.world.Services {
		hit := a.e.hit(svc.Instances, s)
		if len(hit) == 0 {
			continue
		}
		switch n := len(svc.Instances); {
		case !a.e.meant(hit, s):
			who := strings.Join(hit, ", ")
			if f, late := a.e.late(hit, s); late > 0 {
				a.add(1, "%s came back late after: %s. Find out what it waits for (logs %[1]s), and have enough instances to bear the load without it.", who, f.What)
			} else {
				a.add(1, "%s went down without being told to: find out why (logs %[1]s).", who)
			}
			helped = true
		case svc.Name == control.ControlService:
			if len(hit) > inject.Minority(n) {
				a.add(1, "Calls fail without the registry or the broker: keep the instances that were known last, and do not wait for either of them on the way of a call. Holdfast's clients do so.")
				helped = true
			}
		case n == 1:
			a.add(1, "Give %s a second instance (replicas: 2): it has one, and nobody can stand in for it.", svc.Name)
			helped = true
		case len(hit) == n && a.named(svc, s):
			a.add(1, "The drill takes all %d instances of %s at a time. No system stands that; give what calls it an answer of its own for then (memory, a default, later), or let the drill spare one.", n, svc.Name)
			helped = true
		case n >= 3 && len(hit) > inject.Minority(n):
			a.add(1, "The drill takes %d of the %d instances of %s at a time. What they keep together takes most of them: replicas: %d stand that.", len(hit), n, svc.Name, 2*len(hit)+1)
			helped = true
		}
	}
	call := a.e.calls[s.Call]
	switch {
	case unsafeCall(call) && s.Status != "429" && s.Status != "RESOURCE_EXHAUSTED":
		a.add(1, "Send %s with an idempotency key (key: in the drill; the header Idempotency-Key), and have the service do it once per key (idempotency: true, package idempotency): then it can be sent again when an instance dies under it.", s.Call)
	case s.Status == "502" && call.Key != "" && call.GRPC == "":
		a.add(1, "%s has an idempotency key, but the platform does not send it again: set idempotency: true at the service with http: in the system file, if that does things once per key.", s.Call)
	case s.Status == "429" || s.Status == "RESOURCE_EXHAUSTED":
		a.add(1, "Calls were turned away for want of room while an instance was missing: one instance more for each service that is that busy (replicas, or autoscale).")
	case helped:
	default:
		a.restarted(s)
	}
}

// named reports whether faults alone, not their consequences, took all of a service.
func (a *adviser) named(svc inject.Service, s load.Sample) bool {
	for _, id := range svc.Instances {
		if !slices.ContainsFunc(a.r.Faults, func(f report.Fault) bool {
			return f.Kind != string(inject.Restart) && slices.Contains(f.Target, id) && inForce(f, s)
		}) {
			return false
		}
	}
	return true
}

// restarted looks for what a stop in order should not cost.
func (a *adviser) restarted(s load.Sample) {
	for _, f := range a.r.Faults {
		if !inForce(f, s) {
			continue
		}
		switch inject.Kind(f.Kind) {
		case inject.Restart, inject.Scale:
			a.add(1, "Calls fail during: %s. An instance that stops in order has to say that it is leaving, go on answering until everybody knows, and finish what it has begun. Holdfast's services do (drain).", f.What)
		case inject.Freeze, inject.Partition, inject.SlowCPU:
			a.add(1, "Calls wait for %s, which says nothing any more, until they fail: give each attempt a timeout well below that of the call, and another attempt at another instance. Holdfast's clients do so.", strings.Join(f.Target, ", "))
		case inject.Kill, inject.Reset, inject.Errors:
			a.add(1, "Calls fail with %s, though others of it were well: whoever calls it should try another instance. Holdfast's clients do so for calls that may be repeated.", strings.Join(f.Target, ", "))
		case inject.Latency, inject.Bandwidth, inject.Loss, inject.Disk, inject.Memory, inject.Clock, inject.Registry, inject.Broker, inject.Command, inject.HTTP:
		}
		return
	}
}

// whole looks at the drill as a whole.
func (a *adviser) whole() {
	e := a.sc.Expect
	if e.Amplification > 0 && a.r.Figures.Amplification > e.Amplification {
		a.add(0, "There were %.2f attempts a call: give retries a budget, a share of the calls, so that a system that is ill is not asked more than one that is well.", a.r.Figures.Amplification)
	}
	for _, v := range a.r.Invariants {
		if v.Answer == check.Broken {
			a.add(1<<30, "%s is broken. No number of instances helps against that; begin with its first finding, and repeat the drill with its seed.", v.Name)
		}
	}
}
