package breakage

import (
	"cmp"
	"maps"
	"net"
	"reflect"
	"slices"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/control"
)

// Treatment is all that one process suffers. The zero value is nothing.
type Treatment struct {
	Plan   fault.Plan
	Frozen bool
	// Share is the share of the time that it gets; 0 is all.
	Share float64
}

func (t Treatment) none() bool { return reflect.ValueOf(t).IsZero() }

// compile says what each process suffers of the faults, by its name; whoever suffers nothing is not in it. The order of the
// faults matters for rules of calls alone, of which the first that matches counts.
//
// With packets, what becomes of connections between processes is left to the network that they are in.
func compile(faults []control.Fault, w World, packets bool) map[string]Treatment {
	c := &compiler{world: w, ends: make(map[string]*end)}
	for _, f := range faults {
		c.serial = 0
		if !f.Begun.IsZero() {
			c.serial = uint64(f.Begun.UnixNano())
		}
		for _, id := range f.Targets {
			if f.Kind != control.FaultScale {
				c.end(id).suffer(f.FaultRequest)
			}
		}
		for _, l := range f.Links {
			for _, from := range l.From {
				for _, to := range l.To {
					if !packets || !inNetwork(to) {
						c.link(from, to, l.Shape)
					}
				}
			}
		}
	}
	treatments := make(map[string]Treatment)
	for id, e := range c.ends {
		if t := e.treatment(); !t.none() {
			treatments[id] = t
		}
	}
	return treatments
}

type compiler struct {
	world  World
	ends   map[string]*end
	serial uint64 // of the fault that is being compiled: later ones have higher ones
}

// end is one process while its treatment is put together.
type end struct {
	Treatment
	dial map[string]fault.Shape // by address
	all  fault.Shape            // of every address
}

func (c *compiler) end(id string) *end {
	e := c.ends[id]
	if e == nil {
		e = &end{dial: make(map[string]fault.Shape)}
		c.ends[id] = e
	}
	return e
}

// suffer adds what a fault does to one process by itself.
func (e *end) suffer(r control.FaultRequest) {
	switch r.Kind {
	case control.FaultFreeze:
		e.Frozen = true
	case control.FaultSlowCPU:
		e.Share = cmp.Or(e.Share, 1) * r.Share
	case control.FaultCalls:
		for _, rule := range r.Calls {
			if len(e.Plan.Calls) < fault.MaxRules {
				e.Plan.Calls = append(e.Plan.Calls, fault.Calls(rule))
			}
		}
	case control.FaultDisk:
		d := fault.Disk(*r.Disk)
		if was := e.Plan.Disk; was != nil {
			d = fault.Disk{Full: d.Full || was.Full, FailSync: d.FailSync || was.FailSync, SlowSync: add(d.SlowSync, was.SlowSync, fault.MaxDelay)}
		}
		e.Plan.Disk = &d
	case control.FaultMemory:
		e.Plan.Ballast = add(e.Plan.Ballast, r.Bytes, fault.MaxBallast)
	case control.FaultNet, control.FaultScale, control.FaultClock:
	}
}

// link shapes the connections between two ends at one of them, once: where it is dialled if the other end is named, and
// at the end that is named if the other is everybody.
func (c *compiler) link(from, to string, s control.Shape) {
	out, in := dialled(s), swapped(s)
	if s.Reset {
		out.Serial, in.Serial = c.serial, c.serial
	}
	switch {
	case from == to && from != control.Everybody:
	case from == control.Everybody && to == control.Everybody:
		out.CutOut = out.CutOut || out.CutIn
		out.CutIn = out.CutOut
		for _, id := range c.followers() {
			c.end(id).dialAll(out)
		}
	case to == control.Everybody:
		c.isolate(from, out, accepted(out))
	case from == control.Everybody && (isEngine(to) || isAddr(to) || !c.world.follower(to)):
		for _, id := range c.followers() {
			c.end(id).dialTo(c.world.addrs(to), out)
		}
	case from == control.Everybody:
		c.isolate(to, accepted(in), in)
	default:
		if c.world.follower(from) {
			c.end(from).dialTo(c.world.addrs(to), out)
		}
		if c.world.follower(to) {
			c.end(to).dialTo(c.world.addrs(from), accepted(in))
		}
	}
}

// isolate shapes all connections of one end: those that it makes, and those that it accepts.
func (c *compiler) isolate(id string, dials, accepts fault.Shape) {
	if !c.world.follower(id) {
		back := fault.Shape{
			CutOut: dials.CutIn, CutIn: dials.CutOut, Delay: dials.Delay, Jitter: dials.Jitter, Rate: dials.Rate,
		}
		for _, other := range c.followers() {
			c.end(other).dialTo(c.world.addrs(id), back)
		}
		return
	}
	e := c.end(id)
	e.dialAll(dials)
	if id == control.EdgeEnd {
		return // users come to it from outside; what becomes of them is the edge's own promise
	}
	if accepts != (fault.Shape{}) {
		merged := accepts
		if e.Plan.Accept != nil {
			merged = merge(*e.Plan.Accept, accepts)
		}
		e.Plan.Accept = &merged
	}
}

// followers are all that can shape what they dial.
func (c *compiler) followers() []string {
	ids := []string{control.EdgeEnd}
	for _, i := range c.world.Instances {
		if c.world.follower(i.ID) {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// inNetwork reports whether an end is one that a network of namespaces knows.
func inNetwork(end string) bool { return !isEngine(end) && !isAddr(end) }

// packetLinks are what a network of namespaces has to do of a request.
func packetLinks(r control.FaultRequest) []control.Link {
	var links []control.Link
	for _, l := range r.Links {
		l.To = slices.DeleteFunc(slices.Clone(l.To), func(end string) bool { return !inNetwork(end) })
		if len(l.To) > 0 {
			links = append(links, l)
		}
	}
	return links
}

func (e *end) dialTo(addrs []string, s fault.Shape) {
	for _, a := range addrs {
		e.dial[a] = merge(e.dial[a], s)
	}
}

func (e *end) dialAll(s fault.Shape) { e.all = merge(e.all, s) }

// treatment makes the rules for addresses, each of which has all that applies to it, since the first that matches counts.
func (e *end) treatment() Treatment {
	t := e.Treatment
	byShape := make(map[fault.Shape][]string)
	for _, addr := range slices.Sorted(maps.Keys(e.dial)) {
		if s := merge(e.dial[addr], e.all); s != (fault.Shape{}) {
			byShape[s] = append(byShape[s], addr)
		}
	}
	for s, to := range byShape {
		t.Plan.Dial = append(t.Plan.Dial, fault.Link{To: to, Shape: s})
	}
	slices.SortFunc(t.Plan.Dial, func(a, b fault.Link) int { return cmp.Compare(a.To[0], b.To[0]) })
	if e.all != (fault.Shape{}) {
		t.Plan.Dial = append(t.Plan.Dial, fault.Link{To: []string{control.Everybody}, Shape: e.all})
	}
	if t.Share >= 1 {
		t.Share = 0
	}
	return t
}

// dialled is a shape as From sees it, for connections that it makes.
func dialled(s control.Shape) fault.Shape {
	return fault.Shape{
		CutOut: s.CutOut, CutIn: s.CutIn, Refuse: s.Refuse, Reset: s.Reset, ResetEvery: s.ResetEvery,
		Delay: s.Delay, Jitter: s.Jitter, Rate: s.Rate,
	}
}

// swapped is a shape as To sees it.
func swapped(s control.Shape) fault.Shape {
	s.CutOut, s.CutIn = s.CutIn, s.CutOut
	return dialled(s)
}

// accepted is a shape without what is meant for connections that From makes.
func accepted(s fault.Shape) fault.Shape {
	s.Refuse, s.Reset, s.ResetEvery, s.Serial = false, false, 0, 0
	return s
}

// merge is two shapes at once: delays add up, the lower rate counts. The order does not matter.
func merge(a, b fault.Shape) fault.Shape {
	return fault.Shape{
		CutOut: a.CutOut || b.CutOut, CutIn: a.CutIn || b.CutIn,
		Refuse: a.Refuse || b.Refuse, Reset: a.Reset || b.Reset, ResetEvery: lower(a.ResetEvery, b.ResetEvery), Serial: max(a.Serial, b.Serial),
		Delay: add(a.Delay, b.Delay, fault.MaxDelay), Jitter: add(a.Jitter, b.Jitter, fault.MaxDelay), Rate: lower(a.Rate, b.Rate),
	}
}

// add stops at what a plan may have.
func add[T ~int64](a, b, most T) T {
	if a > most-b {
		return most
	}
	return a + b
}

// lower is the lower of two bounds, of which 0 is none.
func lower[T ~int64](a, b T) T {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}

func isEngine(end string) bool { return end == control.RegistryEnd || end == control.QueueEnd }

// isAddr tells an address from a name: names of instances have no colon.
func isAddr(end string) bool {
	_, port, err := net.SplitHostPort(end)
	return err == nil && port != ""
}
