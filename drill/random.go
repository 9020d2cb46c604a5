package drill

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// RandomKinds are the kinds that faults are drawn of where nothing else is said: what a system of several instances of each
// service has to stand, without privileges.
func RandomKinds() []inject.Kind {
	return []inject.Kind{
		inject.Kill, inject.Freeze, inject.SlowCPU, inject.Restart,
		inject.Partition, inject.Latency, inject.Reset, inject.Errors, inject.Disk,
	}
}

const (
	defaultEvery = 3 * time.Second
	// closest is how close to each other random faults begin at least.
	closest = 200 * time.Millisecond
	// recovers is how long an instance counts as hit after what hit it is over, and comesBack after it was killed.
	recovers  = 4 * time.Second
	comesBack = 10 * time.Second
	// rolls is how long one instance of a rolling restart takes at most.
	rolls = 5 * time.Second
)

// Draw draws faults for a drill of so long. It is pure: the same arguments give the same faults.
//
// They begin after [Calm] and are over, with what it takes to recover from them, [Settle] before the end. At any time no more
// than a minority of a service is hit, one of two, and none of one; the control plane counts as a service. Faults of
// different services overlap.
func Draw(r Random, w inject.World, seed uint64, length time.Duration) []inject.Fault {
	return drawBeside(r, w, seed, length, nil)
}

// drawBeside draws as Draw does, beside faults that are known already: whom these hit is not hit by others as well.
func drawBeside(r Random, w inject.World, seed uint64, length time.Duration, known []inject.Resolved) []inject.Fault {
	d := &lottery{
		random: r, world: w, until: length - Settle,
		rand: rand.New(rand.NewPCG(seed, 0x6661756c7473)), //nolint:gosec // the same seed has to draw the same faults
	}
	if len(r.Kinds) == 0 {
		d.random.Kinds = RandomKinds()
	}
	for _, f := range known {
		d.knows(f)
	}
	every := cmp.Or(r.Every, defaultEvery)
	var out []inject.Fault
	for at := Calm; at < d.until && len(out) < maxFaults; at += max(closest, time.Duration(d.rand.ExpFloat64()*float64(every))) {
		if f, ok := d.draw(at.Round(time.Millisecond)); ok {
			out = append(out, f)
		}
	}
	return out
}

// lottery draws faults and knows who is hit until when.
type lottery struct {
	random Random
	world  inject.World
	rand   *rand.Rand
	until  time.Duration
	hits   []hit
}

// hit is an instance that is hit, from a time on and until another.
type hit struct {
	service, id string
	from, until time.Duration
}

// knows notes whom a fault hits that was not drawn here.
func (d *lottery) knows(f inject.Resolved) {
	targets := f.Targets
	switch f.Kind { //nolint:exhaustive // all others name instances
	case inject.Scale: // any of them may go
		service, _ := d.world.Service(f.Targets[0])
		targets = service.Instances
	case inject.Registry, inject.Broker:
		service, _ := d.world.Service(control.ControlService)
		targets = service.Instances
	}
	for _, id := range targets {
		if service, ok := d.world.Of(id); ok {
			d.hits = append(d.hits, hit{service.Name, id, f.At, d.over(f.Fault, service)})
		}
	}
}

// draw draws one fault that begins at a time. Not every draw is one that can be done then.
func (d *lottery) draw(at time.Duration) (inject.Fault, bool) {
	for range 8 {
		kind := d.random.Kinds[d.rand.IntN(len(d.random.Kinds))]
		service := d.world.Services[d.rand.IntN(len(d.world.Services))]
		f := inject.Fault{Kind: kind, At: at}
		d.details(&f)
		if !d.fits(f, service) {
			continue
		}
		if kind == inject.Restart {
			f.Target = []string{service.Name + "/all"}
			for _, id := range service.Instances {
				d.hits = append(d.hits, hit{service.Name, id, at, d.over(f, service)})
			}
			return f, true
		}
		free := d.free(service, at, d.over(f, service))
		id := free[d.rand.IntN(len(free))]
		if len(f.From) > 0 { // a kind of connections
			f.From = []string{id}
			d.ends(&f, service)
		} else {
			f.Target = []string{id}
		}
		d.hits = append(d.hits, hit{service.Name, id, at, d.over(f, service)})
		return f, true
	}
	return inject.Fault{}, false
}

// details draws how long a fault lasts, and how bad it is.
func (d *lottery) details(f *inject.Fault) {
	span := func(lo, hi time.Duration) time.Duration {
		return (lo + time.Duration(d.rand.Int64N(int64(hi-lo)))).Round(10 * time.Millisecond)
	}
	f.For = span(2*time.Second, 8*time.Second)
	here := []string{""} // to be filled in
	switch f.Kind {
	case inject.Kill, inject.Restart:
		f.For = 0
	case inject.SlowCPU:
		f.Share = float64(5+d.rand.IntN(30)) / 100
	case inject.Partition:
		f.From = here
		f.Way = []string{"both", "both", "out", "in"}[d.rand.IntN(4)]
	case inject.Latency:
		f.From = here
		f.Delay, f.Jitter = span(10*time.Millisecond, 200*time.Millisecond), span(10*time.Millisecond, 100*time.Millisecond)
	case inject.Bandwidth:
		f.From, f.Rate = here, 16<<10<<d.rand.IntN(6)
	case inject.Loss:
		f.From, f.Share = here, float64(1+d.rand.IntN(20))/100
	case inject.Reset:
		f.From, f.Every = here, span(500*time.Millisecond, 2*time.Second)
	case inject.Errors:
		f.Share, f.Code = float64(1+d.rand.IntN(10))/10, "UNAVAILABLE"
	case inject.Disk:
		f.Mode, f.Delay = "slow", span(20*time.Millisecond, 200*time.Millisecond)
	case inject.Memory:
		f.Bytes = 16 << 20 << d.rand.IntN(4)
	case inject.Clock:
		f.Jump = span(-2*time.Minute, 2*time.Minute)
	case inject.Freeze, inject.Scale, inject.Registry, inject.Broker, inject.Command, inject.HTTP:
	}
}

// ends draws whom an instance loses: everybody, or all others of a service.
func (d *lottery) ends(f *inject.Fault, service inject.Service) {
	if d.rand.IntN(2) == 0 {
		return
	}
	other := d.world.Services[d.rand.IntN(len(d.world.Services))]
	if len(other.Instances) == 0 || other.Name == service.Name && len(other.Instances) < 2 {
		return
	}
	f.To = []string{other.Name + "/rest"}
}

// over is when a fault is over, and those who were hit are well again.
func (d *lottery) over(f inject.Fault, s inject.Service) time.Duration {
	switch f.Kind { //nolint:exhaustive // all others last for as long as they say
	case inject.Kill:
		return f.At + comesBack
	case inject.Restart:
		return f.At + time.Duration(len(s.Instances))*rolls + recovers
	}
	return f.At + f.For + recovers
}

// fits reports whether a fault can be done to a service.
func (d *lottery) fits(f inject.Fault, s inject.Service) bool {
	if slices.Contains(d.random.Spare, s.Name) || !d.world.Can(f.Kind, s) || d.over(f, s) > d.until {
		return false
	}
	if s.Name == control.ControlService && f.Kind != inject.Kill && f.Kind != inject.Freeze {
		return false // its members are not the library's, and are nobody's to restart
	}
	free := d.free(s, f.At, d.over(f, s))
	hit := len(s.Instances) - len(free)
	if f.Kind == inject.Restart {
		return hit == 0 && bearable(len(s.Instances)) > 0
	}
	return hit < bearable(len(s.Instances)) && len(free) > 0
}

// free are the instances of a service that nothing hits from a time on and until another.
func (d *lottery) free(s inject.Service, at, until time.Duration) []string {
	return slices.DeleteFunc(slices.Clone(s.Instances), func(id string) bool {
		return slices.Contains(d.random.Spare, id) ||
			slices.ContainsFunc(d.hits, func(h hit) bool { return h.service == s.Name && h.id == id && h.until > at && h.from < until })
	})
}

// bearable is how many of n instances may be missing.
func bearable(n int) int {
	if n == 2 {
		return 1
	}
	return inject.Minority(n)
}

// drawable are all kinds that can be drawn: those that hit an instance, or its connections.
func drawable() []inject.Kind {
	return slices.DeleteFunc(inject.Kinds(), func(k inject.Kind) bool {
		return slices.Contains([]inject.Kind{inject.Scale, inject.Registry, inject.Broker, inject.Command, inject.HTTP}, k)
	})
}

// validate says what is wrong with what faults are drawn from.
func (r Random) validate(w inject.World) error {
	for _, k := range r.Kinds {
		if !slices.Contains(drawable(), k) {
			return failure.New(failure.InvalidArgument, "random: faults of the kind %q cannot be drawn", string(k))
		}
	}
	for _, name := range r.Spare {
		_, service := w.Service(name)
		_, instance := w.Of(name)
		if !service && !instance {
			return failure.New(failure.InvalidArgument, "random: spare: the system has no service and no instance %q", name)
		}
	}
	if len(w.Services) == 0 {
		return failure.New(failure.FailedPrecondition, "the system has no services")
	}
	return nil
}
